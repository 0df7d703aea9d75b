"""
Provider Istio as a whole: which children there are, in which order they are planned.

Two audiences, two legs (notes "istio-recipes" §1b): the gateway's leg, under private names, is complete before any
client hears of a host; the clients' leg appears and disappears in one burst.
"""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.facts import Facts
from egressgateway.live.children import part_of, stage_of
from egressgateway.namespaces import union
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.gateway.draining import Draining, plan_drain
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.gateway.target import GatewayTarget, target_of
from egressgateway.plan.gateway.workload import WorkloadNeeds, plan_workload
from egressgateway.plan.ir import Child, Plan
from egressgateway.plan.istio.access import plan_access
from egressgateway.plan.istio.clients import plan_route
from egressgateway.plan.istio.expose import exposed_ports, plan_exposed, visiting_namespaces, visitors_of
from egressgateway.plan.istio.health_checks import plan_probes
from egressgateway.plan.istio.private import plan_private_names
from egressgateway.plan.istio.routes import plan_gateway
from egressgateway.plan.istio.telemetry import plan_original_host, plan_telemetry
from egressgateway.plan.istio.upstream import plan_upstreams
from egressgateway.plan.revoked import Revoked, less_revoked
from egressgateway.plan.routing.clients import all_consumers, plan_clients, plan_hop, plan_narrowed
from egressgateway.plan.routing.upstreams import upstreams_of
from egressgateway.stages import Stage


def plan_istio(facts: Facts, acceptance: Acceptance) -> Plan:
    """Every child for what is accepted; parts that are kept stay as they are."""
    site = target_of(facts)
    hops = build_hops(facts.key, acceptance.served, site)
    retained = plan_drain(facts, hops, acceptance.kept, site, acceptance.contested)
    retained = less_revoked(retained, facts, acceptance.revoked)
    children = (
        *_plan_pods(facts, acceptance, site, hops, retained),
        *_plan_routing(facts, acceptance, site, hops, retained),
        *plan_narrowed(facts, retained.narrowed),
    )
    draining = retained.draining or _is_left(facts, acceptance, retained)
    return Plan(children, retained.children, draining=draining)


def plan_kept(facts: Facts, revoked: Revoked) -> Plan:
    """
    Everything stays as it is, but for what is not allowed any more.

    And for hosts that are registered with clients and not routed any more.
    """
    parts = frozenset(part_of(found) for found in facts.live.values()) - revoked.parts
    retained = less_revoked(plan_drain(facts, (), parts, target_of(facts)), facts, revoked)
    stays = frozenset(
        ref
        for ref, found in facts.live.items()
        if part_of(found) in parts
        and ref not in revoked.refs
        and (stage_of(found) is not Stage.CLIENTS or ref in retained.children)
    )
    return Plan(tuple(plan_narrowed(facts, retained.narrowed)), stays)


def plan_frozen(facts: Facts, revoked: Revoked) -> Plan:
    """Nothing of a suspended object is written, whatever became of it; what is not allowed any more goes."""
    if revoked.everything:
        return Plan()
    stays = frozenset(
        ref for ref, found in facts.live.items() if part_of(found) not in revoked.parts and ref not in revoked.refs
    )
    retained = less_revoked(Draining(children=stays), facts, revoked)
    return Plan(tuple(plan_narrowed(facts, retained.narrowed)), retained.children)


def _plan_pods(
    facts: Facts, acceptance: Acceptance, site: GatewayTarget, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    ports = exposed_ports(acceptance.exposed)
    if not site.dedicated or not (acceptance.served or acceptance.kept or ports):
        return
    needs = WorkloadNeeds(
        site=site,
        hops=hops,
        exposed_ports=ports,
        consumers=_reached_from(facts, acceptance, retained),
        reads_secrets=_reads_secrets(facts),
        backends=any(exposed.backend.service for exposed in acceptance.exposed if exposed.gateway_ref is None),
        retained_ports=retained.ports,
        retained_service_ports=retained.service_ports,
    )
    yield from plan_workload(facts, needs)


def _plan_routing(
    facts: Facts, acceptance: Acceptance, site: GatewayTarget, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    upstreams = upstreams_of(hops, acceptance.served)
    visitors = tuple(visitors_of(facts, acceptance.exposed, hops))
    ports = [port for port, _ in exposed_ports(acceptance.exposed)]
    if hops or ports or retained.servers:
        yield from plan_access(facts, site, hops, visitors, ports, retained)
        yield from plan_telemetry(facts, site)
    yield from plan_hop(facts, site, hops, _reached_from(facts, acceptance, retained), retained)
    yield from plan_private_names(facts, site, hops, retained)
    yield from plan_upstreams(facts, site, upstreams)
    yield from plan_probes(facts, site, upstreams)
    yield from plan_original_host(facts, site, hops, retained)
    yield from plan_gateway(facts, site, upstreams, retained)
    yield from plan_exposed(facts, site, acceptance.exposed, upstreams)
    yield from plan_clients(facts, site, acceptance, hops, plan_route)


def _reached_from(facts: Facts, acceptance: Acceptance, retained: Draining) -> frozenset[str]:
    """Namespaces from which the hop is used; Istio refuses an `exportTo` of every one and some besides."""
    return union((_to_be_reached_from(facts, acceptance, retained), retained.leaving))


def _to_be_reached_from(facts: Facts, acceptance: Acceptance, retained: Draining) -> frozenset[str]:
    """The same once those have been told whose clients are to leave."""
    visiting = visiting_namespaces(facts, acceptance.exposed)
    return union((all_consumers(acceptance.consumers), visiting, retained.consumers))


def _is_left(facts: Facts, acceptance: Acceptance, retained: Draining) -> bool:
    """Whether clients of some namespace are on their way out."""
    return _reached_from(facts, acceptance, retained) != _to_be_reached_from(facts, acceptance, retained)


def _reads_secrets(facts: Facts) -> bool:
    """
    Whether some part names a Secret, be it there or not.

    A right that is granted after a certificate was asked for heals nothing for minutes (notes "istio-recipes" §2).
    """
    spec = facts.gateway.spec
    ports = [port for found in (spec.destinations if spec else ()) for port in found.ports]
    return any(port.tls is not None and port.tls.credential_name for port in ports) or any(
        exposed.tls is not None for exposed in (spec.expose if spec else ())
    )
