"""What is logged and traced at the gateway, and what Envoy would add to requests after the routes have cleaned them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egressgateway.api.spec import AccessLog
from egressgateway.names import headers_part
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import remote_child, shared_child
from egressgateway.plan.routing.headers import strips_mesh_headers, strips_trace_context
from egressgateway.stages import Stage


def plan_telemetry(context: PlanContext) -> Iterator[Child]:
    """
    Access log as configured, and no trace context of the gateway's own.

    A tracer writes `traceparent` after the routes have removed it ("istio-recipes" §8). Where the mesh cannot switch
    off the context alone (before Istio 1.30), the gateway's spans are switched off with it.
    """
    access_log = context.spec.telemetry.access_log if context.spec.telemetry is not None else None
    if not context.target.dedicated or (access_log is None and not strips_trace_context(context)):
        return
    values = {
        "site": context.target,
        "access_log": None if access_log is None else access_log is AccessLog.ENABLED,
        "strip": strips_trace_context(context),
        "keeps_spans": context.mesh_config.context_propagation,
    }
    yield shared_child(context.owner, context.target.object_name, "Telemetry", Stage.FOUNDATION, values)


def plan_original_host(context: PlanContext, hops: Sequence[Hop], retained: Draining) -> Iterator[Child]:
    """
    On a shared gateway: remove `x-envoy-original-host`, which would reveal the private server name to external hosts.

    Envoy sets it after the routes have removed headers; the own gateway's pods have it switched off.
    """
    names = [*(hop.sni for hop in hops if hop.http and not hop.wildcard), *sorted(retained.clean_names)]
    if context.target.dedicated or not context.target.strict or not names or not strips_mesh_headers(context):
        return
    values = {"site": context.target, "names": names}
    yield remote_child(
        context.owner,
        context.target.namespace,
        "EnvoyFilter",
        headers_part(context.target.id),
        Stage.FOUNDATION,
        values,
        "envoyfilter-original-host",
    )
