"""The gateway's leg: from the private server name to the real host, without any header of the mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from egressgateway.api.scalars import format_duration
from egressgateway.api.traffic import Retries, Traffic
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.ir import Child
from egressgateway.plan.istio.upstream import subset_of
from egressgateway.plan.routing.children import section_child, shared_child
from egressgateway.plan.routing.headers import stripped_headers
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.stages import Stage

_DEFAULT_ATTEMPTS: Final = 2


def plan_gateway(context: PlanContext, upstreams: Sequence[Upstream], retained: Draining) -> Iterator[Child]:
    """
    The Gateway, and a VirtualService for each hop.

    One for each hop, so that one can be removed without a change of the others, after its clients have left. Several in
    one would also mislead istiod: it takes the first `tcp` route for every TLS server whose hosts match.
    """
    if upstreams or retained.servers:
        servers = [upstream.hop for upstream in upstreams]
        values = {"hops": servers, "site": context.target, "retained_servers": retained.servers}
        yield shared_child(context.owner, context.target.object_name, "Gateway", Stage.GATEWAY, values)
    for upstream in upstreams:
        yield _route(context, upstream)


def request_headers(context: PlanContext, upstream: Upstream) -> dict[str, Any]:
    """Headers that the gateway's route sets and removes, as a VirtualService has them."""
    own = upstream.destination.request_headers
    # Envoy reads `%` as the start of a variable of its own.
    set_ = {header.name: header.value.replace("%", "%%") for header in own.set_} if own else {}
    kept = {name.lower() for name in set_}
    removed = [name for name in stripped_headers(context) if name not in kept]
    removed += [name for name in (own.remove if own else ()) if name.lower() not in removed]
    return {"set": set_, "remove": removed}


def http_options(upstream: Upstream | None) -> dict[str, Any]:
    """Time-out and retries: at the gateway alone. None where the mesh's defaults apply."""
    traffic = (upstream.destination.traffic if upstream else None) or Traffic()
    return {
        # An absent field means no limit: Istio's kinds accept no zero.
        "timeout": format_duration(traffic.timeout) if traffic.timeout else None,
        "retries": _retries(traffic.retries) if traffic.retries else None,
    }


def _route(context: PlanContext, upstream: Upstream) -> Child:
    hop = upstream.hop
    values = {
        "hop": hop,
        "gateway": context.target.object_name,
        "hosts": [host.removeprefix("./") for host in hop.server_hosts if host != "./*"] or [hop.sni],
        "headers": request_headers(context, upstream),
        "options": http_options(upstream),
        "subset": subset_of(upstream),
        "export_to": context.target.export_to,
    }
    within = ("gateway", hop.host, hop.name)
    return section_child(
        context.owner, "VirtualService", Stage.GATEWAY, hop.destination, within, values, "virtualservice-gateway"
    )


def _retries(retries: Retries) -> dict[str, Any]:
    attempts = _DEFAULT_ATTEMPTS if retries.attempts is None else retries.attempts
    fields: dict[str, Any] = {"attempts": attempts}
    # Istio rejects further settings of retries that are switched off.
    if attempts and retries.per_try_timeout is not None:
        fields["perTryTimeout"] = format_duration(retries.per_try_timeout)
    if attempts and retries.retry_on:
        fields["retryOn"] = ",".join(retries.retry_on)
    return fields
