"""Where APISIX sends the requests of one (host, port), and how: an ApisixUpstream for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from egressgateway.api.destination import Destination
from egressgateway.api.scalars import format_duration
from egressgateway.api.tls import PortTls, TlsMode
from egressgateway.api.traffic import LoadBalancingAlgorithm, OutlierDetection, Traffic
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.stages import Stage

_SECOND: Final = timedelta(seconds=1)
_CONNECT: Final = timedelta(seconds=10)
"""The same as the mesh's sidecars' connect time-out (Istio's default)."""

_UNLIMITED: Final = timedelta(hours=24)
"""No limit, as far as APISIX has one: without a value it is a minute."""

_ALGORITHMS: Final = {
    LoadBalancingAlgorithm.ROUND_ROBIN: "roundrobin",
    LoadBalancingAlgorithm.LEAST_REQUEST: "least_conn",
}
_DEFAULT_ALGORITHM: Final = "least_conn"
_DEFAULT_FAILURES: Final = 5
_FAILING_CODES: Final = list(range(500, 512))
_PROBE_INTERVAL: Final = timedelta(seconds=30)
"""For ejected endpoints, and inevitably for all: the default of `baseEjectionTime`."""


def plan_upstreams(context: PlanContext, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """One for each hop, so that one can be removed without a change of the others, after its clients have left."""
    for upstream in upstreams:
        yield section_child(
            context.owner,
            "ApisixUpstream",
            Stage.FOUNDATION,
            upstream.hop.destination,
            within_of(upstream.hop),
            _values(context, upstream),
            "apisix/apisixupstream",
        )


def within_of(hop: Hop) -> tuple[str, ...]:
    """What distinguishes the objects of one hop from those of others; upstream and route have the same name."""
    return ("apisix", hop.host, hop.name)


def _values(context: PlanContext, upstream: Upstream) -> dict[str, Any]:
    traffic = upstream.destination.traffic or Traffic()
    tls, https = upstream.port.tls, upstream.hop.originates
    return {
        "ingress_class": context.class_spec.ingress_class,
        "nodes": list(_nodes(upstream)),
        "scheme": "https" if https else "http",
        # Requests for a wildcard carry the name; all others have one fixed name, whatever the client wrote.
        "host": None if upstream.hop.wildcard else upstream.hop.authority,
        "timeout": _timeout(traffic),
        "retries": traffic.retries.attempts if traffic.retries else None,
        "algorithm": _algorithm(upstream.destination),
        "checks": _checks(traffic.outlier_detection, https=https) if traffic.outlier_detection else None,
        "tls_secret": _client_certificate(context, tls) if tls else None,
    }


def _nodes(upstream: Upstream) -> Iterator[dict[str, Any]]:
    port = upstream.hop.target_port
    if not upstream.destination.endpoints:
        yield {"name": upstream.hop.server, "port": port, "weight": None}
    for endpoint in upstream.destination.endpoints:
        yield {"name": endpoint.address, "port": port, "weight": endpoint.weight or 1}


def _timeout(traffic: Traffic) -> dict[str, str]:
    """APISIX counts in whole seconds, so its own limits are rounded up; the sidecars' are exact."""
    pool = traffic.connection_pool
    connect = (pool.connect_timeout if pool else None) or _CONNECT
    limit = -(-(traffic.timeout or _UNLIMITED) // _SECOND) * _SECOND
    return {"connect": format_duration(connect), "send": format_duration(limit), "read": format_duration(limit)}


def _algorithm(destination: Destination) -> str | None:
    """None where there is only one endpoint."""
    balancing = destination.traffic.load_balancing if destination.traffic else None
    if balancing is not None:
        return _ALGORITHMS[balancing.algorithm]
    return _DEFAULT_ALGORITHM if len(destination.endpoints) > 1 else None


def _checks(detection: OutlierDetection, *, https: bool) -> dict[str, Any]:
    """
    An endpoint is ejected because of its responses, and restored once it accepts connections.

    Only active checks restore an endpoint. They connect and send nothing, because no field says which request is safe.
    """
    interval = format_duration(_PROBE_INTERVAL)
    return {
        "active": {
            "type": "tcp",
            "healthy": {"interval": interval, "successes": 1},
            "unhealthy": {"interval": interval, "tcpFailures": 2},
        },
        "passive": {
            "type": "https" if https else "http",
            "unhealthy": {
                "httpCodes": _FAILING_CODES,
                "httpFailures": detection.consecutive5xx_errors or _DEFAULT_FAILURES,
            },
        },
    }


def _client_certificate(context: PlanContext, tls: PortTls) -> dict[str, str] | None:
    if tls.mode is not TlsMode.MUTUAL or tls.credential_name is None:
        return None
    return {"name": tls.credential_name, "namespace": context.key.namespace}
