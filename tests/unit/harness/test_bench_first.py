"""What `make bench-first` makes of requests and statuses."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.first import Row, held, note, percentile
from harness.mesh.continuity import Report, Sample
from harness.mesh.detector import Seen, StatusWatch

OWN, GATEWAY = "10.244.0.2", "10.244.0.9"


class Watch:
    """What was seen of an object."""

    def __init__(self, *seen: Seen) -> None:
        self.seen = [*seen]


def report(*outcomes: str) -> Report:
    """A request each second, from the moment at which the command was given."""
    peers = {"200": GATEWAY, "direct": OWN}
    samples = (Sample(float(at), each, peers.get(each, "-"), 1.0) for at, each in enumerate(outcomes))
    return Report(OWN, tuple(samples))


def steered(at: float, *parts: str) -> Seen:
    conditions = [{"type": "Steered", "status": "True"}]
    status = {"destinations": [{"name": part, "conditions": conditions} for part in parts]}
    return Seen(at, ("exits", "first"), {"status": status})


def noted(reports: dict[str, Report], *seen: Seen) -> Row:
    row = Row(80, 0)
    note(row, 0.0, reports, cast(StatusWatch, cast(Any, Watch(*seen))), "exits")
    return row


def test_times_are_those_of_the_first_and_of_the_last_host() -> None:
    reports = {"a": report("502", "502", "200", "200"), "b": report("502", "502", "502", "200")}
    row = noted(reports, steered(2.5, "a"), steered(3.5, "a", "b"))
    assert (row.first, row.all_, row.steered) == ([2.0], [3.0], [3.5])
    assert (row.lost, row.ahead) == (0, 0)
    assert held([row])


@pytest.mark.parametrize("way", ["502", "direct"])
def test_what_is_not_served_after_the_first_is_lost(way: str) -> None:
    row = noted({"a": report("502", "200", way, "200")}, steered(2.5, "a"))
    assert (row.lost, row.ahead) == (1, 0)
    assert not held([row])


def test_status_that_is_said_before_its_time_is_ahead() -> None:
    row = noted({"a": report("502", "502", "200", "200")}, steered(0.5, "a"))
    assert (row.lost, row.ahead) == (0, 1)
    assert not held([row])


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.5, 0.75, 0.99)] == [2.0, 3.0, 4.0]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([float(number) for number in range(1, 201)], 0.99) == 198.0
