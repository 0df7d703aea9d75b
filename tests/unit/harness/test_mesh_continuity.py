"""What continuity reports say of requests, and of a status beside them."""

from __future__ import annotations

from harness.mesh.continuity import Report, Sample, Stand, lies

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


def test_status_that_is_true_while_requests_fail_is_a_lie() -> None:
    """Only a stretch that is longer than the tolerance counts, in both directions."""
    stands = [Stand(0, {"Ready": "True"}), Stand(1, {"Ready": "False"})]
    failing = report(*["503"] * 10, *["503"] * 10)
    assert lies(failing, stands, "Ready", 0.5) == ["Ready=True for 0.90 s while requests did not take the gateway"]
    assert lies(failing, stands, "Ready", 1.0) == []
    working = report(*["200"] * 20)
    assert lies(working, stands, "Ready", 0.5) == ["Ready=False for 0.90 s while requests took the gateway"]
    direct = report(*["direct"] * 20)
    assert lies(direct, stands, "Ready", 0.5) == ["Ready=True for 0.90 s while requests did not take the gateway"]


def test_cost_depends_on_what_becomes_of_unknown_hosts() -> None:
    """Where they are refused, failures before and after are right; where they are let out, direct requests are."""
    whole = report("502", "direct", "200", "503", "direct", "200", "direct", "502")
    closed, open_ = whole.cost(closed=True), whole.cost(closed=False)
    assert (closed.lost, closed.direct) == ({"503": 1}, 3)
    assert (open_.lost, open_.direct) == ({"503": 1, "502": 2}, 1)


def test_machine_that_stood_still_is_nobodys_lie() -> None:
    """A status cannot be truer than requests are seldom."""
    late = Report(OWN, tuple(Sample(at, "503", GATEWAY, 1.0) for at in (0.0, 0.1, 0.9, 1.0)))
    assert late.lag == 0.8
    assert lies(late, [Stand(0, {"Ready": "True"})], "Ready", 0.5) == []


def test_status_that_is_unknown_claims_nothing() -> None:
    """Neither while requests fail, nor while they are answered."""
    for outcome in ("503", "200"):
        assert lies(report(*[outcome] * 20), [Stand(0, {"Ready": "Unknown"})], "Ready", 0.5) == []


def test_object_without_a_status_promises_nothing() -> None:
    """An object that is not there is not Ready, and requests fail rightly."""
    assert lies(report(*["502"] * 20), [Stand(0, {})], "Ready", 0.5) == []
