"""What the status is made of: a condition without its times, and what one says of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.diff.steering import DeferReason
from egressgateway.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its times: `merge` knows what was there before."""

    type: ConditionType
    status: str
    reason: Reason
    message: str


Part = tuple[str, tuple[Condition, ...]]
"""A destination or exposed host by its name, and its conditions."""


@dataclass(frozen=True, slots=True)
class Observed:
    """
    What became of a plan: refs that are not in place, and why as far as that is known.

    `failures` are the server's refusals, `transient_errors` what it could not do just now; both in its words.
    """

    missing: frozenset[ObjectRef] = frozenset()
    failures: Mapping[ObjectRef, str] = field(default_factory=dict)
    transient_errors: Mapping[ObjectRef, str] = field(default_factory=dict)
    foreign: frozenset[ObjectRef] = frozenset()
    held: Mapping[ObjectRef, DeferReason] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the status says, without times of transition. `parts` are destinations."""

    conditions: tuple[Condition, ...]
    parts: tuple[Part, ...]
    fields: Mapping[str, Any]
    exposed: tuple[Part, ...] = ()


_SUCCESS: Final = {
    ConditionType.ACCEPTED: (Reason.ACCEPTED, "the spec is valid and allowed"),
    ConditionType.RESOLVED_REFS: (Reason.RESOLVED_REFS, "everything that it needs is there"),
    ConditionType.PROGRAMMED: (Reason.PROGRAMMED, "every object is in place"),
}

NOT_PROGRAMMED: Final = Condition(
    ConditionType.PROGRAMMED, "False", Reason.PENDING, "nothing is programmed until it is accepted"
)
"""Of a part that was rejected: a consequence of what is said elsewhere."""


def succeeded(type_: ConditionType) -> Condition:
    """`type_` where nothing stands against it."""
    reason, message = _SUCCESS[type_]
    return Condition(type_, "True", reason, message)


def is_bad(condition: Condition, type_: ConditionType) -> bool:
    """Whether it is of `type_` and not True."""
    return condition.type is type_ and condition.status != "True"


def serves(conditions: Sequence[Condition]) -> bool:
    """Whether a part is all that it should be; the external side is no part of that."""
    return all(condition.status == "True" for condition in conditions if condition.type is not ConditionType.REACHABLE)


def serves_somebody(conditions: Sequence[Condition]) -> bool:
    """Whether requests of a part go through the gateway, be it of some consumers only."""
    return all(
        condition.status == "True"
        for condition in conditions
        if condition.type in (ConditionType.PROGRAMMED, ConditionType.STEERED)
    )
