"""
Why an object is not Ready, and who has to act: for figures and alerts, from its status alone.

`Ready` has one reason, which may stand for several (`PartiallyReady`), and hides an outage behind a typo or the other
way round. Alerts go to people by who has to act, so they need every cause by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from egressgateway.api.conditions import CATALOGUE, Actor, ConditionType, Reason

_JUDGED: Final = frozenset(
    {ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED, ConditionType.STEERED}
)
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
    given = [ready, *(each for each in _all(status) if each.get("type") in _JUDGED and each.get("status") != "True")]
    reasons = {Reason(each["reason"]) for each in given if each.get("reason") in CATALOGUE}
    return {reason: CATALOGUE[reason].acts for reason in sorted(reasons - _NO_CAUSE) or (Reason.PENDING,)}


def _of_type(status: Mapping[str, Any], type_: ConditionType) -> Iterator[Mapping[str, Any]]:
    return (each for each in status.get("conditions") or () if each.get("type") == type_)


def _all(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Conditions of the object, its destinations and its exposed hosts."""
    yield from status.get("conditions") or ()
    for part in (*(status.get("destinations") or ()), *(status.get("expose") or ())):
        yield from part.get("conditions") or ()
