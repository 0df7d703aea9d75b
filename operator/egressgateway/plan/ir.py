"""
What a plan is: the children that should exist, by stage, as template and values.

Children are written in the order of their stages (`stages`). Children that are not in the plan are pruned, unless their
section is kept as it is.
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
    One object that should exist. `section` is the section that it serves, empty when it serves all.

    `overlay` is merged into the template's result, as a Kubernetes strategic merge patch; the keys that identify the
    object, and those that select pods, keep the template's values.
    """

    ref: ObjectRef
    stage: Stage
    template: str
    values: Mapping[str, Any]
    section: str = ""
    overlay: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Everything that should exist for one EgressGateway.

    Attributes:
        kept: live children that stay as they are: their section cannot be planned (not accepted), and what already runs
            is not removed because of that.
        draining: shared children still carry entries that drain until istiod has pushed; another plan of the same spec
            follows.
    """

    children: tuple[Child, ...] = ()
    kept: frozenset[ObjectRef] = field(default_factory=frozenset)
    draining: bool = False
