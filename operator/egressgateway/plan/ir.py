"""
What a plan is: the children that should exist, by stage, as template and values.

Children are written in the order of their stages (`stages`). What a plan does not hold is pruned, unless its part is
kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from egressgateway.refs import Key, ObjectRef
from egressgateway.stages import Stage


class Owner(NamedTuple):
    """The EgressGateway whose children are planned."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class Child:
    """
    One object that should exist. `part` is the destination that it serves, empty when it serves all.

    `overlay` is laid over what the template gives, as Kubernetes merges strategically; what the template says of the
    keys that identify the object, and of those that select pods, stays.
    """

    ref: ObjectRef
    stage: Stage
    template: str
    values: Mapping[str, Any]
    part: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Everything that should exist for one EgressGateway.

    Attributes:
        kept: live children that stay as they are: their part cannot be planned (not accepted), and what already runs
            is not taken away for it.
        draining: shared children carry something over until the mesh has been told; there will be another plan of the
            same spec.
    """

    children: tuple[Child, ...] = ()
    kept: frozenset[ObjectRef] = field(default_factory=frozenset)
    draining: bool = False
