"""
Provider APISIX as a whole: objects of APISIX in the object's own namespace, and the clients' way to APISIX in the mesh.

APISIX itself is the platform's. Its objects are complete, and its controller has taken them, before any client hears
of a host; the clients' leg appears and disappears in one burst, as with Istio's gateways.
"""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.facts import Facts
from egressgateway.namespaces import union
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.apisix.clients import plan_route
from egressgateway.plan.apisix.expose import plan_exposed
from egressgateway.plan.apisix.routes import plan_routes
from egressgateway.plan.apisix.upstreams import plan_upstreams
from egressgateway.plan.gateway.draining import Draining, plan_drain
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.gateway.target import GatewayTarget, target_of
from egressgateway.plan.ir import Child, Plan
from egressgateway.plan.revoked import less_revoked
from egressgateway.plan.routing.clients import all_consumers, plan_clients, plan_hop, plan_narrowed
from egressgateway.plan.routing.upstreams import upstreams_of


def plan_apisix(facts: Facts, acceptance: Acceptance) -> Plan:
    """Every child for what is accepted; parts that are kept stay as they are."""
    site = target_of(facts)
    hops = build_hops(facts.key, acceptance.served, site)
    retained = plan_drain(facts, hops, acceptance.kept, site, acceptance.contested)
    retained = less_revoked(retained, facts, acceptance.revoked)
    children = (
        *_plan_routing(facts, acceptance, site, hops, retained),
        *plan_narrowed(facts, retained.narrowed),
    )
    staying = union((all_consumers(acceptance.consumers), retained.consumers))
    draining = retained.draining or union((staying, retained.leaving)) != staying
    return Plan(children, retained.children, draining=draining)


def _plan_routing(
    facts: Facts, acceptance: Acceptance, site: GatewayTarget, hops: tuple[Hop, ...], retained: Draining
) -> Iterator[Child]:
    upstreams = upstreams_of(hops, acceptance.served)
    consumers = union((all_consumers(acceptance.consumers), retained.consumers, retained.leaving))
    yield from plan_hop(facts, site, hops, consumers, retained)
    yield from plan_upstreams(facts, upstreams)
    yield from plan_routes(facts, upstreams)
    yield from plan_exposed(facts, acceptance.exposed, upstreams)
    yield from plan_clients(facts, site, acceptance, hops, plan_route)
