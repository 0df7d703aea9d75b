"""
How long an object has steered names that another one of its namespace has by now, or may take over: the memory of one
object. After a restart the times count anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from egressgateway.facts import Facts, Handover, Since
from egressgateway.plan.succession import moving_names, owner_by_routes, wanted_names

LINGER: Final = timedelta(seconds=1)
"""
How long a name that an edit dropped waits for another object to ask for it: objects that are applied together arrive
one after the other.
"""

MOST: Final = timedelta(seconds=60)
"""How long a name waits for the other object's way: longer than pods usually take to become ready."""

_LOOK_AGAIN: Final = timedelta(seconds=1)
_LOOK_LATER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Wait:
    """Since when a name has been moving, and since when the other object's way has stood; by the event loop's clock."""

    since: float
    routed_since: float | None = None


class Handovers:
    """The moving names of one object."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def follow(self, facts: Facts, claimed: Mapping[str, Since], clock: float, grace: timedelta) -> dict[str, Handover]:
        """
        How far each of these names is.

        Args:
            claimed: by name, what the object has claimed.
            clock: the event loop's time.
            grace: how long istiod may take to push the other object's way.
        """
        moving = moving_names(facts, claimed)
        routed = {name for name, places in moving.items() if owner_by_routes(facts, name, places, claimed)}
        wanted = wanted_names(facts) if moving else frozenset[str]()
        self._waits = {name: self._wait(name, clock, routed=name in routed) for name in moving}
        return {
            name: _stage(wait, clock, grace.total_seconds(), wanted=name in wanted)
            for name, wait in self._waits.items()
        }

    def _wait(self, name: str, clock: float, *, routed: bool) -> _Wait:
        known = self._waits.get(name, _Wait(clock))
        if not routed:
            return _Wait(known.since)
        return known if known.routed_since is not None else _Wait(known.since, clock)


def next_look(stages: Collection[Handover]) -> timedelta | None:
    """When to look at the other objects again: their routes enqueue no other key. None when there is nothing to see."""
    if Handover.LINGERS in stages or Handover.WAITS in stages:
        return _LOOK_AGAIN
    return _LOOK_LATER if Handover.OVERDUE in stages else None


def _stage(wait: _Wait, clock: float, grace: float, *, wanted: bool) -> Handover:
    if wait.routed_since is not None:
        return Handover.TAKEN if clock - wait.routed_since >= grace else Handover.WAITS
    if clock - wait.since < LINGER.total_seconds():
        return Handover.LINGERS
    if not wanted:
        return Handover.UNWANTED
    return Handover.WAITS if clock - wait.since < MOST.total_seconds() else Handover.OVERDUE
