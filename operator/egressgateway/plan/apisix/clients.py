"""
Routes that send consumers' calls to APISIX: each request is marked for its hop.

The other objects are the same as with Istio's gateways. A request without its mark ends at APISIX, which answers 404:
so does every call while a route is missing here.
"""

from __future__ import annotations

from collections.abc import Sequence

from egressgateway.api.destination import Destination
from egressgateway.api.scalars import format_duration
from egressgateway.plan.apisix.routes import mark_of
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.stages import Stage


def plan_route(context: PlanContext, destination: Destination, hops: Sequence[Hop], exported: list[str]) -> Child:
    """The route that sends calls to one host to APISIX."""
    timeout = destination.traffic.timeout if destination.traffic else None
    values = {
        "hosts": list(hops[0].names),
        "ways": [
            {"port": hop.port, "mark": mark_of(context, hop), "subset": hop.name, "gateway_port": hop.hop_port}
            for hop in hops
        ],
        # An absent field means no limit: Istio's kinds accept no zero.
        "timeout": format_duration(timeout) if timeout else None,
        "gateway_service": context.target.service_host,
        "export_to": exported,
    }
    within = ("clients", hops[0].host)
    return section_child(
        context.owner,
        "VirtualService",
        Stage.CLIENTS,
        destination.name,
        within,
        values,
        "apisix/virtualservice-clients",
    )
