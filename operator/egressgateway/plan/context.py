"""
One object whose spec and class can be read, and what planning asks of the world: for all who judge or plan a part.

Who needs two or three things takes these; the whole `Facts` belong to those who must do without spec or class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import Facts, MeshConfig, References
from egressgateway.live.children import LiveChildren
from egressgateway.namespaces import Namespaces
from egressgateway.plan.gateway.target import GatewayTarget, target_of
from egressgateway.plan.ir import Owner
from egressgateway.refs import Key
from egressgateway.settings import MeshSettings


@dataclass(frozen=True, slots=True)
class PlanContext:
    """
    What planners and checks may know of one object.

    Attributes:
        class_name: as messages name the class.
        target: the gateway that the class gives the object.
        namespaces: labels of every namespace, by name; `namespaces_created` since when some of them exist.
        namespace_labels: those of the object's own namespace; None while it has not been seen.
        status: as it stands in the API server.
    """

    owner: Owner
    spec: EgressGatewaySpec
    class_spec: EgressGatewayClassSpec
    class_name: str
    target: GatewayTarget
    mesh: MeshSettings
    mesh_config: MeshConfig
    references: References
    live: LiveChildren
    namespaces: Namespaces
    namespaces_created: Mapping[str, datetime]
    namespace_labels: Mapping[str, str] | None
    status: Mapping[str, Any]
    now: datetime

    @property
    def key(self) -> Key:
        return self.owner.key


def context_of(facts: Facts) -> PlanContext | None:
    """The context of an object; None while its spec or its class cannot be read."""
    spec, class_spec = facts.gateway.spec, facts.class_.spec
    if spec is None or class_spec is None:
        return None
    return PlanContext(
        owner=owner_of(facts),
        spec=spec,
        class_spec=class_spec,
        class_name=str(facts.class_),
        target=target_of(facts),
        mesh=facts.mesh,
        mesh_config=facts.mesh_config,
        references=facts.references,
        live=LiveChildren.of(facts),
        namespaces=facts.namespaces,
        namespaces_created=facts.namespaces_created,
        namespace_labels=facts.namespace_labels,
        status=facts.gateway.status,
        now=facts.now,
    )


def owner_of(facts: Facts) -> Owner:
    """Whose children are planned."""
    return Owner(facts.key, facts.gateway.uid)
