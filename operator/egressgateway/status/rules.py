"""A condition as an ordered table of rules: the first rule that holds decides what the condition says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.status.condition import Condition

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Rule(Generic[State]):
    """One row: what the condition says `when` that holds. Reason and message may depend on the state."""

    when: Callable[[State], bool]
    status: str
    reason: Reason | Callable[[State], Reason]
    message: str | Callable[[State], str]


@dataclass(frozen=True, slots=True)
class Table(Generic[State]):
    """The rules of one condition, in order. The last one always holds."""

    type: ConditionType
    rules: tuple[Rule[State], ...]

    def row_for(self, state: State) -> int:
        """The index of the rule that decides."""
        return next(row for row, rule in enumerate(self.rules) if rule.when(state))

    def judge(self, state: State) -> Condition:
        """What the condition says of `state`."""
        rule = self.rules[self.row_for(state)]
        reason = rule.reason(state) if callable(rule.reason) else rule.reason
        message = rule.message(state) if callable(rule.message) else rule.message
        return Condition(self.type, rule.status, reason, message)


def otherwise(state: object) -> bool:
    """For the last rule of a table."""
    return True
