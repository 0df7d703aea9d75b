"""The gateway's upstream for one (host, port), under its private name: its addresses, and the protocol to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from egressgateway.api.destination import Resolution
from egressgateway.api.tls import PortTls, TlsMode
from egressgateway.api.traffic import LoadBalancingAlgorithm, OutlierDetection, Traffic
from egressgateway.names import WAY_OUT, private_address
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.stages import Stage

SUBSET: Final = "tls"
"""
Subset of the upstream's DestinationRule. `istioctl analyze` demands `caCertificates` outside of subsets, also where a
Secret holds the CA, and Istio rejects the two together (notes "istio-recipes" §10).
"""

_ALGORITHMS: Final = {
    LoadBalancingAlgorithm.ROUND_ROBIN: "ROUND_ROBIN",
    LoadBalancingAlgorithm.LEAST_REQUEST: "LEAST_REQUEST",
    LoadBalancingAlgorithm.RANDOM: "RANDOM",
}
_DEFAULT_FAILOVER_ERRORS: Final = 5


def subset_of(upstream: Upstream) -> str:
    """Subset that the gateway's route names; empty without one."""
    tls = upstream.port.tls
    return SUBSET if tls is not None and (tls.credential_name or tls.insecure_skip_verify) else ""


def plan_upstreams(context: PlanContext, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """ServiceEntry, and as needed DestinationRule and EnvoyFilter, of each upstream."""
    addresses = _private_addresses(upstreams)
    for upstream in upstreams:
        if _has_policy(upstream):
            yield _policy(context, upstream)
        yield _entry(context, upstream, addresses.get(upstream.hop.sni))
        if upstream.hop.dynamic:
            yield _dynamic(context, upstream.hop)


def _private_addresses(upstreams: Sequence[Upstream]) -> dict[str, str]:
    """
    Addresses of TCP entries: without one, a sidecar of the own namespace would take every connection to their port.
    """
    taken: dict[str, str] = {}
    for upstream in upstreams:
        if upstream.hop.protocol == "TCP":
            taken[upstream.hop.sni] = private_address(upstream.hop.sni, taken.values())
    return taken


def _entry(context: PlanContext, upstream: Upstream, address: str | None) -> Child:
    hop = upstream.hop
    values = {
        "hop": hop,
        "address": address,
        "endpoints": _endpoints(upstream),
        "resolution": _resolution(upstream),
        "export_to": context.target.export_to,
    }
    return _part(context, "ServiceEntry", hop, WAY_OUT, values, "serviceentry-upstream")


def _endpoints(upstream: Upstream) -> list[dict[str, Any]]:
    if upstream.hop.dynamic:
        return []
    if not upstream.destination.endpoints:
        return [{"address": upstream.hop.server}]
    return [endpoint.as_json() for endpoint in upstream.destination.endpoints]


def _resolution(upstream: Upstream) -> str:
    if upstream.hop.dynamic:
        return "DYNAMIC_DNS"
    if upstream.destination.resolution is Resolution.DNS_ROUND_ROBIN:
        return "DNS_ROUND_ROBIN"
    endpoints = upstream.destination.endpoints
    return "STATIC" if endpoints and all(_is_address(endpoint.address) for endpoint in endpoints) else "DNS"


def _has_policy(upstream: Upstream) -> bool:
    return upstream.port.tls is not None or bool(_traffic_policy(upstream))


def _policy(context: PlanContext, upstream: Upstream) -> Child:
    policy = _traffic_policy(upstream)
    if upstream.port.tls is not None:
        policy["tls"] = _tls(upstream, upstream.port.tls)
    values = {
        "hop": upstream.hop,
        "subset": subset_of(upstream),
        "policy": policy,
        "export_to": context.target.export_to,
    }
    return _part(context, "DestinationRule", upstream.hop, WAY_OUT, values, "destinationrule-upstream")


def _tls(upstream: Upstream, tls: PortTls) -> dict[str, Any]:
    """
    Server name and names to verify always go together: either alone switches the verification of names off
    ("istio-recipes" §2). With a dynamic wildcard Envoy sends and verifies the requested name, if neither is given.
    """
    settings: dict[str, Any] = {"mode": "MUTUAL" if tls.mode is TlsMode.MUTUAL else "SIMPLE"}
    if not upstream.hop.dynamic:
        settings["sni"] = tls.sni or upstream.hop.server
    if tls.insecure_skip_verify:
        settings["insecureSkipVerify"] = True
    elif not upstream.hop.dynamic:
        settings["subjectAltNames"] = list(tls.subject_alt_names) or [upstream.hop.server]
    if tls.credential_name:
        settings["credentialName"] = tls.credential_name
    elif not tls.insecure_skip_verify:
        settings["caCertificates"] = "system"
    return settings


def _traffic_policy(upstream: Upstream) -> dict[str, Any]:
    traffic = upstream.destination.traffic or Traffic()
    fails_over = len({endpoint.locality for endpoint in upstream.destination.endpoints if endpoint.locality}) > 1
    policy: dict[str, Any] = {
        "connectionPool": _connection_pool(traffic, http=upstream.hop.http),
        "loadBalancer": _load_balancer(traffic, fails_over=fails_over),
        "outlierDetection": _outlier_detection(traffic.outlier_detection, fails_over=fails_over),
    }
    return {name: value for name, value in policy.items() if value}


def outlier_detection_of(upstream: Upstream) -> dict[str, Any]:
    """How the gateway leaves out addresses that keep failing; empty where it does not."""
    settings: dict[str, Any] = _traffic_policy(upstream).get("outlierDetection") or {}
    return settings


def _connection_pool(traffic: Traffic, *, http: bool) -> dict[str, Any]:
    pool = traffic.connection_pool
    if pool is None:
        return {}
    settings = pool.as_json()
    idle = settings.get("idleTimeout")
    tcp = {
        "maxConnections": pool.max_connections,
        "connectTimeout": settings.get("connectTimeout"),
        "tcpKeepalive": settings.get("tcpKeepalive"),
        "idleTimeout": None if http else idle,
    }
    requests = {
        "http1MaxPendingRequests": pool.max_pending_requests,
        "maxRequestsPerConnection": pool.max_requests_per_connection,
        "idleTimeout": idle if http else None,
    }
    return _present({"tcp": _present(tcp), "http": _present(requests)})


def _load_balancer(traffic: Traffic, *, fails_over: bool) -> dict[str, Any]:
    algorithm = traffic.load_balancing.algorithm if traffic.load_balancing else None
    chosen = _ALGORITHMS[algorithm] if algorithm is not None else None
    return _present({"simple": chosen, "localityLbSetting": {"enabled": True} if fails_over else None})


def _outlier_detection(detection: OutlierDetection | None, *, fails_over: bool) -> dict[str, Any]:
    """
    Istio fails over between localities only where endpoints are ejected, and then all of one locality may have to be.
    """
    settings = detection.as_json() if detection else {}
    if fails_over:
        settings = {"consecutive5xxErrors": _DEFAULT_FAILOVER_ERRORS, "maxEjectionPercent": 100, **settings}
    return settings


def _dynamic(context: PlanContext, hop: Hop) -> Child:
    template = "envoyfilter-dynamic-http" if hop.http else "envoyfilter-dynamic-tls"
    values = {
        "hop": hop,
        "refused": [{"address": address, "length": length} for address, length in INNER_NETWORKS],
        # The cache that istiod names after the entry, shared so that the address that is resolved is the one that is
        # checked.
        "dns_cache": f"{hop.upstream}_dfp_dns_cache",
        "inner": f"{hop.name}-inner",
        "inner_listener": f"{hop.name}-sni",
        "outer": f"{hop.name}-outer",
    }
    return _part(context, "EnvoyFilter", hop, "dynamic", values, template)


INNER_NETWORKS: Final = (
    # Ranges that no name outside of the cluster should resolve to: this host, private networks including the cluster's
    # own, link-local addresses where clouds serve credentials, multicast (IANA special-purpose address registry).
    ("0.0.0.0", 8),  # noqa: S104  (a network, nothing is bound)
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("224.0.0.0", 3),
    # The clouds' metadata services (`api.reserved`) outside of these ranges.
    ("168.63.129.16", 32),
    ("192.0.0.192", 32),
)


def _part(  # noqa: PLR0913, PLR0917  (what tells a child from others, and its values)
    context: PlanContext, kind: str, hop: Hop, leg: str, values: dict[str, Any], template: str
) -> Child:
    return section_child(
        context.owner, kind, Stage.FOUNDATION, hop.destination, (leg, hop.host, hop.name), values, template
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}
