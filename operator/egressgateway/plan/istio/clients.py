"""Routes that send consumers' calls to one of Istio's gateways: by authority, by server name, or by port alone."""

from __future__ import annotations

from collections.abc import Sequence

from egressgateway.api.destination import Destination
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.stages import Stage


def plan_route(context: PlanContext, destination: Destination, hops: Sequence[Hop], exported: list[str]) -> Child:
    """The route that sends calls to one host to one of Istio's gateways."""
    values = {
        "hosts": list(hops[0].names),
        "http_hops": [hop for hop in hops if hop.http],
        "tls_hops": [hop for hop in hops if hop.tls],
        "tcp_hops": [hop for hop in hops if not hop.http and not hop.tls],
        "gateway_service": context.target.service_host,
        "upgrade_subsets": context.target.upgrade_subsets,
        "export_to": exported,
    }
    within = ("clients", hops[0].host)
    return section_child(
        context.owner, "VirtualService", Stage.CLIENTS, destination.name, within, values, "virtualservice-clients"
    )
