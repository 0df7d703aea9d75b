"""
Provider Istio as a whole: which children exist, and in which order they are planned.

Two audiences, two legs (notes "istio-recipes" §1b): the gateway's leg, under private names, is complete before any
client learns of a host; the clients' leg appears and disappears in one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import Consumers
from egressgateway.facts import MeshConfig
from egressgateway.namespaces import union
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.capabilities.model import Capabilities
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory
from egressgateway.plan.gateway.draining import Draining, plan_drain
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.gateway.probing import Probing
from egressgateway.plan.ir import Child, Plan
from egressgateway.plan.istio import advisories, limits
from egressgateway.plan.istio.access import plan_access
from egressgateway.plan.istio.callers import plan_callers
from egressgateway.plan.istio.capabilities import CAPABILITIES
from egressgateway.plan.istio.clients import plan_route
from egressgateway.plan.istio.expose import exposed_ports, plan_exposed, visiting_namespaces, visitors_of
from egressgateway.plan.istio.health_checks import plan_probes, probing_of
from egressgateway.plan.istio.private import plan_private_names
from egressgateway.plan.istio.routes import plan_gateway
from egressgateway.plan.istio.telemetry import plan_original_host, plan_telemetry
from egressgateway.plan.istio.upgrades import plan_upgrades
from egressgateway.plan.istio.upstream import plan_upstreams
from egressgateway.plan.pods.workload import WorkloadNeeds, plan_workload
from egressgateway.plan.provider import Provider, Requirement
from egressgateway.plan.revoked import less_revoked
from egressgateway.plan.routing.clients import all_consumers, plan_clients, plan_hop, plan_narrowed
from egressgateway.plan.routing.upstreams import upstreams_of
from egressgateway.refs import CHILD_BY_KIND

_GROUPS: Final = ("k8s.io", "istio.io")
_KINDS: Final = frozenset(
    kind for kind, resource in CHILD_BY_KIND.items() if "." not in resource.group or resource.group.endswith(_GROUPS)
)


class IstioProvider(Provider):
    """Gateways of Istio: the object's own, or a shared one that the platform runs."""

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def requirements(self, spec: EgressGatewaySpec | None) -> Sequence[Requirement]:
        return (Requirement(_KINDS, "install Istio with its CRDs"),)

    def plan(self, context: PlanContext, acceptance: Acceptance) -> Plan:
        hops = build_hops(context.key, acceptance.served, context.target)
        retained = plan_drain(context.live, hops, acceptance.staying, context.target, acceptance.staying_names)
        retained = less_revoked(retained, context.live.objects, acceptance.revoked)
        children = (
            *_plan_pods(context, acceptance, hops, retained),
            *_plan_routing(context, acceptance, hops, retained),
            *plan_narrowed(context.owner, retained.narrowed),
        )
        draining = retained.draining or _is_left(context, acceptance, retained)
        return Plan(children, retained.children, draining=draining)

    def limits_of_class(self, spec: EgressGatewayClassSpec, class_name: str, mesh_config: MeshConfig) -> Iterable[str]:
        return limits.limits_of_class(spec, class_name, mesh_config)

    def limits_of_spec(self, context: PlanContext) -> Iterable[str]:
        return limits.limits_of_spec(context)

    def limits_of_destination(self, context: PlanContext, destination: Destination, field: str) -> Iterable[str]:
        return limits.limits_of_destination(context, destination, field)

    def limits_of_exposed(self, context: PlanContext, exposed: ExposedHost, field: str) -> Iterable[str]:
        return limits.limits_of_exposed(context, exposed, field)

    def advisories(self, context: PlanContext, consumers: Consumers) -> Iterable[Advisory]:
        return advisories.advisories(context)

    def probing(self, context: PlanContext) -> Probing | None:
        return probing_of(context)


def _plan_pods(
    context: PlanContext, acceptance: Acceptance, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    ports = exposed_ports(acceptance.exposed)
    if not context.target.dedicated or not (acceptance.served or acceptance.staying or ports):
        return
    needs = WorkloadNeeds(
        target=context.target,
        hops=hops,
        exposed_ports=ports,
        consumers=_reached_from(context, acceptance, retained),
        reads_secrets=_reads_secrets(context.spec),
        backends=any(exposed.backend.service for exposed in acceptance.exposed if exposed.gateway_ref is None),
        retained_ports=retained.ports,
        retained_service_ports=retained.service_ports,
    )
    yield from plan_workload(context, needs)


def _plan_routing(
    context: PlanContext, acceptance: Acceptance, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    upstreams = upstreams_of(hops, acceptance.served)
    visitors = tuple(visitors_of(context, acceptance.exposed, hops))
    ports = [port for port, _ in exposed_ports(acceptance.exposed)]
    if hops or ports or retained.servers:
        yield from plan_access(context, hops, visitors, ports, retained)
        yield from plan_callers(context, hops, visitors, retained)
        yield from plan_telemetry(context)
    yield from plan_hop(context, hops, _reached_from(context, acceptance, retained), retained)
    yield from plan_private_names(context, hops, retained)
    yield from plan_upstreams(context, upstreams)
    yield from plan_probes(context, upstreams)
    yield from plan_original_host(context, hops, retained)
    yield from plan_upgrades(context, hops, retained)
    yield from plan_gateway(context, upstreams, retained)
    yield from plan_exposed(context, acceptance.exposed, upstreams)
    yield from plan_clients(context, acceptance, hops, plan_route)


def _reached_from(context: PlanContext, acceptance: Acceptance, retained: Draining) -> frozenset[str]:
    """Namespaces that use the hop; Istio rejects an `exportTo` of every namespace and some besides."""
    return union((_to_be_reached_from(context, acceptance, retained), retained.leaving))


def _to_be_reached_from(context: PlanContext, acceptance: Acceptance, retained: Draining) -> frozenset[str]:
    """The same once istiod has pushed the change to the clients that leave."""
    visiting = visiting_namespaces(context, acceptance.exposed)
    return union((all_consumers(acceptance.consumers), visiting, retained.consumers))


def _is_left(context: PlanContext, acceptance: Acceptance, retained: Draining) -> bool:
    """Whether clients of some namespace are leaving."""
    return _reached_from(context, acceptance, retained) != _to_be_reached_from(context, acceptance, retained)


def _reads_secrets(spec: EgressGatewaySpec) -> bool:
    """
    Whether some section names a Secret, whether or not it exists.

    A right that is granted after a certificate was requested takes effect only minutes later (notes "istio-recipes"
    §2).
    """
    ports = [port for found in spec.destinations for port in found.ports]
    return any(port.tls is not None and port.tls.credential_name for port in ports) or any(
        exposed.tls is not None for exposed in spec.expose
    )
