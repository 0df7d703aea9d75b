"""Conflicts over a name or a route."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from egressgateway.api.access import MAX_CONSUMER_NAMESPACES
from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.scalars import parse_instant
from egressgateway.contention.claims import Claims
from egressgateway.contention.hostnames import covers, is_wildcard
from egressgateway.facts import Claimed, Facts, UnmanagedRoute
from egressgateway.live.children import hosts_of, mesh_routes
from egressgateway.namespaces import EVERY_NAMESPACE, overlap
from egressgateway.plan.findings import Finding, exposed_section, named
from egressgateway.refs import Key


def host_conflicts(claims: Claims, destination: Destination, field: str, served: frozenset[str]) -> Iterator[Finding]:
    """Names to which another object has the earlier claim; `served` are the remaining consumers."""
    for name in destination.claimed:
        by_winner: dict[Key, list[str]] = {}
        for namespace, winner in claims.lost.get(name, {}).items():
            by_winner.setdefault(winner, []).append(namespace)
        for winner, namespaces in sorted(by_winner.items()):
            yield Finding(
                ConditionType.ACCEPTED,
                Reason.HOST_CONFLICT,
                f"{field}.hosts: {name} belongs to EgressGateway {winner} in "
                f"{named(sorted(namespaces), others=bool(claims.won.get(name)))}, which claimed it first; "
                f"{_unlistable(claims, name)}remove it from one of the two",
                destination.name,
                partial=bool(served),
            )


def _unlistable(claims: Claims, name: str) -> str:
    count = claims.unlistable.get(name, 0)
    if not count:
        return ""
    return (
        f"exportTo would have to list the remaining {count} namespaces, and its limit is {MAX_CONSUMER_NAMESPACES}, so "
        "none is served; name or select consumers, or "
    )


def exposed_conflicts(claims: Claims, exposed: ExposedHost, gateway: str, field: str) -> Iterator[Finding]:
    """Names that another object has already exposed on the same gateway."""
    for host in exposed.hosts:
        winner = claims.lost_exposed.get(Claimed(host, gateway))
        if winner is not None:
            yield Finding(
                ConditionType.ACCEPTED,
                Reason.HOST_CONFLICT,
                f"{field}.hosts: {host} on gateway {gateway} belongs to EgressGateway {winner}, which claimed it "
                "first; remove it from one of the two",
                exposed_section(exposed.name),
            )


def route_conflicts(facts: Facts, destination: Destination, field: str, served: frozenset[str]) -> Iterator[Finding]:
    """An unmanaged route for one of the names that a consumer sees: clients may use that route instead of ours."""
    # The operator adopts an orphan among them.
    for route in sorted(
        (each for each in facts.unmanaged_routes if each.ref not in facts.live), key=lambda each: each.ref
    ):
        common = overlap(served, route.visible_in)
        names = [name for name in destination.names if any(_takes(host, name) for host in route.hosts)]
        if names and common and _prevails(facts, route, common, names):
            yield Finding(
                ConditionType.STEERED,
                Reason.ROUTE_CONFLICT,
                f"{field}.hosts: {route.ref} also routes {names[0]} for {named(sorted(common))}; delete it, or "
                "hide it from these namespaces with exportTo",
                destination.name,
                partial=True,
            )


def _takes(host: str, name: str) -> bool:
    """Whether a route for `host` takes calls that are meant for `name`: the same name, or a more specific one."""
    return host == name or (is_wildcard(name) and covers(name, host))


def _steering_since(facts: Facts, names: Iterable[str]) -> datetime:
    """
    When our own route for the names was created; Istio compares the age of routes, not of the objects behind them.
    """
    made = [
        parse_instant(route["metadata"]["creationTimestamp"])
        for route in mesh_routes(facts.live)
        if hosts_of(route) & set(names) and "creationTimestamp" in route["metadata"]
    ]
    return max(made, default=facts.now)


def _prevails(facts: Facts, route: UnmanagedRoute, common: frozenset[str], names: Iterable[str]) -> bool:
    """
    A consumer's own VirtualService precedes ours; of others the older one does (notes "istio-recipes" §7).

    A ServiceEntry conflicts whatever its age: the ports that it registers beside ours are not steered.
    """
    own_of_consumer = route.ref.namespace in common or EVERY_NAMESPACE in common
    return route.ref.kind == "ServiceEntry" or own_of_consumer or route.created < _steering_since(facts, names)
