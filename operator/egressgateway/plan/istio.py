"""
Provider Istio with a gateway of the object's own: destinations become routing.

Two audiences, two legs (notes "istio-recipes" §1b): the gateway's leg, under private names, is complete before any
client hears of a host; the clients' leg appears and disappears in one burst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from egressgateway.api.destination import Destination
from egressgateway.facts import Facts
from egressgateway.plan.hops import HOP_PORT, Hop, build_hops
from egressgateway.plan.ir import Child, Stage
from egressgateway.plan.names import LABEL_PART, part_name, workload_name
from egressgateway.plan.retain import retained_servers, retained_subsets
from egressgateway.plan.workload import common_values, plan_workload, stage_labels
from egressgateway.refs import ObjectRef

_LIST: Final = "destinations"

MESH_HEADERS: Final = [
    # What a mesh adds to a request, by sidecar, gateway or tracer; measured at an external server ("istio-recipes" §8).
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-original-path",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-request-id",
    "x-istio-attributes",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
]


def plan_dedicated(facts: Facts, destinations: tuple[Destination, ...]) -> tuple[Child, ...]:
    """Every child for `destinations`, which are all accepted and at least one."""
    hops = build_hops(facts.key, destinations)
    return (
        *plan_workload(facts, hops),
        *_plan_gateway_leg(facts, hops),
        *_plan_clients_leg(facts, destinations, hops),
    )


def gateway_service(facts: Facts) -> str:
    return f"{workload_name(facts.key)}.{facts.key.namespace}.svc.{facts.mesh.cluster_domain}"


def gateway_identity(facts: Facts) -> str:
    """SPIFFE identity of the gateway's pods; the hop accepts no other, whatever labels a pod carries."""
    return f"spiffe://{facts.mesh.trust_domain}/ns/{facts.key.namespace}/sa/{workload_name(facts.key)}"


def _plan_gateway_leg(facts: Facts, hops: tuple[Hop, ...]) -> Iterator[Child]:
    names = [hop.name for hop in hops]
    yield _shared(facts, "AuthorizationPolicy", Stage.FOUNDATION, {"rules": _access_rules(facts)})
    yield _shared(
        facts,
        "DestinationRule",
        Stage.FOUNDATION,
        {
            "hops": hops,
            "gateway_service": gateway_service(facts),
            "gateway_identity": gateway_identity(facts),
            "export_to": _export_to(facts),
            "retained_subsets": retained_subsets(facts, names),
        },
        template="destinationrule-hop",
    )
    yield _shared(facts, "Gateway", Stage.GATEWAY, {"hops": hops, "retained_servers": retained_servers(facts, names)})
    for hop in hops:
        yield _part(
            facts, "ServiceEntry", Stage.FOUNDATION, hop.destination, ("upstream", hop.host, hop.name), {"hop": hop}
        )
    for within, group in _gateway_routes(hops):
        yield _plan_gateway_route(facts, within, group)


def _gateway_routes(hops: tuple[Hop, ...]) -> Iterator[tuple[tuple[str, ...], tuple[Hop, ...]]]:
    """
    Hops by VirtualService of the gateway, each with what names it: those of one host together, at most one not HTTP.

    istiod takes the first `tcp` route of a VirtualService for every TLS server that its hosts meet, so a second one
    needs a VirtualService of its own.
    """
    by_host: dict[tuple[str, str], list[Hop]] = {}
    for hop in hops:
        by_host.setdefault((hop.destination, hop.host), []).append(hop)
    for (_, host), group in by_host.items():
        http = [hop for hop in group if hop.http]
        opaque = [hop for hop in group if not hop.http]
        yield ("gateway", host), (*http, *opaque[:1])
        for hop in opaque[1:]:
            yield ("gateway", host, hop.name), (hop,)


def _plan_gateway_route(facts: Facts, within: tuple[str, ...], hops: tuple[Hop, ...]) -> Child:
    values = {
        "hops": hops,
        "http_hops": [hop for hop in hops if hop.http],
        "tcp_hop": next((hop for hop in hops if not hop.http), None),
        "gateway": workload_name(facts.key),
        "mesh_headers": MESH_HEADERS,
    }
    part = hops[0].destination
    return _part(facts, "VirtualService", Stage.GATEWAY, part, within, values, template="virtualservice-gateway")


def _plan_clients_leg(facts: Facts, destinations: tuple[Destination, ...], hops: tuple[Hop, ...]) -> Iterator[Child]:
    for destination in destinations:
        own = [hop for hop in hops if hop.destination == destination.name]
        yield _clients_entry(facts, destination, own)
        for host in sorted(destination.hosts):
            yield _clients_route(facts, host, [hop for hop in own if hop.host == host])


def _clients_entry(facts: Facts, destination: Destination, hops: list[Hop]) -> Child:
    ports = {hop.port: {"name": hop.port_name, "number": hop.port, "protocol": hop.protocol} for hop in hops}
    values = {
        "hosts": sorted(destination.hosts),
        "ports": [ports[number] for number in sorted(ports)],
        "export_to": _export_to(facts),
    }
    return _part(
        facts, "ServiceEntry", Stage.CLIENTS, destination.name, ("clients",), values, template="serviceentry-clients"
    )


def _clients_route(facts: Facts, host: str, hops: list[Hop]) -> Child:
    values = {
        "host": host,
        "hops": hops,
        "http_hops": [hop for hop in hops if hop.http],
        "tls_hops": [hop for hop in hops if not hop.http],
        "gateway_service": gateway_service(facts),
        "export_to": _export_to(facts),
    }
    return _part(
        facts,
        "VirtualService",
        Stage.CLIENTS,
        hops[0].destination,
        ("clients", host),
        values,
        template="virtualservice-clients",
    )


def _export_to(facts: Facts) -> list[str]:
    """
    Namespaces that hear of the hosts: one set for ServiceEntry, VirtualService and hop DestinationRule.

    A narrower DestinationRule is a 503, a narrower VirtualService a silent bypass ("istio-recipes" §7).
    """
    return ["."]


def _access_rules(facts: Facts) -> list[dict[str, Any]]:
    return [{"principals": [f"{facts.mesh.trust_domain}/ns/{facts.key.namespace}/*"]}]


def _shared(facts: Facts, kind: str, stage: Stage, values: Mapping[str, Any], template: str | None = None) -> Child:
    """The one child of its kind that serves every destination."""
    name = workload_name(facts.key)
    return Child(
        ref=ObjectRef(kind, facts.key.namespace, name),
        stage=stage,
        template=f"istio/{template or kind.lower()}.yaml.j2",
        values={
            **common_values(facts.key, facts.gateway.uid),
            "name": name,
            "labels": stage_labels(facts.key, stage),
            **values,
        },
    )


def _part(
    facts: Facts,
    kind: str,
    stage: Stage,
    part: str,
    within: tuple[str, ...],
    values: Mapping[str, Any],
    template: str = "serviceentry-upstream",
) -> Child:
    """A child that belongs to one destination."""
    name = part_name(facts.key, _LIST, part, *within)
    return Child(
        ref=ObjectRef(kind, facts.key.namespace, name),
        stage=stage,
        part=part,
        template=f"istio/{template}.yaml.j2",
        values={
            **common_values(facts.key, facts.gateway.uid),
            "name": name,
            "labels": {**stage_labels(facts.key, stage), LABEL_PART: part},
            **values,
        },
    )
