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


Cause = tuple[str, Reason]
"""A section (empty: the whole object) and a reason why it is not all that it should be."""

_OF_OBJECT: Final = ""


def section_causes(status: Mapping[str, Any]) -> frozenset[Cause]:
    """Why an object is not Ready, by section; the object's own reasons only as far as no section gives them."""
    own = causes(status).keys() - {Reason.PENDING}
    if not own:
        return frozenset()
    found = {(name, reason) for name, section in _sections(status) for reason in _of_section(section) & own}
    told = {reason for _, reason in found}
    return frozenset(found) | {(_OF_OBJECT, reason) for reason in own - told}


def sections_that_serve(status: Mapping[str, Any]) -> frozenset[str]:
    """Sections to which clients are sent, and which a pod serves; the whole object is among them while it is Ready."""
    steered = (name for name, section in _sections(status) if _is_true(section, ConditionType.STEERED))
    return frozenset((*steered, *((_OF_OBJECT,) if _is_true(status, ConditionType.READY) else ())))


def _sections(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field in ("destinations", "expose"):
        for section in status.get(field) or ():
            yield f"{field} {section['name']}", section


def _is_true(holder: Mapping[str, Any], type_: ConditionType) -> bool:
    return any(each.get("status") == "True" for each in _of_type(holder, type_))


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
    for _, section in _sections(status):
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
