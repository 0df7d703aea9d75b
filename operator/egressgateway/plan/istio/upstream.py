"""The gateway's upstream for one (host, port), under its private name: its addresses, and the protocol to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from egressgateway.api.destination import Resolution
from egressgateway.api.tls import CaCertificates, PortTls, TlsMode
from egressgateway.api.traffic import ConnectionPool, LoadBalancingAlgorithm, OutlierDetection, Traffic
from egressgateway.names import WAY_OUT, WITHOUT_ADDRESS, envoy_cluster, private_address
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.istio.inner import refused_permissions
from egressgateway.plan.routing.children import labelled, section_child
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


def cluster_of(upstream: Upstream) -> str:
    """Name that istiod gives to the Envoy cluster of an upstream."""
    return envoy_cluster(upstream.hop.port, subset_of(upstream), upstream.hop.upstream)


def plan_upstreams(context: PlanContext, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """ServiceEntry, and as needed DestinationRule and EnvoyFilter, of each upstream."""
    addresses = _private_addresses(upstreams)
    for upstream in upstreams:
        if _has_policy(upstream):
            yield _policy(context, upstream)
        yield _entry(context, upstream, addresses.get(upstream.hop.sni))
        if _verified_by_system(upstream):
            yield _system_roots(context, upstream)
        if upstream.hop.dynamic:
            yield _dynamic(context, upstream)


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
    return labelled(_part(context, "ServiceEntry", hop, WAY_OUT, values, "serviceentry-upstream"), WITHOUT_ADDRESS)


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
        "connections": _connections(policy),
        "export_to": context.target.export_to,
    }
    return _part(context, "DestinationRule", upstream.hop, WAY_OUT, values, "destinationrule-upstream")


def _connections(policy: dict[str, Any]) -> dict[str, Any]:
    """The part of a policy that Istio reads for the gateway's listener, and in no subset."""
    idle = policy.get("connectionPool", {}).get("tcp", {}).get("idleTimeout")
    return {} if idle is None else {"connectionPool": {"tcp": {"idleTimeout": idle}}}


def _verified_by_system(upstream: Upstream) -> bool:
    """Whether the system's roots verify a destination to which the gateway shows a certificate."""
    tls = upstream.port.tls
    return tls is not None and tls.mode is TlsMode.MUTUAL and tls.ca_certificates is CaCertificates.SYSTEM


def _system_roots(context: PlanContext, upstream: Upstream) -> Child:
    """Istio rejects `caCertificates` beside a Secret. Without the EnvoyFilter no server is trusted at all."""
    values = {"cluster": cluster_of(upstream)}
    return _part(context, "EnvoyFilter", upstream.hop, "roots", values, "envoyfilter-system-roots")


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
        "connectionPool": _connection_pool(traffic, upstream.hop),
        "loadBalancer": _load_balancer(traffic, fails_over=fails_over),
        "outlierDetection": _outlier_detection(traffic.outlier_detection, fails_over=fails_over),
    }
    return {name: value for name, value in policy.items() if value}


def outlier_detection_of(upstream: Upstream) -> dict[str, Any]:
    """How the gateway leaves out addresses that keep failing; empty where it does not."""
    settings: dict[str, Any] = _traffic_policy(upstream).get("outlierDetection") or {}
    return settings


def _connection_pool(traffic: Traffic, hop: Hop) -> dict[str, Any]:
    pool = traffic.connection_pool or ConnectionPool()
    settings = pool.as_json()
    # In their EnvoyFilter: proxies reject the dynamic cluster that istiod would make of them.
    elsewhere = hop.plainly_dynamic
    idle = None if elsewhere else settings.get("idleTimeout")
    tcp = {
        "maxConnections": pool.max_connections,
        "connectTimeout": settings.get("connectTimeout"),
        "tcpKeepalive": settings.get("tcpKeepalive"),
        "idleTimeout": None if hop.http else idle,
    }
    requests = {
        # Otherwise the mesh's `h2UpgradePolicy` would decide, and the server may know HTTP/1.1 alone.
        "h2UpgradePolicy": "DO_NOT_UPGRADE" if hop.upstream_protocol == "HTTP" else None,
        "http1MaxPendingRequests": pool.max_pending_requests,
        "maxRequestsPerConnection": None if elsewhere else pool.max_requests_per_connection,
        "idleTimeout": idle if hop.http else None,
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


def _dynamic(context: PlanContext, upstream: Upstream) -> Child:
    hop = upstream.hop
    template = "envoyfilter-dynamic-http" if hop.http else "envoyfilter-dynamic-tls"
    values = {
        "hop": hop,
        "refused": refused_permissions(context.class_spec),
        # The cache that istiod names after the entry, shared so that the address that is resolved is the one that is
        # checked.
        "dns_cache": f"{hop.upstream}_dfp_dns_cache",
        "inner": f"{hop.name}-inner",
        "inner_listener": f"{hop.name}-sni",
        "outer": f"{hop.name}-outer",
        "cluster": cluster_of(upstream),
        "options": _protocol_options(upstream) if hop.plainly_dynamic else None,
    }
    return _part(context, "EnvoyFilter", hop, "dynamic", values, template)


def _protocol_options(upstream: Upstream) -> dict[str, Any]:
    """
    The protocol of a dynamic cluster, and its settings of connections, as Envoy's `HttpProtocolOptions`.

    Envoy rejects a dynamic cluster that has such options without automatic server names; istiod adds those to TLS only.
    """
    pool = (upstream.destination.traffic or Traffic()).connection_pool or ConnectionPool()
    common = {
        "idle_timeout": upstream.hop.idle_timeout or None,
        "max_requests_per_connection": pool.max_requests_per_connection or None,
    }
    protocol = "http_protocol_options" if upstream.hop.protocol == "HTTP" else "http2_protocol_options"
    return {
        "upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True},
        "explicit_http_config": {protocol: {}},
        "common_http_protocol_options": _present(common),
    }


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
