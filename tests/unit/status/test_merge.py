"""What is stored: times of transition, patches, and what counts as a change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.status import EgressGatewayStatus
from egressgateway.engine.reconcile.transitions import readiness_moved, transitions
from egressgateway.status.condition import Condition, Summary
from egressgateway.status.merge import (
    ClassVerdict,
    class_status,
    is_cosmetic,
    leaving_status,
    merge_status,
    status_patch,
    stuck_status,
    suspended_status,
)
from egressgateway.status.messages import cut, shortened
from harness.conditions import transition_violations, violations
from unit.engine.simulation import merge
from unit.golden.cases import run_named, state_names

NOW = datetime(2026, 1, 1, 12, 0, 0, 7, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RICH = {"shared-gateway", "apisix-expose", "probes"}
"""Cases whose status has what not every object has: remote children, addresses, `Reachable`."""


def summary(status: str = "True", reason: Reason = Reason.READY, message: str = "", **fields: Any) -> Summary:
    ready = Condition(ConditionType.READY, status, reason, message)
    part = Condition(ConditionType.STEERED, status, reason, message)
    return Summary((ready,), (("d", (part,)),), fields)


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    """Another reason or message is no transition; of the object and of a part alike."""
    first = merge_status({}, summary(), 1, NOW)
    same = merge_status(first, summary(message="other words"), 2, LATER)
    other = merge_status(same, summary("False", Reason.PENDING), 2, LATER)
    times = [
        [each["lastTransitionTime"] for each in (*found["conditions"], *found["destinations"][0]["conditions"])]
        for found in (first, same, other)
    ]
    assert times == [["2026-01-01T12:00:00Z"] * 2, ["2026-01-01T12:00:00Z"] * 2, ["2026-01-01T13:00:00Z"] * 2]
    assert same["conditions"][0]["observedGeneration"] == same["observedGeneration"] == 2
    assert transition_violations({"status": first}, {"status": same}) == []


def test_a_long_message_is_cut() -> None:
    """The server's own words may be longer than the status may hold."""
    stored = merge_status({}, summary(message="x" * 5000), 1, NOW)
    message = stored["conditions"][0]["message"]
    assert (len(message), message[-1]) == (512, "…")
    assert cut("y" * 512) == "y" * 512


def test_the_patch_turns_one_status_into_the_other() -> None:
    """What is gone is taken out, and nothing is sent when nothing changed, whatever the order of conditions."""
    conditions = [{"type": "A"}, {"type": "B"}]
    old = {"conditions": conditions, "className": "standard", "gateway": {"replicas": 2, "x": 1}}
    new = {"conditions": [{"type": "A"}], "gateway": {"replicas": 3}}
    patch = status_patch(old, new)
    assert patch is not None
    assert merge(old, patch) == new
    assert status_patch(old, {**old, "conditions": conditions[::-1]}) is None


def test_number_of_clients_alone_is_no_reason_to_write() -> None:
    """Pods come and go. That there are some of a kind, or none, is written; and with it the numbers of that moment."""
    old = merge_status({}, summary(clients={"inMesh": 2, "outside": 0}), 1, NOW)
    assert merge_status(old, summary(clients={"inMesh": 5, "outside": 0}), 1, LATER) == old
    outside = merge_status(old, summary(clients={"inMesh": 5, "outside": 1}), 1, LATER)
    assert outside["clients"] == {"inMesh": 5, "outside": 1}
    other = merge_status(old, summary(message="changed", clients={"inMesh": 5, "outside": 0}), 1, LATER)
    assert other["clients"] == {"inMesh": 5, "outside": 0}
    uncounted = merge_status({}, summary(), 1, NOW)
    nobody = merge_status(uncounted, summary(clients={"inMesh": 0, "outside": 0}), 1, LATER)
    assert nobody["clients"] == {"inMesh": 0, "outside": 0}, "that they were counted is news"
    assert "clients" not in merge_status(nobody, summary(), 1, LATER), "and that nobody is counted any more"


def test_cosmetic_is_what_nobody_decides_by() -> None:
    """Words and counts; a status, a claim or a generation is more than that."""
    old = merge_status({}, summary(claims=[{"host": "a"}]), 1, NOW)
    assert is_cosmetic(old, merge_status(old, summary(message="2/2 pods", claims=[{"host": "a"}]), 1, LATER))
    assert not is_cosmetic(old, merge_status(old, summary("False", Reason.PENDING, claims=[{"host": "a"}]), 1, LATER))
    assert not is_cosmetic(old, merge_status(old, summary(), 1, LATER))
    assert not is_cosmetic(old, merge_status(old, summary(claims=[{"host": "a"}]), 2, LATER))


@pytest.mark.parametrize("name", state_names())
def test_a_suspended_object_keeps_its_state_and_says_why_it_does_not_move(name: str) -> None:
    """Whatever the state: Ready has its status and time, the reason Suspended, and the rules of Flux hold."""
    old = run_named(name).status
    new = suspended_status(old, 2, LATER)
    before, after = ({each["type"]: each for each in found["conditions"]} for found in (old, new))
    assert (after["Ready"]["status"], after["Ready"]["reason"]) == (before["Ready"]["status"], "Suspended")
    assert after["Ready"]["lastTransitionTime"] == before["Ready"]["lastTransitionTime"]
    assert violations({"metadata": {"generation": 2}, "status": new}) == []
    assert suspended_status(new, 2, LATER + timedelta(hours=1)) == new


@pytest.mark.parametrize("name", sorted({*state_names(), *RICH}))
def test_the_status_has_the_shape_of_the_api(name: str) -> None:
    """Every field is known, and within the bounds that the server enforces."""
    status = run_named(name).status
    parsed = EgressGatewayStatus.model_validate(status)
    assert parsed.as_json().keys() == status.keys()


@pytest.mark.parametrize("count", [1, 2, 12, 400])
@pytest.mark.parametrize("length", [20, 60, 253])
def test_the_hosts_of_the_summary_fit(count: int, length: int) -> None:
    """The server refuses a longer one, and the whole status with it."""
    hosts = [f"{number:x<{length - 4}}.com" for number in range(count)]
    text = shortened(hosts)
    assert len(text) <= 256
    named, _, rest = text.partition("+")
    assert len([host for host in named.split(",") if host]) + int(rest or 0) == count


def _ready(status: str, reason: str, *more: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "words"}
    return {"conditions": [ready, *({"type": type_, "status": "True"} for type_ in more)]}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (_ready("Unknown", "Pending"), _ready("True", "Ready"), ("Normal", "Ready")),
        (_ready("True", "Ready"), _ready("True", "Ready"), None),
        (_ready("True", "Ready"), _ready("True", "Suspended"), ("Normal", "Suspended")),
        (_ready("Unknown", "Pending"), _ready("False", "GatewayNotReady"), None),
        (_ready("True", "Ready"), _ready("False", "GatewayNotReady"), ("Warning", "GatewayNotReady")),
        (_ready("True", "Ready"), _ready("False", "Pending"), None),
        (_ready("True", "Ready"), _ready("False", "Invalid", "Stalled"), ("Warning", "Invalid")),
        (_ready("False", "Invalid"), _ready("False", "HostConflict"), ("Warning", "HostConflict")),
        (_ready("False", "HostConflict"), _ready("False", "HostConflict"), None),
    ],
)
def test_transitions_tell_what_is_news(old: dict[str, Any], new: dict[str, Any], told: tuple[str, str] | None) -> None:
    """Becoming Ready, failing for a new reason; not what is on its way."""
    assert [(each.type, each.reason) for each in transitions(old, new)] == ([told] if told else [])


PART = "Accepted", "ResolvedRefs", "Programmed", "Steered"
OTHERS = {
    "Accepted": "HostConflict",
    "ResolvedRefs": "SecretNotFound",
    "Programmed": "ApplyFailed",
    "Steered": "GatewayNotReady",
}


def _status(ready: str, **parts: str) -> dict[str, Any]:
    """`ready`, and by part the condition that is not True; `-` for one that is all right."""

    def conditions(bad: str) -> list[dict[str, str]]:
        return [
            {
                "type": each,
                "status": "False" if each == bad else "True",
                "reason": OTHERS[each] if each == bad else each,
            }
            for each in PART
        ]

    status = {"Ready": "True"}.get(ready, "False")
    told = [{"type": "Ready", "status": status, "reason": ready, "message": f"{ready} {parts}"}]
    return {
        "conditions": told,
        "destinations": [{"name": name, "conditions": conditions(bad)} for name, bad in parts.items()],
    }


WELL = _status("Ready", a="-", b="-")
CONFLICT = _status("PartiallyReady", a="Accepted", b="-")
BOTH = _status("PartiallyReady", a="Accepted", b="ResolvedRefs")
ALIKE = _status("PartiallyReady", a="Accepted", b="Accepted")
REFUSED = _status("HostConflict", a="Accepted", b="Steered")
STARTING = _status("GatewayNotReady", a="Steered", b="Steered")
LOST = _status("PartiallyReady", a="Accepted", b="Steered")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (WELL, CONFLICT, "Warning"),
        (CONFLICT, BOTH, "Warning"),
        (CONFLICT, ALIKE, "Warning"),
        (CONFLICT, LOST, "Warning"),
        (WELL, STARTING, "Warning"),
        (BOTH, CONFLICT, "Normal"),
        (ALIKE, CONFLICT, "Normal"),
        (CONFLICT, WELL, "Normal"),
        (REFUSED, CONFLICT, "Normal"),
        (BOTH, _status("PartiallyReady", a="ResolvedRefs", b="-"), "Warning"),
        ({}, STARTING, None),
        (STARTING, STARTING, None),
        (STARTING, REFUSED, "Warning"),
        (CONFLICT, CONFLICT, None),
    ],
    ids=[
        "a conflict",
        "a second cause",
        "a second part with the same cause",
        "a second part loses its pods",
        "all lose their pods",
        "one of two mended",
        "one of two alike mended",
        "all mended",
        "pods that are ready at last",
        "one cause in place of two",
        "a new object",
        "still starting",
        "refused while it starts",
        "nothing new",
    ],
)
def test_each_cause_is_told_once_and_so_is_its_end(old: dict[str, Any], new: dict[str, Any], told: str | None) -> None:
    """A cause is a reason of one part: `PartiallyReady` may stand for many, and stay while they come and go."""
    found = list(transitions(old, new))
    assert [each.type for each in found] == ([told] if told else [])
    assert all(each.message == new["conditions"][0]["message"] for each in found)


def test_a_conflict_of_a_new_object_is_one_warning() -> None:
    """Seen as two: the second when the other destination began to serve, which is good news."""
    steps = [{}, REFUSED, CONFLICT]
    assert [each.type for old, new in pairwise(steps) for each in transitions(old, new)] == ["Warning", "Normal"]


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        ({}, _ready("Unknown", "Pending"), False),
        (_ready("Unknown", "Pending"), _ready("False", "Invalid"), False),
        (_ready("Unknown", "Pending"), _ready("True", "Ready"), True),
        (_ready("True", "Ready"), _ready("True", "Suspended"), False),
        (_ready("True", "Ready"), _ready("Unknown", "Pending"), True),
        (_ready("True", "Ready"), _ready("False", "GatewayNotReady"), True),
        (_ready("True", "Ready"), {}, True),
    ],
)
def test_readiness_moves_to_true_and_away_from_it(old: dict[str, Any], new: dict[str, Any], moved: bool) -> None:
    """What was not ready and is not ready is no news for a log, whatever the reason."""
    found = readiness_moved(old, new)
    assert (found is not None) == moved
    assert found is None or found == next(iter(new.get("conditions", ())), {})


def test_a_suspended_object_says_of_each_condition_what_it_is_about() -> None:
    """
    Only Ready speaks of the new spec; what nobody judged anew keeps the generation that it was judged for.

    All conditions claimed to be about a spec that nobody had looked at.
    """
    accepted = Condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "")
    ready = Condition(ConditionType.READY, "True", Reason.READY, "")
    old = merge_status({}, Summary((accepted, ready), (), {}), 1, NOW)
    new = suspended_status(old, 2, LATER)
    assert {each["type"]: each["observedGeneration"] for each in new["conditions"]} == {"Accepted": 1, "Ready": 2}
    assert new["observedGeneration"] == 2


def test_an_object_that_cannot_be_let_go_says_why() -> None:
    """With the server's words; what was seen of its parts stays, and waiting may help."""
    old = merge_status({}, summary(), 1, NOW)
    new = stuck_status(old, 2, LATER, "delete VirtualService a/b: no")
    after = {each["type"]: each for each in new["conditions"]}
    assert {type_: (each["status"], each["reason"]) for type_, each in after.items()} == {
        "Programmed": ("False", "ApplyFailed"),
        "Ready": ("False", "ApplyFailed"),
        "Reconciling": ("True", "Progressing"),
    }
    assert "delete VirtualService a/b: no" in after["Ready"]["message"]
    assert new["destinations"] == old["destinations"]
    assert [each.type for each in transitions(old, new)] == ["Warning"]


def test_an_object_that_is_let_go_promises_nothing() -> None:
    """Its clients are withdrawn one after the other; that is no trouble of anybody's."""
    seen = run_named("steady-state")
    old = merge_status({}, seen.summary, 1, NOW)
    new = leaving_status(old, 2, LATER)
    after = {each["type"]: (each["status"], each["reason"]) for each in new["conditions"]}
    assert (after["Ready"], after["Reconciling"]) == (("Unknown", "Pending"), ("True", "Progressing"))
    parts = [{each["type"]: each["status"] for each in part["conditions"]} for part in new["destinations"]]
    assert {(part["Programmed"], part["Steered"]) for part in parts} == {("True", "Unknown")}
    assert violations({"metadata": {"generation": 2}, "status": new}) == []
    assert leaving_status(new, 2, LATER + timedelta(hours=1)) == new
    assert list(transitions(old, new)) == []


def test_an_object_of_which_nothing_is_said_is_let_go_without_a_word() -> None:
    """Its status was lost: a part of one would break the rules for conditions."""
    assert leaving_status({}, 2, LATER) == {}


def test_an_answer_to_a_request_is_kept_until_the_next() -> None:
    """It is part of what decides: whoever waits for it must not wait for other news."""
    first = merge_status({}, summary(), 1, NOW, handled="a")
    second = merge_status(first, summary(), 1, LATER)
    third = merge_status(second, summary(), 1, LATER, handled="b")
    assert [each["lastHandledReconcileAt"] for each in (first, second, third)] == ["a", "a", "b"]
    assert is_cosmetic(first, second)
    assert not is_cosmetic(second, third)
    assert "lastHandledReconcileAt" not in merge_status({}, summary(), 1, NOW)


def test_a_class_keeps_its_time_until_its_verdict_changes() -> None:
    """As an object's conditions do."""
    good = ClassVerdict(Condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is valid"), "Istio")
    bad = ClassVerdict(Condition(ConditionType.ACCEPTED, "False", Reason.INVALID, "spec.mtls: no"))
    first = class_status({}, good, 1, 1, NOW)
    more = class_status(first, good, 7, 2, LATER)
    broken = class_status(more, bad, 7, 3, LATER)
    times = [each["conditions"][0]["lastTransitionTime"] for each in (first, more, broken)]
    assert times == ["2026-01-01T12:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"]
    assert more["attachedGateways"] == 7
    assert [each.get("provider") for each in (first, more, broken)] == ["Istio", "Istio", None]
    assert more["observedGeneration"] == more["conditions"][0]["observedGeneration"] == 2


def test_a_class_is_stalled_only_while_it_is_invalid() -> None:
    """kstatus does not know Accepted: without Stalled an invalid class is current to Helm, Flux and kpt."""
    good = ClassVerdict(Condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is valid"), "Istio")
    bad = ClassVerdict(Condition(ConditionType.ACCEPTED, "False", Reason.INVALID, "spec.mtls: no"))
    broken = class_status({}, bad, 1, 1, NOW)
    mended = class_status(broken, good, 1, 2, LATER)
    told = {each["type"]: (each["status"], each["reason"], each["message"]) for each in broken["conditions"]}
    assert told["Stalled"] == ("True", "Invalid", "spec.mtls: no")
    assert [each["type"] for each in mended["conditions"]] == ["Accepted"]
    patch = status_patch(broken, mended)
    assert patch is not None
    assert [each["type"] for each in patch["conditions"]] == ["Accepted"]
