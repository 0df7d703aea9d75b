"""
Routes by host; above all unmanaged ones: VirtualServices for sidecars and ServiceEntries that no claim of ours covers.

An unmanaged route for a host that we steer may take its requests: the status must say so. A large mesh has thousands of
them, so the index keeps only the fields that are read, and finds them by host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Change
from egressgateway.contention.hostname_index import HostnameIndex
from egressgateway.engine.cache.keeping import is_left_out, keep_of_child
from egressgateway.engine.cache.shapes import straight_child_spec
from egressgateway.facts import NEVER, Rights, UnmanagedRoute, since_in
from egressgateway.live.children import stage_of
from egressgateway.live.evidence import is_child, is_owned_by, named_owner
from egressgateway.namespaces import EVERY_NAMESPACE, union
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.stages import Stage

ROUTE_KINDS: Final = frozenset({"VirtualService", "ServiceEntry"})
"""Kinds that tell sidecars where a host's requests go."""

WATCHED_WHOLE: Final = ROUTE_KINDS | {"DestinationRule"}
"""Kinds of which those that are not ours matter, too."""

_KEPT_METADATA: Final = ("namespace", "name", "uid", "creationTimestamp", "resourceVersion")
_KEPT_SPEC: Final = ("hosts", "exportTo", "gateways")
_KEPT_OF_RULES: Final = ("host", "exportTo", "workloadSelector")
_SIDECARS: Final = "mesh"
"""Name of the gateway that stands for all sidecars; a VirtualService without gateways is for them."""

_PRIVATE: Final = ".egress.internal"
"""Suffix of the internal names that separate a gateway's hops (`names`): no client asks for them."""

_OPAQUE: Final = frozenset({"TCP", "MONGO", "MYSQL", "REDIS"})
"""Protocols of a ServiceEntry's port that carry no host name (istio.io, "Protocol Selection")."""

_MOST_PORTS: Final = 256
"""Ports of one unmanaged route that are remembered: every tenant can write thousands."""

_OWN: Final = "."
_NOBODY: Final = "~"


RightsOf = Callable[[Key], Rights]
"""What an EgressGateway has claimed; nothing for one that does not exist."""


def keep_needed(manifest: Manifest) -> Manifest:
    """An unmanaged route, without the fields that are not read; our own route unchanged."""
    owner = named_owner(manifest)
    if is_left_out(manifest) or (owner is not None and is_child(manifest, owner, ())):
        return keep_of_child(manifest)
    metadata, spec = manifest["metadata"], straight_child_spec(manifest.get("spec"))
    kept: dict[str, Any] = {name: spec[name] for name in _KEPT_SPEC if name in spec}
    if numbers := _tcp_ports(spec):
        kept["ports"] = [{"number": number, "protocol": "TCP"} for number in numbers]
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {name: metadata[name] for name in _KEPT_METADATA if name in metadata},
        "spec": kept,
    }


def keep_needed_rule(manifest: Manifest) -> Manifest:
    """
    A DestinationRule of somebody else, without the fields that are not read; one that may be ours unchanged.

    Whether one in another namespace is ours, a status says, which is not known here.
    """
    if is_left_out(manifest) or named_owner(manifest) is not None:
        return keep_of_child(manifest)
    metadata, spec = manifest["metadata"], straight_child_spec(manifest.get("spec"))
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {name: metadata[name] for name in _KEPT_METADATA if name in metadata},
        "spec": {name: spec[name] for name in _KEPT_OF_RULES if name in spec},
    }


def _tcp_ports(spec: Mapping[str, Any]) -> list[int]:
    """Ports of a ServiceEntry on which TCP is for every address, in order; the first ones of very many."""
    if spec.get("addresses"):
        return []
    opaque = (port for port in spec.get("ports") or () if _is_opaque(port) and "number" in port)
    return sorted({port["number"] for port in opaque})[:_MOST_PORTS]


def _is_opaque(port: Mapping[str, Any]) -> bool:
    """
    Whether connections to the port carry no host name, or need none.

    Istio reads protocols in any case, and looks for one itself where none is named: what is no HTTP is TCP then.
    """
    return str(port.get("protocol") or "TCP").upper() in _OPAQUE


@dataclass(frozen=True, slots=True)
class Route:
    """
    A VirtualService for sidecars, or a ServiceEntry: which requests of which clients it takes.

    `owner`: the EgressGateway that its labels name, in its own namespace. An orphan has no owner: whether an object
    will adopt it is not known here.
    """

    found: UnmanagedRoute
    owner: Key | None


def route_of(manifest: Manifest) -> Route | None:
    """What a VirtualService or ServiceEntry takes; None for one that takes nothing from sidecars."""
    metadata, spec = manifest["metadata"], manifest.get("spec") or {}
    hosts = frozenset(map(str, spec.get("hosts") or ()))
    if not hosts or (manifest["kind"] == "VirtualService" and not is_for_sidecars(spec)):
        return None
    owner = named_owner(manifest)
    found = UnmanagedRoute(
        ObjectRef(manifest["kind"], metadata["namespace"], metadata["name"]),
        hosts,
        visible_in(manifest),
        _created(metadata),
        frozenset(_tcp_ports(spec)) if manifest["kind"] == "ServiceEntry" else frozenset(),
    )
    return Route(found, owner if owner is not None and is_owned_by(manifest, owner) else None)


def _created(metadata: Mapping[str, Any]) -> datetime:
    """When the API server made the object; an object without that time counts as younger than all others."""
    made = metadata.get("creationTimestamp")
    return parse_instant(made) if made else NEVER


def is_for_sidecars(spec: dict[str, Any]) -> bool:
    """Whether a VirtualService routes requests in the clients' sidecars, not only in gateways."""
    gateways = spec.get("gateways") or (_SIDECARS,)
    return _SIDECARS in gateways


def visible_in(route: Manifest) -> frozenset[str]:
    """Namespaces whose clients a route is for; `EVERY_NAMESPACE` stands for all."""
    exported = (route.get("spec") or {}).get("exportTo") or (EVERY_NAMESPACE,)
    own = route["metadata"]["namespace"]
    named = frozenset(own if name == _OWN else name for name in exported if name != _NOBODY)
    return frozenset({EVERY_NAMESPACE}) if EVERY_NAMESPACE in named else named


def steers_of(routes: Iterable[Manifest]) -> dict[str, frozenset[str]]:
    """By host, the namespaces of the clients that `routes` steer; names that only a gateway knows are left out."""
    steers: dict[str, frozenset[str]] = {}
    for route in routes:
        spec = route.get("spec") or {}
        if not is_for_sidecars(spec):
            continue
        for host in spec.get("hosts") or ():
            if not host.endswith(_PRIVATE):
                steers[host] = steers.get(host, frozenset()) | visible_in(route)
    return steers


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """A child that steers clients: by host, in which namespaces."""

    owner: Key
    steers: Mapping[str, frozenset[str]]


def own_route(manifest: Manifest) -> OwnRoute | None:
    """Which names a child steers in which namespaces; None for an object that steers nothing, or is not a child."""
    owner = named_owner(manifest)
    if owner is None or not is_owned_by(manifest, owner) or manifest["kind"] != "VirtualService":
        return None
    steers = steers_of((manifest,)) if stage_of(manifest) is Stage.CLIENTS else {}
    return OwnRoute(owner, steers) if steers else None


class Taken(NamedTuple):
    """
    Hosts that a change of a route concerns, and in which namespaces.

    Attributes:
        unclaimed: that it takes without a claim, or took before the change.
        left: that a child of ours steered, and does not steer any more.
        ports: TCP ports that it takes whole without being a child, or took before the change.
    """

    unclaimed: dict[str, frozenset[str]]
    left: dict[str, frozenset[str]]
    ports: dict[int, frozenset[str]]


class RouteIndex:
    """All routes that take requests for a host, ours and unmanaged ones, by host."""

    def __init__(self) -> None:
        self._routes: dict[ObjectRef, Route] = {}
        self._by_host: HostnameIndex[ObjectRef] = HostnameIndex()
        self._by_port: dict[int, set[ObjectRef]] = {}
        self._own: dict[ObjectRef, OwnRoute] = {}
        self._own_by_host: HostnameIndex[ObjectRef] = HostnameIndex()

    def take(self, change: Change, rights_of: RightsOf) -> Taken:
        """Follow a change of a VirtualService or ServiceEntry."""
        metadata = change.object["metadata"]
        ref = ObjectRef(change.object["kind"], metadata["namespace"], metadata["name"])
        route = route_of(change.new) if change.new else None
        own = own_route(change.new) if change.new else None
        old = self._routes.get(ref)
        taken, left = self._take_route(ref, route, rights_of), self._take_own(ref, own)
        return Taken(taken, left, {} if old == route else self._refile_ports(ref, old, route))

    def _refile_ports(self, ref: ObjectRef, old: Route | None, new: Route | None) -> dict[int, frozenset[str]]:
        """The TCP ports of an unmanaged entry, before or after the change: objects that want them are enqueued."""
        foreign = [route.found for route in (old, new) if route is not None and route.owner is None]
        for port in old.found.tcp_ports if old is not None else ():
            refs = self._by_port[port]
            refs.discard(ref)
            if not refs:
                del self._by_port[port]
        for port in new.found.tcp_ports if new is not None else ():
            self._by_port.setdefault(port, set()).add(ref)
        ports = frozenset(port for found in foreign for port in found.tcp_ports)
        return {port: union(found.visible_in for found in foreign if port in found.tcp_ports) for port in ports}

    def on_ports(self, ports: Iterable[int]) -> tuple[UnmanagedRoute, ...]:
        """Entries of nobody's EgressGateway that take one of the TCP ports whole, in a stable order."""
        refs = {ref for port in ports for ref in self._by_port.get(port, ())}
        return tuple(self._routes[ref].found for ref in sorted(refs) if self._routes[ref].owner is None)

    def _take_route(self, ref: ObjectRef, new: Route | None, rights_of: RightsOf) -> dict[str, frozenset[str]]:
        """
        The hosts of a route that no claim of its owner covers, before or after the change: objects that want them are
        enqueued.
        """
        old = self._routes.pop(ref, None)
        if old is not None:
            self._by_host.discard(old.found.hosts, ref)
        if new is not None:
            self._routes[ref] = new
            self._by_host.add(new.found.hosts, ref)
        if old == new:
            return {}
        uncovered = [route.found for route in (old, new) if route is not None and _uncovered(route, rights_of)]
        hosts = frozenset(host for found in uncovered for host in found.hosts)
        return {host: union(found.visible_in for found in uncovered if host in found.hosts) for host in hosts}

    def _take_own(self, ref: ObjectRef, new: OwnRoute | None) -> dict[str, frozenset[str]]:
        """
        The names that one of our routes steers no more: objects that wait for them are enqueued. A new route concerns
        no other object.
        """
        old = self._own.pop(ref, None)
        if old is not None:
            self._own_by_host.discard(old.steers, ref)
        if new is not None:
            self._own[ref] = new
            self._own_by_host.add(new.steers, ref)
        left = new.steers if new else {}
        return {
            host: served - left.get(host, frozenset())
            for host, served in (old.steers if old else {}).items()
            if not served <= left.get(host, frozenset())
        }

    def steering(self, names: Iterable[str]) -> frozenset[Key]:
        """EgressGateways whose routes steer clients of one of `names`, or of a name that overlaps."""
        index = self._own_by_host
        finders = (index.at, index.above, index.below)
        return frozenset(self._own[ref].owner for name in names for find in finders for ref in find(name))

    def for_names(self, names: Iterable[str], key: Key, rights_of: RightsOf) -> tuple[UnmanagedRoute, ...]:
        """
        Routes for one of `names`, or for a host that a wildcard among them covers, in a stable order.

        Routes that `key` owns are left out, and those of another EgressGateway where it has claimed their hosts: there
        the claims decide.
        """
        routes = (self._routes[ref] for ref in sorted(set(self._refs_for(names))))
        seen = ((route, _uncovered(route, rights_of)) for route in routes if route.owner != key)
        return tuple(replace(route.found, visible_in=places) for route, places in seen if places)

    def _refs_for(self, names: Iterable[str]) -> Iterator[ObjectRef]:
        for name in names:
            yield from self._by_host.at(name)
            yield from self._by_host.below(name)


def _uncovered(route: Route, rights_of: RightsOf) -> frozenset[str]:
    """Namespaces whose clients a route is for, and where its owner has not claimed all of its hosts."""
    if route.owner is None:
        return route.found.visible_in
    rights = rights_of(route.owner)
    claims = [rights.names.get(host, {}) for host in route.found.hosts if not host.endswith(_PRIVATE)]
    places = route.found.visible_in
    if EVERY_NAMESPACE in places:
        # A claim for every namespace does not hold where another object has the name.
        places = places.union(*claims)
    return frozenset(place for place in places if any(since_in(claimed, place) == NEVER for claimed in claims))
