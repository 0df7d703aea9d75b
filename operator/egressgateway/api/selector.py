"""Kubernetes' label selector, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import ATOMIC, Rule
from egressgateway.api.scalars import LabelKey, SelectorLabels, SelectorValue


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_COMPARE_VALUES = (SelectorOperator.IN, SelectorOperator.NOT_IN)


class LabelRequirement(ApiModel):
    """One requirement on a label."""

    key: LabelKey
    """The label's key."""

    operator: SelectorOperator
    """`In` or `NotIn` (one of `values`), `Exists` or `DoesNotExist`."""

    values: Annotated[tuple[SelectorValue, ...], Field(max_length=16), ATOMIC] = ()
    """1 to 16 values with `In` and `NotIn`, none otherwise."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["LabelRequirement"](
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="values are required with operator In or NotIn and forbidden with Exists or DoesNotExist",
            holds=lambda self: (self.operator in _COMPARE_VALUES) == bool(self.values),
            field=".values",
        ),
    )

    def __str__(self) -> str:
        values = ",".join(self.values)
        match self.operator:
            case SelectorOperator.IN:
                return f"{self.key} in ({values})"
            case SelectorOperator.NOT_IN:
                return f"{self.key} notin ({values})"
            case SelectorOperator.EXISTS:
                return self.key
            case SelectorOperator.DOES_NOT_EXIST:
                return f"!{self.key}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet the requirement, as Kubernetes reads it: an absent label is not in any set."""
        match self.operator:
            case SelectorOperator.IN:
                return labels.get(self.key) in self.values
            case SelectorOperator.NOT_IN:
                return labels.get(self.key) not in self.values
            case SelectorOperator.EXISTS:
                return self.key in labels
            case SelectorOperator.DOES_NOT_EXIST:
                return self.key not in labels


class LabelSelector(ApiModel):
    """Selects by labels; everything in it must hold, and an empty one selects everything."""

    match_labels: SelectorLabels = Field(default_factory=dict)
    """Labels that must be there with these values."""

    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=8), ATOMIC] = ()
    """Further requirements, at most 8."""

    def __str__(self) -> str:
        """As `kubectl get --selector` takes it."""
        labels = (f"{key}={value}" for key, value in sorted(self.match_labels.items()))
        return ",".join((*labels, *map(str, self.match_expressions)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with `labels` is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
