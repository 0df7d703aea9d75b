"""
How long an object goes on to serve names that it does not want any more: the memory of one object.

Its author may have moved a name to another object of the namespace. Until that one serves, the old way stays, but not
for ever: its pods may never become ready. After a restart the time counts anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from egressgateway.facts import Facts
from egressgateway.plan.handover import heirs_of, is_taken_over, unwanted_names

MOST: Final = timedelta(minutes=2)
"""How long a name waits for the next object: longer than pods usually take to become ready."""

LINGER: Final = timedelta(seconds=1)
"""
How long a name that an edit dropped waits for another object to ask for it: objects that are applied together arrive
one after the other.
"""


@dataclass(frozen=True, slots=True)
class _Wait:
    """Since when a name is not wanted any more, and since when another object's routes stand."""

    since: datetime
    taken_over: datetime | None = None


class Handovers:
    """The names that one object does not want any more, while it still steers them."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def follow(self, facts: Facts, grace: timedelta) -> Mapping[str, datetime]:
        """
        Until when each of these names is served.

        Args:
            grace: how long istiod may take to push the other object's routes.
        """
        unwanted = unwanted_names(facts)
        self._waits = {name: self._wait(facts, name, unwanted[name]) for name in unwanted}
        ends = ((name, _end(facts, name, wait, grace)) for name, wait in self._waits.items())
        return {name: end for name, end in ends if end is not None}

    def _wait(self, facts: Facts, name: str, places: frozenset[str]) -> _Wait:
        known = self._waits.get(name, _Wait(facts.now))
        if not is_taken_over(facts, name, places):
            return _Wait(known.since)
        return known if known.taken_over is not None else _Wait(known.since, facts.now)


def _end(facts: Facts, name: str, wait: _Wait, grace: timedelta) -> datetime | None:
    if not heirs_of(facts, name):
        # Whoever deletes an object makes the next one afterwards.
        return None if facts.gateway.deleting else wait.since + LINGER
    end = wait.since + MOST
    return end if wait.taken_over is None else min(end, wait.taken_over + grace)
