"""
What sends consumers' calls to APISIX: as with Istio's gateways, but for the routes, which mark requests for their way.

Without its mark a request ends at APISIX, which answers 404: so does every call while a route is missing here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egressgateway.api.scalars import format_duration
from egressgateway.facts import Facts
from egressgateway.plan.apisix.routes import mark_of
from egressgateway.plan.consumers import export_to
from egressgateway.plan.ir import Child, Stage
from egressgateway.plan.istio.children import part_child
from egressgateway.plan.istio.clients import Served, plan_entry
from egressgateway.plan.istio.upstream import Upstream
from egressgateway.plan.site import Site


def plan_clients(facts: Facts, site: Site, upstreams: Sequence[Upstream], served: Served) -> Iterator[Child]:
    """For each destination what registers its names, and for each host what routes it."""
    for destination in {upstream.destination.name: upstream.destination for upstream in upstreams}.values():
        consumers = served.get(destination.name, frozenset())
        if not consumers:
            continue
        own = [upstream for upstream in upstreams if upstream.hop.destination == destination.name]
        exported = export_to(consumers, facts.key.namespace)
        yield plan_entry(facts, site, destination, [upstream.hop for upstream in own], exported)
        for host in sorted(destination.hosts):
            yield _route(facts, site, [upstream for upstream in own if upstream.hop.host == host], exported)


def _route(facts: Facts, site: Site, upstreams: Sequence[Upstream], exported: list[str]) -> Child:
    first = upstreams[0]
    timeout = first.destination.traffic.timeout if first.destination.traffic else None
    values = {
        "hosts": list(first.hop.names),
        "ways": [
            {
                "port": upstream.hop.port,
                "mark": mark_of(facts, upstream.hop),
                "subset": upstream.hop.name,
                "gateway_port": upstream.hop.hop_port,
            }
            for upstream in upstreams
        ],
        # No limit is said by saying nothing: Istio's kinds take no zero.
        "timeout": format_duration(timeout) if timeout else None,
        "gateway_service": site.service_host,
        "export_to": exported,
    }
    return part_child(
        facts,
        "VirtualService",
        Stage.CLIENTS,
        first.hop.destination,
        ("clients", first.hop.host),
        values,
        "apisix/virtualservice-clients",
    )
