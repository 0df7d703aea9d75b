"""What continuity reports say of requests."""

from __future__ import annotations

from harness.mesh.continuity import Report, Sample

OWN, GATEWAY = "10.244.0.2", "10.244.0.9"


def report(*outcomes: str) -> Report:
    """A request each tenth of a second; `direct` was answered past the gateway."""
    samples = (
        Sample(index / 10, "200" if each == "direct" else each, OWN if each == "direct" else GATEWAY, 1.0)
        for index, each in enumerate(outcomes)
    )
    return Report(OWN, tuple(samples))


def test_lost_direct_and_through_are_told_apart() -> None:
    """A request past the gateway is answered, and still not what was wanted."""
    found = report("200", "503", "direct", "503", "TimeoutError")
    assert (found.lost, found.direct, found.through) == ({"503": 2, "TimeoutError": 1}, 1, 1)
    assert " ".join(found.line("event").split()) == "event 5 requests, lost 2 × 503, 1 × TimeoutError, direct 1"


def test_steered_requests_are_those_between_the_first_and_the_last_by_a_gateway() -> None:
    """Before and after, a refusal or a direct way is right; in between it is not."""
    found = report("502", "direct", "200", "503", "direct", "200", "direct", "502").steered()
    assert (len(found.samples), found.lost, found.direct) == (4, {"503": 1}, 1)
    assert report("502", "direct").steered().samples == ()


def test_cost_depends_on_what_becomes_of_unknown_hosts() -> None:
    """Where they are refused, failures before and after are right; where they are let out, direct requests are."""
    whole = report("502", "direct", "200", "503", "direct", "200", "direct", "502")
    closed, open_ = whole.cost(closed=True), whole.cost(closed=False)
    assert (closed.lost, closed.direct) == ({"503": 1}, 3)
    assert (open_.lost, open_.direct) == ({"503": 1, "502": 2}, 1)
