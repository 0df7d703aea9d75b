"""A summary becomes the status to store: times of transition kept, and a patch only when something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.scalars import format_instant
from egressgateway.diff.subset import merge_patch
from egressgateway.status.summarize import Condition, Summary, cut

_SUSPENDED_MESSAGE: Final = "spec.suspend is true: nothing is written but this status; traffic flows as it is"


def merge_status(old: Mapping[str, Any], summary: Summary, generation: int, now: datetime) -> dict[str, Any]:
    """The whole status for `summary`, at `generation`; a condition's time moves only with its status."""
    known = {part["name"]: part.get("conditions", ()) for part in old.get("destinations") or ()}
    parts = [
        {"name": name, "conditions": _timed(known.get(name, ()), conditions, generation, now)}
        for name, conditions in summary.parts
    ]
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": _timed(old.get("conditions") or (), summary.conditions, generation, now),
        **summary.fields,
    }
    if parts:
        status["destinations"] = parts
    return status


def suspended_status(old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """The status of an object that is suspended: as it was, with `Ready` saying why it does not move."""
    conditions = [
        {**condition, "observedGeneration": generation}
        for condition in old.get("conditions") or ()
        if condition["type"] != ConditionType.READY
    ]
    before: Mapping[str, Any] = next((c for c in old.get("conditions") or () if c["type"] == ConditionType.READY), {})
    ready = Condition(ConditionType.READY, before.get("status", "Unknown"), Reason.SUSPENDED, _SUSPENDED_MESSAGE)
    return {
        **old,
        "observedGeneration": generation,
        "conditions": [*conditions, *_timed(old.get("conditions") or (), (ready,), generation, now)],
    }


def broken_status(old: Mapping[str, Any], generation: int, now: datetime, error: Exception) -> dict[str, Any]:
    """The status while a bug of the operator keeps it from looking at the object; what runs is not touched."""
    message = cut(f"the operator failed and tries again, its log has the trace: {type(error).__name__}: {error}")
    ready = Condition(ConditionType.READY, "False", Reason.INTERNAL_ERROR, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.INTERNAL_ERROR, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    told = {condition.type for condition in (ready, programmed, reconciling)} | {ConditionType.STALLED}
    before = old.get("conditions") or ()
    others = [{**c, "observedGeneration": generation} for c in before if c["type"] not in told]
    return {
        **old,
        "observedGeneration": generation,
        "conditions": [*others, *_timed(before, (programmed, ready, reconciling), generation, now)],
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
        for part in status.get("destinations") or ()
    ]
    return (
        status.get("observedGeneration"),
        frozenset(conditions),
        parts,
        status.get("summary"),
        status.get("claims"),
        status.get("consumers"),
    )
