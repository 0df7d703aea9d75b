"""The parts of a status: a condition without its times, and the conditions of a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.diff.steering import DeferReason
from egressgateway.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its times: `merge` knows the previous ones."""

    type: ConditionType
    status: str
    reason: Reason
    message: str


Section = tuple[str, tuple[Condition, ...]]
"""A destination or exposed host by its name, and its conditions."""


@dataclass(frozen=True, slots=True)
class Observed:
    """
    The result of a plan: refs that are not in place, with the reason if it is known.

    `failures` are objects that the server rejected, `transient_errors` those that it could not write just now; both
    with its own message.
    """

    missing: frozenset[ObjectRef] = frozenset()
    failures: Mapping[ObjectRef, str] = field(default_factory=dict)
    transient_errors: Mapping[ObjectRef, str] = field(default_factory=dict)
    foreign: frozenset[ObjectRef] = frozenset()
    held: Mapping[ObjectRef, DeferReason] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything in the status, without times of transition. `sections` are the sections for destinations."""

    conditions: tuple[Condition, ...]
    sections: tuple[Section, ...]
    fields: Mapping[str, Any]
    exposed: tuple[Section, ...] = ()


_SUCCESS: Final = {
    ConditionType.ACCEPTED: (Reason.ACCEPTED, "the spec is valid and allowed"),
    ConditionType.RESOLVED_REFS: (Reason.RESOLVED_REFS, "everything that it needs is there"),
    ConditionType.PROGRAMMED: (Reason.PROGRAMMED, "every object is in place"),
}

NOT_PROGRAMMED: Final = Condition(
    ConditionType.PROGRAMMED, "False", Reason.PENDING, "nothing is programmed until Accepted and ResolvedRefs are True"
)
"""Reasons of a rejected section: they follow from what another condition says."""


def succeeded(type_: ConditionType) -> Condition:
    """`type_` where no reason speaks against it."""
    reason, message = _SUCCESS[type_]
    return Condition(type_, "True", reason, message)


def is_bad(condition: Condition, type_: ConditionType) -> bool:
    """Whether it is of `type_` and not True."""
    return condition.type is type_ and condition.status != "True"


def serves(conditions: Sequence[Condition]) -> bool:
    """
    Whether clients of a section are sent through the gateway now, whatever else is wrong with it: a new configuration
    may be rejected, or on its way, while the previous one serves.
    """
    return all(condition.status != "False" for condition in conditions if condition.type is ConditionType.STEERED)


def serves_somebody(conditions: Sequence[Condition]) -> bool:
    """Whether requests of a section go through the gateway, even if only for some consumers."""
    return all(
        condition.status == "True"
        for condition in conditions
        if condition.type in (ConditionType.PROGRAMMED, ConditionType.STEERED)
    )
