"""A summary becomes the status to store: times of transition kept, and a patch only when something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from egressgateway.api.conditions import OBJECT_CONDITIONS, ConditionType, Reason
from egressgateway.api.scalars import format_instant
from egressgateway.diff.subset import merge_patch
from egressgateway.plan.rights import CLAIMS
from egressgateway.status.summarize import Condition, Part, Summary
from egressgateway.status.words import cut

_SUSPENDED_MESSAGE: Final = "spec.suspend is true: nothing is written but this status; traffic flows as it is"

_LEAVING_MESSAGE: Final = "the object is being deleted, and its clients are taken back"


def merge_status(
    old: Mapping[str, Any], summary: Summary, generation: int, now: datetime, *, handled: str = ""
) -> dict[str, Any]:
    """
    The whole status for `summary`, at `generation`; a condition's time moves only with its status.

    `handled`: the request for a pass that this one answers, if any.
    """
    lists = {"destinations": summary.parts, "expose": summary.exposed}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": _timed(old.get("conditions") or (), summary.conditions, generation, now),
        **summary.fields,
    }
    for name, parts in lists.items():
        if parts:
            status[name] = _timed_parts(old.get(name) or (), parts, generation, now)
    answer = handled or old.get("lastHandledReconcileAt")
    return {**status, "lastHandledReconcileAt": answer} if answer else status


def suspended_status(old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """
    The status of an object that is suspended: as it was, with `Ready` saying why it does not move.

    `Ready` alone is about `generation`: that it is suspended was seen. The others keep the generation that they judged.
    """
    before = old.get("conditions") or ()
    ready: Mapping[str, Any] = next((each for each in before if each["type"] == ConditionType.READY), {})
    suspended = Condition(ConditionType.READY, ready.get("status", "Unknown"), Reason.SUSPENDED, _SUSPENDED_MESSAGE)
    return _with_conditions(old, (suspended,), generation, now)


def stuck_status(old: Mapping[str, Any], generation: int, now: datetime, why: str) -> dict[str, Any]:
    """The status of an object that cannot be let go, because the server does not let its clients be withdrawn."""
    message = cut(f"clients cannot be withdrawn, so the object is not let go; it is tried again: {why}")
    ready = Condition(ConditionType.READY, "False", Reason.APPLY_FAILED, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.APPLY_FAILED, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    return _with_conditions(old, (programmed, ready, reconciling), generation, now, gone=ConditionType.STALLED)


def leaving_status(old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """
    The status of an object that is being let go: from now on it promises nothing.

    Its clients are taken back in this moment, some sooner than others. One of which nothing was said (its status was
    lost) has nothing to take back, and one that the server does not let go has said so.
    """
    said = {condition["type"]: condition["reason"] for condition in old.get("conditions") or ()}
    if not said.keys() >= set(OBJECT_CONDITIONS) or said[ConditionType.READY] == Reason.APPLY_FAILED:
        return dict(old)
    ready = Condition(ConditionType.READY, "Unknown", Reason.PENDING, _LEAVING_MESSAGE)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, _LEAVING_MESSAGE)
    status = _with_conditions(old, (ready, reconciling), generation, now, gone=ConditionType.STALLED)
    for name in ("destinations", "expose"):
        if old.get(name):
            status[name] = [_left(part, generation, now) for part in old[name]]
    return status


def _left(part: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    before = part.get("conditions") or ()
    steered = Condition(ConditionType.STEERED, "Unknown", Reason.PENDING, _LEAVING_MESSAGE)
    others = [condition for condition in before if condition["type"] != ConditionType.STEERED]
    return {**part, "conditions": [*others, *_timed(before, (steered,), generation, now)]}


def broken_status(old: Mapping[str, Any], generation: int, now: datetime, error: Exception) -> dict[str, Any]:
    """The status while a bug of the operator keeps it from looking at the object; what runs is not touched."""
    message = cut(f"the operator failed and tries again, its log has the trace: {type(error).__name__}: {error}")
    ready = Condition(ConditionType.READY, "False", Reason.INTERNAL_ERROR, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.INTERNAL_ERROR, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    return _with_conditions(old, (programmed, ready, reconciling), generation, now, gone=ConditionType.STALLED)


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """What was found of a class: whether it can be used, and its data plane; empty while its spec cannot be read."""

    accepted: Condition
    provider: str = ""


def class_status(
    old: Mapping[str, Any], verdict: ClassVerdict, attached: int, generation: int, now: datetime
) -> dict[str, Any]:
    """
    The status of an EgressGatewayClass that `attached` objects use; `Stalled` only while it is not accepted.

    The provider stands in it for the printer column, because the spec need not name it.
    kstatus does not know `Accepted`, and takes what is neither Reconciling nor Stalled for current.
    """
    told = [verdict.accepted]
    if verdict.accepted.status == "False":
        told.append(replace(verdict.accepted, type=ConditionType.STALLED, status="True"))
    return {
        "observedGeneration": generation,
        "conditions": _timed(old.get("conditions") or (), told, generation, now),
        **({"provider": verdict.provider} if verdict.provider else {}),
        "attachedGateways": attached,
    }


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Merge patch that turns `old` into `new`; None when they are equal."""
    if _normal(old) == _normal(new):
        return None
    patch: dict[str, Any] = merge_patch(dict(new), dict(old))
    return patch


def is_cosmetic(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether only wording and counts differ: nothing that a person or a tool decides by."""
    return _decisive(old) == _decisive(new)


def _with_conditions(
    old: Mapping[str, Any],
    told: Sequence[Condition],
    generation: int,
    now: datetime,
    *,
    gone: ConditionType | None = None,
) -> dict[str, Any]:
    """`old` with the conditions `told` about `generation`; those that are not told stay as they are, but for `gone`."""
    before = old.get("conditions") or ()
    replaced = {gone, *(condition.type for condition in told)}
    others = [condition for condition in before if condition["type"] not in replaced]
    return {
        **old,
        "observedGeneration": generation,
        "conditions": [*others, *_timed(before, told, generation, now)],
    }


def says(status: Mapping[str, Any], part: str, message: str) -> bool:
    """Whether a condition of destination `part` holds `message`."""
    return any(
        message in condition.get("message", "")
        for found in status.get("destinations") or ()
        if found["name"] == part
        for condition in found.get("conditions") or ()
    )


def _timed_parts(
    old: Sequence[Mapping[str, Any]], parts: Sequence[Part], generation: int, now: datetime
) -> list[dict[str, Any]]:
    known = {part["name"]: part.get("conditions", ()) for part in old}
    return [
        {"name": name, "conditions": _timed(known.get(name, ()), conditions, generation, now)}
        for name, conditions in parts
    ]


def _timed(
    old: Sequence[Mapping[str, Any]], conditions: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in old}
    return [_timed_one(before.get(condition.type, {}), condition, generation, now) for condition in conditions]


def _timed_one(before: Mapping[str, Any], condition: Condition, generation: int, now: datetime) -> dict[str, Any]:
    kept = before.get("lastTransitionTime") if before.get("status") == condition.status else None
    return {
        "type": str(condition.type),
        "status": condition.status,
        "reason": str(condition.reason),
        "message": cut(condition.message),
        "observedGeneration": generation,
        "lastTransitionTime": kept or format_instant(now.replace(microsecond=0)),
    }


def _normal(status: Mapping[str, Any]) -> dict[str, Any]:
    """`status` without the order of its conditions, which is a map to the server."""
    conditions = sorted(status.get("conditions") or (), key=lambda condition: str(condition["type"]))
    return {**status, "conditions": conditions}


def _decisive(status: Mapping[str, Any]) -> tuple[Any, ...]:
    conditions = {(c["type"], c["status"]) for c in status.get("conditions") or ()}
    parts = [
        (part["name"], frozenset((c["type"], c["status"]) for c in part.get("conditions") or ()))
        for name in ("destinations", "expose")
        for part in status.get(name) or ()
    ]
    return (
        status.get("observedGeneration"),
        frozenset(conditions),
        parts,
        status.get("summary"),
        *(status.get(name) for name in CLAIMS),
        status.get("addresses"),
        status.get("remoteChildren"),
        status.get("lastHandledReconcileAt"),
    )
