"""
Why an object is not Ready, and who has to act: for figures and alerts, from its status alone.

`Ready` has one reason, which may stand for several (`PartiallyReady`), and hides an outage behind a typo or the other
way round. Alerts go to people by who has to act, so they need every cause by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from egressgateway.api.conditions import CATALOGUE, OBJECT_CONDITIONS, PART_CONDITIONS, Actor, ConditionType, Reason

_JUDGED: Final = frozenset({*OBJECT_CONDITIONS, *PART_CONDITIONS})
_NO_CAUSE: Final = frozenset({Reason.EXPIRED, Reason.PARTIALLY_READY, Reason.PENDING})
"""`Expired` is as its author wants it, the others are what follows from a cause."""


def causes(status: Mapping[str, Any]) -> dict[Reason, Actor]:
    """
    Each reason why the object is not Ready, with who has to act (`CATALOGUE`); none while it is.

    `Pending` is one only where there is no other: something is not done, and nobody says why.
    """
    ready = next(iter(_of_type(status, ConditionType.READY)), None)
    if ready is None or ready.get("status") == "True":
        return {}
    if ready.get("reason") == Reason.SUSPENDED:
        return {Reason.SUSPENDED: CATALOGUE[Reason.SUSPENDED].acts}
    given = _reasons(status.get("conditions") or ())
    for part in (*(status.get("destinations") or ()), *(status.get("expose") or ())):
        given |= _of_part(part)
    return {reason: CATALOGUE[reason].acts for reason in sorted(given - _NO_CAUSE) or (Reason.PENDING,)}


def _of_part(part: Mapping[str, Any]) -> set[Reason]:
    """Of a destination or exposed host. For what is refused no pod is started: that is no cause beside the refusal."""
    found = _reasons(part.get("conditions") or ()) - _NO_CAUSE
    return found - {Reason.GATEWAY_NOT_READY} or found


def _reasons(conditions: Iterable[Mapping[str, Any]]) -> set[Reason]:
    """Why some of the conditions are not True."""
    failing = (each for each in conditions if each.get("type") in _JUDGED and each.get("status") != "True")
    return {Reason(each["reason"]) for each in failing if each.get("reason") in CATALOGUE}


def _of_type(status: Mapping[str, Any], type_: ConditionType) -> Iterator[Mapping[str, Any]]:
    return (each for each in status.get("conditions") or () if each.get("type") == type_)
