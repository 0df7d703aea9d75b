"""
Reserves private names for the gateway's pods.

Istio shows a ServiceEntry to whole namespaces, so the sidecars of the gateway's namespace see the entries of its
upstreams, and would follow them past the gateway. One VirtualService for sidecars takes all names of one gateway,
including later ones: it is written before the first entry, and deleted after the last one. Gateways follow only
VirtualServices that name their Gateway, so it does not affect them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from egressgateway.names import private_names
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import shared_child
from egressgateway.stages import Stage

_REFUSAL: Final = "private names of an egress gateway are for its own pods: ask for the host itself"


def plan_private_names(context: PlanContext, hops: Sequence[Hop], retained: Draining) -> Iterator[Child]:
    """The child that keeps sidecars beside the gateway from its upstreams, for as long as the gateway has one."""
    if not hops and not retained.servers:
        return
    values = {
        "hosts": [private_names(context.key, id_) for id_ in context.target.ids],
        "refusal": _REFUSAL,
        "gateway_service": context.target.service_host,
        "gateway_port": _port(hops, retained),
        "export_to": context.target.export_to,
    }
    yield shared_child(
        context.owner, context.target.object_name, "VirtualService", Stage.FOUNDATION, values, "virtualservice-private"
    )


def _port(hops: Sequence[Hop], retained: Draining) -> int:
    """
    The port to which TLS and TCP are sent: Istio cannot reject them, and the port must exist.

    Under mutual TLS there is one port. Without, one that is not for TCP is preferred, as the gateway rejects
    connections by a private name there; if there is no other, the call goes through the gateway, which then serves
    every client that reaches it.
    """
    if hops:
        return min((not hop.http, not hop.tls, hop.hop_port) for hop in hops)[2]
    return min(int(server["port"]["number"]) for server in retained.servers)
