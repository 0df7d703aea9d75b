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
from egressgateway.plan.hops import Hop, build_hops
from egressgateway.plan.ir import Child, Plan, Stage
from egressgateway.plan.names import LABEL_PART, part_name, workload_name
from egressgateway.plan.retain import Retained, part_of, retain, stage_of
from egressgateway.plan.workload import common_values, plan_workload, stage_labels
from egressgateway.refs import Manifest, ObjectRef

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


def plan_dedicated(facts: Facts, destinations: tuple[Destination, ...], kept: frozenset[str]) -> Plan:
    """Every child for `destinations`, which are all accepted; `kept` names others, whose live children stay."""
    hops = build_hops(facts.key, destinations)
    retained = retain(facts, hops, kept)
    children = (
        *plan_workload(facts, hops, retained.ports),
        *_plan_gateway_leg(facts, hops, retained),
        *_plan_clients_leg(facts, destinations, hops),
        *_plan_narrowed(facts, retained.narrowed),
    )
    return Plan(children, retained.children, draining=retained.draining)


def plan_kept(facts: Facts) -> Plan:
    """Everything stays as it is, but for hosts that are registered with clients and not routed any more."""
    retained = retain(facts, (), frozenset(part_of(found) for found in facts.live.values()))
    stays = frozenset(
        ref for ref, found in facts.live.items() if stage_of(found) is not Stage.CLIENTS or ref in retained.children
    )
    return Plan(tuple(_plan_narrowed(facts, retained.narrowed)), stays)


def gateway_service(facts: Facts) -> str:
    return f"{workload_name(facts.key)}.{facts.key.namespace}.svc.{facts.mesh.cluster_domain}"


def gateway_identity(facts: Facts) -> str:
    """SPIFFE identity of the gateway's pods; the hop accepts no other, whatever labels a pod carries."""
    return f"spiffe://{facts.mesh.trust_domain}/ns/{facts.key.namespace}/sa/{workload_name(facts.key)}"


def _plan_gateway_leg(facts: Facts, hops: tuple[Hop, ...], retained: Retained) -> Iterator[Child]:
    yield _shared(facts, "AuthorizationPolicy", Stage.FOUNDATION, {"rules": _access_rules(facts)})
    if hops or retained.subsets:
        yield _shared(
            facts,
            "DestinationRule",
            Stage.FOUNDATION,
            {
                "hops": hops,
                "gateway_service": gateway_service(facts),
                "gateway_identity": gateway_identity(facts),
                "export_to": _export_to(facts),
                "retained_subsets": retained.subsets,
            },
            template="destinationrule-hop",
        )
    if hops or retained.servers:
        yield _shared(facts, "Gateway", Stage.GATEWAY, {"hops": hops, "retained_servers": retained.servers})
    for hop in hops:
        yield _plan_upstream(facts, hop)
        yield _plan_gateway_route(facts, hop)


def _plan_upstream(facts: Facts, hop: Hop) -> Child:
    within = ("upstream", hop.host, hop.name)
    return _part(facts, "ServiceEntry", Stage.FOUNDATION, hop.destination, within, {"hop": hop})


def _plan_gateway_route(facts: Facts, hop: Hop) -> Child:
    """
    A VirtualService for each hop, so that one goes without a change of the others, after its clients have left.

    Several in one would also mislead istiod: it takes the first `tcp` route for every TLS server that the hosts meet.
    """
    values = {"hop": hop, "gateway": workload_name(facts.key), "mesh_headers": MESH_HEADERS}
    within = ("gateway", hop.host, hop.name)
    return _part(
        facts, "VirtualService", Stage.GATEWAY, hop.destination, within, values, template="virtualservice-gateway"
    )


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


def _plan_narrowed(facts: Facts, entries: tuple[Manifest, ...]) -> Iterator[Child]:
    """Clients' ServiceEntries of parts that cannot be planned, with fewer hosts; all else of them stays as it is."""
    for entry in entries:
        yield _part(
            facts,
            "ServiceEntry",
            Stage.CLIENTS,
            part_of(entry),
            ("clients",),
            {"spec": entry["spec"]},
            template="serviceentry-narrowed",
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


def _part(  # noqa: PLR0913, PLR0917  (what tells a child from others, and its values)
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
