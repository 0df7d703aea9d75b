"""Which events and log lines a change of status is worth: transitions only, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.status.causes import Cause, section_causes, sections_that_serve
from egressgateway.status.expirations import notices_between


class Transition(NamedTuple):
    """One event to record."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Transition]:
    """
    Events for the step from `old` to `new`: at most one about readiness, and one for each end that comes near.

    A warning for each new cause why it is not Ready, whatever else is wrong already; a normal one when a cause is gone,
    and when the object becomes Ready. An object that is still in progress, new or edited, is no news.
    """
    yield from _readiness(old, new)
    for notice in notices_between(old, new):
        yield Transition("Warning", notice.reason, notice.message)


def _readiness(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Transition]:
    was, ready = (_ready_of(status) for status in (old, new))
    reason, message = ready.get("reason", ""), ready.get("message", "")
    if ready.get("status") == "True" or reason == Reason.SUSPENDED:
        if not _same(was, ready):
            yield Transition("Normal", reason, message)
        return
    before, after = section_causes(old), section_causes(new)
    if after - before - _on_the_way(old, after):
        yield Transition("Warning", reason, message)
    elif before - after and reason != Reason.PENDING and was.get("status") != "True":
        yield Transition("Normal", reason, message)


def readiness_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition Ready of `new`, if the step from `old` makes the object ready or takes that away; else None."""
    was, ready = (_ready_of(status) for status in (old, new))
    return ready if (was.get("status") == "True") != (ready.get("status") == "True") else None


def _on_the_way(old: Mapping[str, Any], after: Iterable[Cause]) -> set[Cause]:
    """Causes of `after` that are only steps: no pod is ready before the first one is; afterwards, that is an outage."""
    served = sections_that_serve(old)
    return {cause for cause in after if cause[1] is Reason.GATEWAY_NOT_READY and cause[0] not in served}


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return (old.get("status"), old.get("reason")) == (new.get("status"), new.get("reason"))


def _ready_of(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (each for each in status.get("conditions") or () if each["type"] == ConditionType.READY)
    return next(found, {})
