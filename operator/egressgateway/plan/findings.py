"""Reasons to reject a section of an object, or all of it: data for the status, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from egressgateway.api.conditions import ConditionStatus, ConditionType, Reason
from egressgateway.names import DESTINATIONS
from egressgateway.namespaces import EVERY_NAMESPACE


class Consequence(StrEnum):
    """What happens to what already runs."""

    KEEP = "keep"
    """It stays as it is: a spec that cannot be accepted now is no reason to remove what works."""

    WITHDRAW = "withdraw"
    """It is removed at once: somebody forbade it, or it has expired."""


_WITHDRAWING = frozenset(
    {
        Reason.NAMESPACE_NOT_ALLOWED,
        Reason.HOST_NOT_ALLOWED,
        Reason.ENDPOINT_NOT_ALLOWED,
        Reason.CONSUMER_NOT_ALLOWED,
        Reason.GATEWAY_NOT_ALLOWED,
        Reason.FEATURE_NOT_ALLOWED,
        Reason.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that its author, or a platform admin, must change.

    `section` is the destination or exposed host (`exposed_section`) that it rejects, empty when it rejects the object.
    `message` names field, value and remedy. A `partial` finding rejects only what it names, for example one consumer:
    the rest of the section is served all the same. `needs_edit`: only an edit of this object helps, although others can
    resolve the same reason elsewhere. `withdraws`: what runs does harm, so it is withdrawn whatever the reason says.
    `unknown`: something could not be looked at, which is no reason to reject anything, so it is `partial` as well.
    """

    condition: ConditionType
    reason: Reason
    message: str
    section: str = ""
    partial: bool = False
    needs_edit: bool = False
    withdraws: bool = False
    unknown: bool = False

    @property
    def status(self) -> ConditionStatus:
        """What the condition is because of it."""
        return "Unknown" if self.unknown else "False"

    @property
    def consequence(self) -> Consequence:
        return Consequence.WITHDRAW if self.withdraws or self.reason in _WITHDRAWING else Consequence.KEEP


@dataclass(frozen=True, slots=True)
class Advisory:
    """
    Something that the author should know and that rejects nothing; `section` as in `Finding`.

    With a `reason` it is also recorded as a warning event. `condition` says it while it is True.
    """

    message: str
    section: str = ""
    reason: Reason | None = None
    condition: ConditionType = ConditionType.ACCEPTED


def exposed_section(name: str) -> str:
    """Section name of an entry in `expose`. Names of destinations contain no dot, so the two never collide."""
    return f"expose.{name}"


def stored_condition(status: Mapping[str, Any], section: str, type_: ConditionType) -> Mapping[str, Any]:
    """A condition of a section as a status has it; empty where it does not name the section."""
    list_, _, name = section.rpartition(".")
    listed = status.get(list_ or DESTINATIONS) or ()
    conditions = next((each.get("conditions") or () for each in listed if each.get("name") == name), ())
    return next((each for each in conditions if each.get("type") == type_), {})


_SHOWN: Final = 5


def named(namespaces: list[str], *, others: bool = False) -> str:
    """Namespaces as part of a message; `others`: about every namespace means the namespaces that are left."""
    if EVERY_NAMESPACE in namespaces:
        return "every other namespace" if others else "every namespace"
    more = f" and {len(namespaces) - _SHOWN} more" if len(namespaces) > _SHOWN else ""
    return f"namespace {', '.join(namespaces[:_SHOWN])}{more}"
