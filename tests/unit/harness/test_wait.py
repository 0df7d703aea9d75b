"""What moves may take as long as it needs; what stands still fails, and so does what moves in a circle."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, cycle, repeat

import pytest

from harness import wait
from harness.wait import LONGEST, eventually


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping moves the clock, and takes no time."""
    now = [0.0]
    monkeypatch.setattr(wait.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def waited(answers: Iterator[bool], progress: Iterator[int] | None) -> bool:
    moves = None if progress is None else (lambda: next(progress))
    return eventually(lambda: next(answers), timeout=10, interval=1, progress=moves)


def test_what_moves_is_waited_for() -> None:
    assert waited(chain(repeat(False, 50), repeat(True)), count())


def test_without_progress_all_of_it_counts() -> None:
    with pytest.raises(TimeoutError):
        waited(chain(repeat(False, 50), repeat(True)), None)


def test_what_stands_still_fails() -> None:
    with pytest.raises(TimeoutError):
        waited(chain(repeat(False, 50), repeat(True)), chain(range(20), repeat(20)))


def test_what_moves_in_a_circle_fails() -> None:
    with pytest.raises(TimeoutError):
        waited(repeat(False, 11 * LONGEST), cycle((1, 2)))


def test_what_cannot_be_counted_yet_stands_still() -> None:
    def not_there() -> object:
        raise KeyError("status")

    answers = chain(repeat(False, 5), repeat(True))
    assert eventually(lambda: next(answers), timeout=10, interval=1, progress=not_there)
    with pytest.raises(TimeoutError):
        eventually(lambda: False, timeout=10, interval=1, progress=not_there)


def test_costly_look_is_taken_less_often() -> None:
    """Else it takes from the machine what it waits for; and a long wait needs no fine scale."""
    looks = count(1)

    def costly() -> bool:
        next(looks)
        wait.time.sleep(0.1)
        return False

    with pytest.raises(TimeoutError):
        eventually(costly, timeout=10, interval=0.05)
    assert next(looks) - 1 <= 10 / 0.4 + 2
