"""What stands against a part of an object, or against all of it: data for the status, never raised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from egressgateway.api.conditions import ConditionType, Reason


class Consequence(StrEnum):
    """What becomes of what already runs."""

    KEEP = "keep"
    """It stays as it is: what cannot be accepted now is no reason to take away what works."""

    WITHDRAW = "withdraw"
    """It goes at once: somebody said that it must not be, or its time is over."""


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
    One thing that its author, or the platform's admin, must change.

    `part` is the destination or exposed host (`exposed_part`) that it takes out, empty when it takes out the object.
    `message` names field, value and the way out. One that is `partial` takes out only what it names, a consumer for
    one: the rest of the part is served all the same. `needs_edit`: here nobody else can heal it, as others can where
    the same reason is given for another object's sake. `withdraws`: what runs does harm, whatever the reason does else.
    """

    condition: ConditionType
    reason: Reason
    message: str
    part: str = ""
    partial: bool = False
    needs_edit: bool = False
    withdraws: bool = False

    @property
    def consequence(self) -> Consequence:
        return Consequence.WITHDRAW if self.withdraws or self.reason in _WITHDRAWING else Consequence.KEEP


@dataclass(frozen=True, slots=True)
class Advisory:
    """
    Something that its author should know and that takes nothing out; `part` as in `Finding`.

    With a `reason` it is told by a warning event, too.
    """

    message: str
    part: str = ""
    reason: Reason | None = None


def exposed_part(name: str) -> str:
    """Part of an entry in `expose`: destinations have names of their own, and no dot is in any of them."""
    return f"expose.{name}"
