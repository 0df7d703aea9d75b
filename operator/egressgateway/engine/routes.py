"""
Routes by host; above all those of others: VirtualServices for sidecars and ServiceEntries that are no children of ours.

Whoever else routes or registers a host that we steer may take its requests: the status must say so. A large mesh has
thousands of them, so of each only what is asked for is kept, and they are found by host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Change
from egressgateway.diff.changeset import is_owned_by
from egressgateway.engine.keeping import is_left_out, keep_of_child
from egressgateway.engine.name_index import NameIndex
from egressgateway.engine.ownership import owner_of
from egressgateway.engine.shapes import straight_child_spec
from egressgateway.facts import EVERY_NAMESPACE, ForeignRoute
from egressgateway.plan.ir import Stage
from egressgateway.plan.retain import stage_of
from egressgateway.refs import Key, Manifest, ObjectRef

ROUTE_KINDS: Final = frozenset({"VirtualService", "ServiceEntry"})
"""Kinds that tell sidecars where a host's requests go: watched whole, not only our own."""

_KEPT_METADATA: Final = ("namespace", "name", "uid", "creationTimestamp", "resourceVersion")
_KEPT_SPEC: Final = ("hosts", "exportTo", "gateways")
_SIDECARS: Final = "mesh"
"""Name of the gateway that stands for all sidecars; a VirtualService without gateways is for them."""

_PRIVATE: Final = ".egress.internal"
"""End of the names by which a gateway tells its ways apart (`plan.names`): no client asks for them."""

_OWN: Final = "."
_NOBODY: Final = "~"


def keep_needed(manifest: Manifest) -> Manifest:
    """A route that is not ours, without what nobody asks for; ours as it is."""
    if owner_of(manifest) is not None or is_left_out(manifest):
        return keep_of_child(manifest)
    metadata, spec = manifest["metadata"], straight_child_spec(manifest.get("spec"))
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {name: metadata[name] for name in _KEPT_METADATA if name in metadata},
        "spec": {name: spec[name] for name in _KEPT_SPEC if name in spec},
    }


def foreign_route(manifest: Manifest) -> ForeignRoute | None:
    """
    What a VirtualService or ServiceEntry of others takes of whom; None for ours, and for one that takes nothing.

    An orphan is nobody's: whether there is somebody to take it over is not known here.
    """
    owner = owner_of(manifest)
    if owner is not None and is_owned_by(manifest, owner):
        return None
    metadata, spec = manifest["metadata"], manifest.get("spec") or {}
    hosts = frozenset(map(str, spec.get("hosts") or ()))
    if not hosts or (manifest["kind"] == "VirtualService" and not is_for_sidecars(spec)):
        return None
    return ForeignRoute(
        ObjectRef(manifest["kind"], metadata["namespace"], metadata["name"]),
        hosts,
        visible_in(manifest),
        parse_instant(metadata["creationTimestamp"]),
    )


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
    """By host, the namespaces whose clients `routes` steer; names that only a gateway knows are left out."""
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
    """A child by which clients are steered: by host, of which namespaces."""

    owner: Key
    steers: Mapping[str, frozenset[str]]


def own_route(manifest: Manifest) -> OwnRoute | None:
    """Which names a child steers for whom; None for what steers nothing, or is no child."""
    owner = owner_of(manifest)
    if owner is None or not is_owned_by(manifest, owner) or manifest["kind"] != "VirtualService":
        return None
    steers = steers_of((manifest,)) if stage_of(manifest) is Stage.CLIENTS else {}
    return OwnRoute(owner, steers) if steers else None


class Routes:
    """All that take requests for a host, ours and others', by host."""

    def __init__(self) -> None:
        self._routes: dict[ObjectRef, ForeignRoute] = {}
        self._by_host: NameIndex[ObjectRef] = NameIndex()
        self._own: dict[ObjectRef, OwnRoute] = {}
        self._own_by_host: NameIndex[ObjectRef] = NameIndex()

    def take(self, change: Change) -> frozenset[str]:
        """Follow a change of a VirtualService or ServiceEntry; returns the hosts whose standing it changes."""
        metadata = change.object["metadata"]
        ref = ObjectRef(change.object["kind"], metadata["namespace"], metadata["name"])
        foreign = foreign_route(change.new) if change.new else None
        own = own_route(change.new) if change.new else None
        return self._take_foreign(ref, foreign) | self._take_own(ref, own)

    def _take_foreign(self, ref: ObjectRef, new: ForeignRoute | None) -> frozenset[str]:
        old = self._routes.pop(ref, None)
        if old is not None:
            self._by_host.discard(old.hosts, ref)
        if new is not None:
            self._routes[ref] = new
            self._by_host.add(new.hosts, ref)
        if old == new:
            return frozenset()
        return frozenset(host for route in (old, new) if route is not None for host in route.hosts)

    def _take_own(self, ref: ObjectRef, new: OwnRoute | None) -> frozenset[str]:
        """Who waits for a name that one of ours steers hears when that ends; a new steer concerns nobody else."""
        old = self._own.pop(ref, None)
        if old is not None:
            self._own_by_host.discard(old.steers, ref)
        if new is not None:
            self._own[ref] = new
            self._own_by_host.add(new.steers, ref)
        left = new.steers if new else {}
        return frozenset(
            host for host, served in (old.steers if old else {}).items() if not served <= left.get(host, frozenset())
        )

    def steering(self, names: Iterable[str]) -> frozenset[Key]:
        """EgressGateways that steer clients of one of `names`, or of a name that overlaps, whatever their specs say."""
        index = self._own_by_host
        finders = (index.at, index.above, index.below)
        return frozenset(self._own[ref].owner for name in names for find in finders for ref in find(name))

    def for_names(self, names: Iterable[str]) -> tuple[ForeignRoute, ...]:
        """Those for one of `names`, or for a host that a wildcard among them covers, in a stable order."""
        return tuple(self._routes[ref] for ref in sorted(set(self._refs_for(names))))

    def _refs_for(self, names: Iterable[str]) -> Iterator[ObjectRef]:
        for name in names:
            yield from self._by_host.at(name)
            yield from self._by_host.below(name)
