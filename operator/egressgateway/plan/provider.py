"""
The protocol of a data plane: through it alone, the rest of the planner uses what only Istio or APISIX knows.

A provider keeps nothing and reads nothing: it gets a context and returns values. `providers` lists all providers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import Consumers
from egressgateway.facts import MeshConfig
from egressgateway.live.controller_status import Controller
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.capabilities.model import Capabilities
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory
from egressgateway.plan.gateway.probing import Probing
from egressgateway.plan.ir import Plan


@dataclass(frozen=True, slots=True)
class Requirement:
    """Kinds that the API server has to serve, and what to install if it does not."""

    kinds: frozenset[str]
    remedy: str


class Provider(Protocol):
    """One data plane. The defaults here are the answers of most providers."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it does with each field, and which values it rejects whatever the other fields are."""

    @property
    def controller(self) -> Controller | None:
        """The controller of the provider's objects, if it reports in their status whether it accepts them."""
        return None

    @abstractmethod
    def requirements(self, spec: EgressGatewaySpec | None) -> Sequence[Requirement]:
        """Kinds that the cluster has to serve for an object; None is a spec that cannot be read."""

    @abstractmethod
    def plan(self, context: PlanContext, acceptance: Acceptance) -> Plan:
        """Every child for what is accepted; kept sections stay as they are."""

    def limits_of_class(self, spec: EgressGatewayClassSpec, class_name: str, mesh_config: MeshConfig) -> Iterable[str]:
        """What of a class is not possible for any object, given its fields and the mesh together."""
        return ()

    def limits_of_spec(self, context: PlanContext) -> Iterable[str]:
        """The same for the whole object."""
        return ()

    def limits_of_destination(self, context: PlanContext, destination: Destination, field: str) -> Iterable[str]:
        """The same for one destination; `field` is its path."""
        return ()

    def limits_of_exposed(self, context: PlanContext, exposed: ExposedHost, field: str) -> Iterable[str]:
        """The same for one exposed host; `field` is its path."""
        return ()

    def excluded_namespaces(self, context: PlanContext) -> frozenset[str]:
        """Namespaces whose clients cannot be sent to the gateway."""
        return frozenset()

    def excluded_message(self, context: PlanContext) -> str:
        """Why they are excluded, and the remedy."""
        return ""

    def advisories(self, context: PlanContext, consumers: Consumers) -> Iterable[Advisory]:
        """Behaviour that differs from what a user may expect; `consumers` are those that the spec asks for."""
        return ()

    def probing(self, context: PlanContext) -> Probing | None:
        """The object's probes, as its gateway's pods report them; None without any."""
        return None

    def why_unserved(self, context: PlanContext, section: str, *, by_this_gateway: bool) -> str:
        """
        Why what runs for a rejected section does not serve clients; empty where no reason is known.

        Args:
            by_this_gateway: its clients use the gateway of the class as it is now, and no other.
        """
        return ""

    def why_silent(self, class_spec: EgressGatewayClassSpec) -> str:
        """What to check when the controller reports nothing: a question."""
        return ""
