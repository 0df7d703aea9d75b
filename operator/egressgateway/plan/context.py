"""
One object with a readable spec and class, and what planning needs to know of the cluster, for code that judges or plans
a section.

Code that needs only a few values takes those; only code that has to work without spec or class takes the whole `Facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import Acknowledgement, Facts, MeshConfig, References
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
        class_name: the class's name in messages.
        target: the gateway that the class gives the object.
        namespaces: labels of every namespace, by name; `namespaces_created` when some of them were created.
        namespace_labels: those of the object's own namespace; None while it has not been seen.
        status: as the API server stores it.
        acknowledgement: what the gateway's proxies say that they have.
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
    acknowledgement: Acknowledgement
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
        acknowledgement=facts.acknowledgement,
        now=facts.now,
    )


def owner_of(facts: Facts) -> Owner:
    """The owner of the planned children."""
    return Owner(facts.key, facts.gateway.uid)
