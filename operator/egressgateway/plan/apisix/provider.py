"""
Provider APISIX as a whole: objects of APISIX in the object's own namespace, and the clients' leg to APISIX in the mesh.

The platform runs APISIX itself. The provider's objects are complete, and the controller has accepted them, before any
client learns of a host; the clients' leg appears and disappears in one batch, as with Istio's gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from egressgateway.api.destination import Destination
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import Consumers
from egressgateway.live.controller_status import Controller
from egressgateway.namespaces import union
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.apisix import limits
from egressgateway.plan.apisix.capabilities import CAPABILITIES
from egressgateway.plan.apisix.clients import plan_route
from egressgateway.plan.apisix.expose import plan_exposed
from egressgateway.plan.apisix.routes import plan_routes
from egressgateway.plan.apisix.upstreams import plan_upstreams
from egressgateway.plan.capabilities.model import Capabilities
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory
from egressgateway.plan.gateway.draining import Draining, plan_drain
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.ir import Child, Plan
from egressgateway.plan.provider import Provider, Requirement
from egressgateway.plan.revoked import less_revoked
from egressgateway.plan.routing.clients import all_consumers, plan_clients, plan_hop, plan_narrowed
from egressgateway.plan.routing.upstreams import upstreams_of
from egressgateway.refs import APISIX_KINDS

_CLIENTS_KINDS: Final = frozenset({"ServiceEntry", "VirtualService", "DestinationRule"})
"""The part of a plan that sends clients to a gateway, for any provider."""

_CONTROLLER: Final = Controller(
    "APISIX's ingress controller",
    answers_for=APISIX_KINDS,
    version="2.0.0",
    silent_at_times=frozenset({"ApisixUpstream"}),
    push_failures=frozenset({"SyncFailed"}),
    partial=frozenset({"PartiallyInvalid"}),
)


class ApisixProvider(Provider):
    """An APISIX that the platform runs, and its ingress controller."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def controller(self) -> Controller:
        return _CONTROLLER

    def requirements(self, spec: EgressGatewaySpec | None) -> Sequence[Requirement]:
        steers = spec is not None and bool(spec.destinations)
        return (
            Requirement(_CLIENTS_KINDS if steers else frozenset(), "install Istio with its CRDs"),
            Requirement(
                APISIX_KINDS, "install APISIX's ingress controller with its CRDs, and grant the operator access to them"
            ),
        )

    def plan(self, context: PlanContext, acceptance: Acceptance) -> Plan:
        hops = build_hops(context.key, acceptance.served, context.target)
        retained = plan_drain(context.live, hops, acceptance.staying, context.target, acceptance.staying_names)
        retained = less_revoked(retained, context.live.objects, acceptance.revoked)
        children = (
            *_plan_routing(context, acceptance, hops, retained),
            *plan_narrowed(context.owner, retained.narrowed),
        )
        staying = union((all_consumers(acceptance.consumers), retained.consumers))
        draining = retained.draining or union((staying, retained.leaving)) != staying
        return Plan(children, retained.children, draining=draining)

    def limits_of_spec(self, context: PlanContext) -> Iterable[str]:
        return limits.limits_of_spec(context)

    def limits_of_destination(self, context: PlanContext, destination: Destination, field: str) -> Iterable[str]:
        return limits.limits_of_destination(context, field)

    def excluded_namespaces(self, context: PlanContext) -> frozenset[str]:
        return limits.excluded_namespaces(context)

    def excluded_message(self, context: PlanContext) -> str:
        return limits.excluded_message(context)

    def advisories(self, context: PlanContext, consumers: Consumers) -> Iterable[Advisory]:
        return limits.advisories(context, consumers)

    def why_unserved(self, context: PlanContext, section: str, *, by_this_gateway: bool) -> str:
        return limits.why_unserved(context, section, by_this_gateway=by_this_gateway)

    def why_silent(self, class_spec: EgressGatewayClassSpec) -> str:
        return (
            f"check that APISIX's ingress controller runs, in version {_CONTROLLER.version} or later, and that "
            f"IngressClass {class_spec.ingress_class!r} names it in spec.controller"
        )


def _plan_routing(
    context: PlanContext, acceptance: Acceptance, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    upstreams = upstreams_of(hops, acceptance.served)
    consumers = union((all_consumers(acceptance.consumers), retained.consumers, retained.leaving))
    yield from plan_hop(context, hops, consumers, retained)
    yield from plan_upstreams(context, upstreams)
    yield from plan_routes(context, upstreams)
    yield from plan_exposed(context, acceptance.exposed, upstreams)
    yield from plan_clients(context, acceptance, hops, plan_route)
