"""What time it is, by a server whose answers are the only clock that all replicas share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.cluster.clock import ServerClock

SERVER = datetime(2026, 1, 1, tzinfo=UTC)
"""The server's time when the monotonic clock is at 0."""


class Machine:
    """One machine: its wall clock is off by some time, its monotonic one began at some number."""

    def __init__(self, *, ahead: timedelta, began: float = 1000.0) -> None:
        self.since = 0.0
        self.ahead = ahead
        self.began = began
        self.clock = ServerClock(
            wall=lambda: SERVER + timedelta(seconds=self.since) + self.ahead,
            monotonic=lambda: self.began + self.since,
        )

    def call(self, there: float = 0.01, back: float = 0.01, *, server_ahead: float = 0.0) -> None:
        """A call to the server, and its answer."""
        sent = self.clock.monotonic
        self.since += there
        date = format_datetime(SERVER + timedelta(seconds=int(self.since + server_ahead)), usegmt=True)
        self.since += back
        self.clock.heard(date, sent, self.clock.monotonic)

    @property
    def error(self) -> float:
        """How far what it takes for the server's time is ahead of it, in seconds."""
        return (self.clock.now() - SERVER).total_seconds() - self.since


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1), timedelta(0)])
def test_one_answer_is_enough(ahead: timedelta) -> None:
    """To the second, whatever the machine's own clock says."""
    machine = Machine(ahead=ahead)
    assert machine.clock.now() == SERVER + ahead
    machine.call()
    assert abs(machine.error) <= 1.0
    assert abs((machine.clock.skew() - ahead).total_seconds()) <= 1.0


def test_many_answers_tell_it_to_milliseconds() -> None:
    """The second in which an answer was sent began some time before it: the earliest and the latest say when."""
    machine = Machine(ahead=timedelta(hours=1))
    for number in range(200):
        machine.since += 0.137
        machine.call()
        assert number < 100 or abs(machine.error) < 0.05


@given(
    waits=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20),
    one=st.integers(-7200, 7200),
    other=st.integers(-7200, 7200),
)
def test_two_replicas_agree(waits: list[tuple[float, float, float]], one: int, other: int) -> None:
    """However slow the answers: what they take for now is less apart than the slowest answer and a second."""
    machines = [Machine(ahead=timedelta(seconds=one)), Machine(ahead=timedelta(seconds=other), began=5.0)]
    slowest = 1.0 + max(there + back for _, there, back in waits)
    for machine in machines:
        for wait, there, back in waits:
            machine.since += wait
            machine.call(there, back)
        assert abs(machine.error) <= slowest


def test_a_clock_that_was_set_counts_at_once() -> None:
    """The server's was wrong, and somebody put it right: what was heard before says nothing any more."""
    machine = Machine(ahead=timedelta(0))
    for _ in range(5):
        machine.call(server_ahead=3600.0)
    assert machine.error == pytest.approx(3600, abs=1)
    machine.call()
    assert abs(machine.error) <= 1.0


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 32 Jan 2026 00:00:00 GMT"])
def test_an_answer_without_a_time_says_nothing(date: str | None) -> None:
    """A proxy may have taken it out."""
    machine = Machine(ahead=timedelta(hours=1))
    machine.clock.heard(date, 1.0, 2.0)
    assert machine.clock.now() == SERVER + timedelta(hours=1)
    assert machine.clock.skew() == timedelta(0)


def test_a_skew_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """And again only after it was gone."""
    machine = Machine(ahead=timedelta(seconds=20))
    machine.call()
    assert caplog.records == []
    machine.ahead = timedelta(hours=1)
    for _ in range(3):
        machine.call()
    assert [record.message for record in caplog.records] == [
        "Clock differs from the API server's; using the API server's"
    ]
    machine.ahead = timedelta(0)
    machine.call()
    machine.ahead = timedelta(hours=-1)
    machine.call()
    assert len(caplog.records) == 2
