"""
Why an object is not Ready, and which actor has to act: for metrics and alerts, from its status alone.

`Ready` has one reason, which may stand for several (`PartiallyReady`), and can hide an outage behind a typo or a typo
behind an outage. Alerts go to the people who have to act, so each cause is listed separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from egressgateway.api.conditions import CATALOGUE, OBJECT_CONDITIONS, SECTION_CONDITIONS, Actor, ConditionType, Reason

_JUDGED: Final = frozenset({*OBJECT_CONDITIONS, *SECTION_CONDITIONS})
_NO_CAUSE: Final = frozenset({Reason.EXPIRED, Reason.PARTIALLY_READY, Reason.PENDING})
"""The author wants `Expired`; the others follow from another cause."""


def causes(status: Mapping[str, Any]) -> dict[Reason, Actor]:
    """
    Each reason why the object is not Ready, with the actor (`CATALOGUE`); none while it is.

    `Pending` counts only where there is no other reason: something is not done yet, without a known cause.
    """
    ready = next(iter(_of_type(status, ConditionType.READY)), None)
    if ready is None or ready.get("status") == "True":
        return {}
    if ready.get("reason") == Reason.SUSPENDED:
        return {Reason.SUSPENDED: CATALOGUE[Reason.SUSPENDED].acts}
    given = _reasons(status.get("conditions") or ())
    for section in (*(status.get("destinations") or ()), *(status.get("expose") or ())):
        given |= _of_section(section)
    return {reason: CATALOGUE[reason].acts for reason in sorted(given - _NO_CAUSE) or (Reason.PENDING,)}


def _of_section(section: Mapping[str, Any]) -> set[Reason]:
    """
    Reasons of a destination or exposed host. A rejected one starts no pods, so their absence is not a second cause.
    """
    found = _reasons(section.get("conditions") or ()) - _NO_CAUSE
    return found - {Reason.GATEWAY_NOT_READY} or found


def _reasons(conditions: Iterable[Mapping[str, Any]]) -> set[Reason]:
    """Why some of the conditions are not True."""
    failing = (each for each in conditions if each.get("type") in _JUDGED and each.get("status") != "True")
    return {Reason(each["reason"]) for each in failing if each.get("reason") in CATALOGUE}


def _of_type(status: Mapping[str, Any], type_: ConditionType) -> Iterator[Mapping[str, Any]]:
    return (each for each in status.get("conditions") or () if each.get("type") == type_)
