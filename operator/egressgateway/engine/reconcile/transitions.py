"""Which events and log lines a change of status is worth: transitions only, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from egressgateway.api.conditions import ConditionType, Reason


class Transition(NamedTuple):
    """One event to record."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Transition]:
    """
    Events for the step from `old` to `new`.

    One when the object becomes Ready; one when it is rejected, fails or stops serving, for each new reason. An object
    that is still in progress, new or edited, is no news.
    """
    before, after = _by_type(old), _by_type(new)
    ready = after.get(ConditionType.READY, {})
    was = before.get(ConditionType.READY, {})
    if _same(was, ready):
        return
    reason, message = ready.get("reason", ""), ready.get("message", "")
    if ready.get("status") == "True" or reason == Reason.SUSPENDED:
        yield Transition("Normal", reason, message)
    elif not _is_on_the_way(reason, was, after):
        yield Transition("Warning", reason, message)


def readiness_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition Ready of `new`, if the step from `old` makes the object ready or takes that away; else None."""
    was, ready = (_by_type(status).get(ConditionType.READY, {}) for status in (old, new))
    return ready if (was.get("status") == "True") != (ready.get("status") == "True") else None


def _is_on_the_way(reason: str, was: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if ConditionType.STALLED in after:
        return False
    if reason == Reason.GATEWAY_NOT_READY:
        # Before the first pod is ready this means waiting; afterwards, an outage.
        return was.get("status") != "True"
    return reason == Reason.PENDING


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return (old.get("status"), old.get("reason")) == (new.get("status"), new.get("reason"))


def _by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions") or ()}
