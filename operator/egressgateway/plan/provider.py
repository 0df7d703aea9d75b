"""
What a data plane has to answer: the one way from the rest of the planner to what only Istio's, or APISIX's, knows.

A provider keeps nothing and reads nothing: it is asked with a context, and answers with values. `providers` lists all.
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
    """Kinds that the API server has to serve, and what to install where it does not."""

    kinds: frozenset[str]
    remedy: str


class Provider(Protocol):
    """One data plane. What most providers have nothing to say of is answered here."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it makes of each field, and which values it refuses whatever the others are."""

    @property
    def controller(self) -> Controller | None:
        """The controller that takes the provider's objects, where one says in their status whether it does."""
        return None

    @abstractmethod
    def requirements(self, spec: EgressGatewaySpec | None) -> Sequence[Requirement]:
        """What the cluster has to serve for an object; None is a spec that cannot be read."""

    @abstractmethod
    def plan(self, context: PlanContext, acceptance: Acceptance) -> Plan:
        """Every child for what is accepted; parts that are kept stay as they are."""

    def limits_of_class(self, spec: EgressGatewayClassSpec, class_name: str, mesh_config: MeshConfig) -> Iterable[str]:
        """What of a class is not possible for any object, as its fields and the mesh come together."""
        return ()

    def limits_of_spec(self, context: PlanContext) -> Iterable[str]:
        """What concerns the whole object, likewise."""
        return ()

    def limits_of_destination(self, context: PlanContext, destination: Destination, field: str) -> Iterable[str]:
        """What concerns one destination, likewise; `field` is its path."""
        return ()

    def limits_of_exposed(self, context: PlanContext, exposed: ExposedHost, field: str) -> Iterable[str]:
        """What concerns one exposed host, likewise; `field` is its path."""
        return ()

    def excluded_namespaces(self, context: PlanContext) -> frozenset[str]:
        """Namespaces whose clients cannot be sent to the gateway."""
        return frozenset()

    def excluded_message(self, context: PlanContext) -> str:
        """Why they are excluded, and what helps."""
        return ""

    def advisories(self, context: PlanContext, consumers: Consumers) -> Iterable[Advisory]:
        """What stays as it is although one might think otherwise; `consumers` are those that are asked for."""
        return ()

    def probing(self, context: PlanContext) -> Probing | None:
        """The object's probes, as its gateway's pods tell of them; None without any."""
        return None

    def why_unserved(self, context: PlanContext, part: str, *, by_this_gateway: bool) -> str:
        """
        Why what runs for a part that was taken out serves nobody; empty where nothing is known against it.

        Args:
            by_this_gateway: its clients go by the gateway of the class as it is now, and by no other.
        """
        return ""

    def why_silent(self, class_spec: EgressGatewayClassSpec) -> str:
        """What to look at when the controller says nothing: a question."""
        return ""
