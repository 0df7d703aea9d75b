"""
The clients' leg: the objects that send consumers' calls through the gateway.

ServiceEntry, VirtualService and the hop's DestinationRule go to one set of namespaces: a narrower DestinationRule is a
503, a narrower VirtualService a silent bypass (notes "istio-recipes" §7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from egressgateway.api.destination import PLAIN_TEXT_FIRST, Destination, Protocol
from egressgateway.names import WITHOUT_ADDRESS
from egressgateway.namespaces import EVERY_NAMESPACE, export_to, union
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child, Owner
from egressgateway.plan.routing.children import labelled, live_child, remote_child, section_child, shared_child
from egressgateway.refs import Manifest
from egressgateway.stages import Stage

Served = Mapping[str, frozenset[str]]
"""Consumer namespaces by destination."""

PlanRoute = Callable[[PlanContext, Destination, Sequence[Hop], list[str]], Child]
"""The object that routes one host of a destination, over its hops, for the namespaces of an `exportTo`."""


def plan_hop(
    context: PlanContext, hops: Sequence[Hop], consumers: frozenset[str], retained: Draining
) -> Iterator[Child]:
    """
    The DestinationRule with which clients find and trust the gateway, wherever their proxies look for it.

    That is the client's own namespace, then the one of the gateway's Service. Beside a shared gateway other objects
    have rules of their own, which Istio joins only where all are exported alike: so a copy goes to each consumer.
    """
    if not hops and not retained.subsets:
        return
    values = {"hops": hops, "site": context.target, "retained_subsets": retained.subsets}
    own = context.key.namespace
    exported = ["."] if not context.target.dedicated else export_to(consumers or frozenset({own}), own)
    yield shared_child(
        context.owner,
        context.target.object_name,
        "DestinationRule",
        Stage.FOUNDATION,
        {**values, "export_to": exported},
        "destinationrule-hop",
    )
    if context.target.dedicated:
        return
    everywhere = frozenset(context.namespaces) if EVERY_NAMESPACE in consumers else consumers
    for namespace in sorted(everywhere - {own}):
        yield remote_child(
            context.owner,
            namespace,
            "DestinationRule",
            f"hop-{context.target.id}",
            Stage.FOUNDATION,
            {**values, "export_to": ["."]},
            "destinationrule-hop",
        )


def plan_clients(
    context: PlanContext, acceptance: Acceptance, hops: Sequence[Hop], plan_route: PlanRoute
) -> Iterator[Child]:
    """For each destination the object that registers its names, and for each host the object that routes it."""
    for destination in acceptance.served:
        consumers = acceptance.consumers.get(destination.name, frozenset())
        if not consumers:
            continue
        own = [hop for hop in hops if hop.destination == destination.name]
        exported = export_to(consumers, context.key.namespace)
        staying = acceptance.handed_over.get(destination.name, frozenset())
        yield _entry(context, destination, own, exported, staying)
        for host in sorted(destination.hosts):
            yield plan_route(context, destination, [hop for hop in own if hop.host == host], exported)


def plan_narrowed(owner: Owner, narrowed: Sequence[Manifest]) -> Iterator[Child]:
    """The clients' objects of sections that cannot be planned, with fewer hosts and otherwise unchanged."""
    for found in narrowed:
        child = live_child(owner, found, Stage.CLIENTS, {"spec": found["spec"]}, f"{found['kind'].lower()}-narrowed")
        labels = found["metadata"].get("labels") or {}
        yield labelled(child, {name: labels[name] for name in WITHOUT_ADDRESS if name in labels})


def all_consumers(served: Served) -> frozenset[str]:
    return union(served.values())


def _entry(
    context: PlanContext, destination: Destination, hops: Sequence[Hop], exported: list[str], staying: frozenset[str]
) -> Child:
    """
    The object that registers a destination's names, with the gateway's Service behind them: no client bypasses the
    gateway. `staying`: former names that clients still use.
    """
    ports = {hop.port: hop for hop in hops}
    values = {
        "hosts": sorted(staying.union(destination.names)),
        "addresses": sorted(destination.canonical_addresses),
        "ports": [ports[number] for number in sorted(ports)],
        "gateway_service": context.target.service_host,
        "export_to": exported,
    }
    entry = section_child(
        context.owner, "ServiceEntry", Stage.CLIENTS, destination.name, ("clients",), values, "serviceentry-clients"
    )
    if needs_address(destination) or (context.mesh_config.dns_capture and begins_in_plain_text(destination)):
        return entry
    return labelled(entry, WITHOUT_ADDRESS)


def needs_address(destination: Destination) -> bool:
    """
    Whether clients may need an address that Istio makes up for the destination's names, where sidecars answer DNS.

    TCP carries no name, so sidecars tell hosts apart by address. Names of a destination with aliases or endpoints may
    be in no DNS. Any other name is resolved as if the mesh did not know it.
    """
    return destination.has_tcp or bool(destination.aliases or destination.endpoints)


def begins_in_plain_text(destination: Destination) -> bool:
    """
    Whether clients of a TLS port may begin in plain text, which sidecars pass on to the address that was dialled.

    An address that Istio made up leads nowhere.
    """
    return any(port.protocol is Protocol.TLS and port.port in PLAIN_TEXT_FIRST for port in destination.ports)
