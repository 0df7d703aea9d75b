"""
WebSockets on hops of HTTP/2.

A sidecar sends an upgrade over HTTP/2 as an extended CONNECT (RFC 8441), which Envoy refuses unless a listener says
that it takes them. Istio has no field for that; an EnvoyFilter has. A CONNECT that is no upgrade finds no route, and
the gateway sees an upgrade as the GET that the client sent, so that `access` by method and path holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egressgateway.api.gateway_class import UpgradeMode
from egressgateway.names import upgrades_part
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import remote_child, shared_child
from egressgateway.stages import Stage

_TEMPLATE = "envoyfilter-upgrades"


def plan_upgrades(context: PlanContext, hops: Sequence[Hop], retained: Draining) -> Iterator[Child]:
    """
    The EnvoyFilter by which upgrades pass: on every chain of the own gateway, on the object's own of a shared one.

    For the own gateway it does not name the hops: it is never rewritten, and serves those that clients are leaving.
    """
    if context.target.upgrades is not UpgradeMode.ENVOY_FILTER:
        return
    if context.target.dedicated:
        if any(hop.upgradable for hop in hops) or retained.servers:
            name, values = f"{context.target.object_name}-upgrades", {"site": context.target, "names": [""]}
            yield shared_child(context.owner, name, "EnvoyFilter", Stage.FOUNDATION, values, _TEMPLATE)
        return
    names = sorted({hop.sni for hop in hops if hop.upgradable} | retained.upgrade_names)
    if names:
        place, part = context.target.namespace, upgrades_part(context.target.id)
        values = {"site": context.target, "names": names}
        yield remote_child(context.owner, place, "EnvoyFilter", part, Stage.FOUNDATION, values, _TEMPLATE)
