"""
Other EgressGateways as the contest over names sees them (`contention.claims`): what they want, claim, and steer now.

Most objects have no contender; for these nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace

from egressgateway.api.scalars import parse_instant
from egressgateway.contention.consumers import allowed_consumers, served_names, served_ports
from egressgateway.contention.raw import key_of
from egressgateway.contention.requested import (
    Requested,
    claimed_by,
    is_released,
    on_gateway_of,
    requested_of,
    unrejected,
)
from egressgateway.contention.rights import as_ports
from egressgateway.contention.succession import Places, let_go, movable_names, speaks_alike
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.parsed import ParsedSpecs
from egressgateway.engine.cache.route_index import ROUTE_KINDS, steers_of
from egressgateway.facts import Claimed, ClassFacts, Contender, GatewayFacts, Ports, places_of
from egressgateway.live.children import ports_of, protocols_of, stage_of, steered_of, ways_of
from egressgateway.live.evidence import is_child
from egressgateway.live.ports import meet_on_a_port
from egressgateway.namespaces import EVERYONE, Namespaces, overlap
from egressgateway.plan.gateway.references import apisix_gateway
from egressgateway.plan.revoked import may_be_steered
from egressgateway.refs import Key, Manifest
from egressgateway.stages import Stage


@dataclass(frozen=True, slots=True)
class _Reach:
    """Consumer namespaces by name and by port, as spec and class give them."""

    names: Mapping[str, frozenset[str]]
    ports: Ports


_Basis = tuple[str, int, ClassFacts, Namespaces]
"""What a reach is computed from: uid and generation of the object, its class, labels of namespaces."""


class Contenders:
    """Finds and describes contenders; remembers which namespaces each of them serves."""

    def __init__(self, caches: Caches, judged: ParsedSpecs) -> None:
        self._caches = caches
        self._specs = judged
        self._reaches: dict[Key, tuple[_Basis, _Reach | None]] = {}

    def of(self, gateway: Manifest) -> tuple[Contender, ...]:
        """Contenders of an EgressGateway, in a stable order."""
        key, claims = key_of(gateway), self._caches.claims
        own = self._own(gateway)
        by_name = claims.contenders_of(key, replace(own, tcp_ports={}, named_ports={}))
        # After its status was lost, only its routes show that an object still has a name that it no longer asks for.
        by_name |= self._caches.routes.steering(own.names) - {key}
        certain = by_name | self._on_live_ports(gateway, own)
        by_port = {other for other in claims.sharing_ports(own) if other not in certain and other != key}
        found = [
            *self._standing_gateways(certain),
            *(contender for contender in self._standing_gateways(by_port) if self._meet_on_a_port(gateway, contender)),
        ]
        return tuple(self._beside(gateway, contender) for contender in sorted(found, key=key_of))

    def _own(self, gateway: Manifest) -> Requested:
        """
        What the object asks for and has claimed; without a status, in every namespace, as its routes may be anywhere.
        Ports of an object that sends no clients yet are where it asks for them: many new objects may have one in
        common.
        """
        key = key_of(gateway)
        rights = self._caches.rights_of(key)
        asked = requested_of(gateway, self._caches.namespace_labels())
        asked = replace(asked, exposed=asked.exposed | self._exposes(gateway, asked.exposed))
        own = asked | claimed_by(rights)
        if not rights.is_blank:
            return own
        own = replace(own, names=dict.fromkeys(own.names, EVERYONE))
        if not self._has_clients(key):
            return own
        return replace(
            own,
            tcp_ports=dict.fromkeys(own.tcp_ports, EVERYONE),
            named_ports=dict.fromkeys(own.named_ports, EVERYONE),
        )

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is gone."""
        self._reaches.pop(key, None)

    def _standing_gateways(self, keys: Iterable[Key]) -> Iterator[Manifest]:
        for key in keys:
            found = self._caches.gateways.get(*key)
            if found is not None and not (is_released(found) and not self._has_clients(key)):
                yield found

    def _has_clients(self, key: Key) -> bool:
        """Whether a child that sends clients to the object's gateway is still there."""
        return any(
            stage_of(child) is Stage.CLIENTS and is_child(child, key, frozenset())
            for kind in ROUTE_KINDS
            for child in self._caches.children[kind].by_index(key)
        )

    def _meet_on_a_port(self, gateway: Manifest, contender: Manifest) -> bool:
        """Many objects have a TCP port in common, and few of them a consumer: a plan need not consider the others."""
        mine, theirs = self._reach(gateway), self._reach(contender)
        held = as_ports(self._caches.rights_of(key_of(contender)).ports)
        return mine is not None and (
            (theirs is not None and meet_on_a_port(mine.ports, theirs.ports)) or meet_on_a_port(mine.ports, held)
        )

    def _on_live_ports(self, gateway: Manifest, requested: Requested) -> frozenset[Key]:
        """Objects without a status whose ServiceEntries give one of this object's ports to its clients."""
        own, mine = key_of(gateway), self._reach(gateway)
        owners = {entry.owner for entry in self._caches.ports.sharing(requested)} - {own}
        found = (
            (owner, self._caches.gateways.get(*owner)) for owner in owners if self._caches.rights_of(owner).is_blank
        )
        return frozenset(
            owner
            for owner, manifest in found
            if mine is not None and manifest is not None and meet_on_a_port(mine.ports, self._live_ports(manifest))
        )

    def _contender(self, manifest: Manifest) -> Contender:
        key = key_of(manifest)
        wanted = unrejected(manifest, self._caches.namespace_labels())
        reach, rights = self._reach(manifest), self._caches.rights_of(key)
        return Contender(
            key=key,
            created=parse_instant(manifest["metadata"]["creationTimestamp"]),
            serves={}
            if reach is None
            else {name: served for name, served in reach.names.items() if name in wanted.names},
            exposes=self._exposes(manifest, wanted.exposed),
            ports=Ports() if reach is None else _among(wanted, reach.ports),
            held_ports=self._live_ports(manifest) if rights.is_blank else as_ports(rights.ports),
            rights=rights,
            steers=self._live_steers(manifest) if rights.is_blank else {},
        )

    def _beside(self, gateway: Manifest, manifest: Manifest) -> Contender:
        """`manifest` as a contender of `gateway`, with the names that may move between the two."""
        contender, key = self._contender(manifest), key_of(gateway)
        if contender.key.namespace != key.namespace:
            return contender
        own, other = self._specs.gateway(gateway), self._specs.gateway(manifest)
        claimed, theirs = self._caches.rights_of(key).names, contender.rights.names
        contested = {
            name
            for name in claimed.keys() & theirs.keys()
            if overlap(places_of(claimed[name]), places_of(theirs[name]))
        }
        moving = (let_go(own, claimed) | contested) & contender.serves.keys()
        return replace(
            contender,
            lets_go=let_go(other, theirs) & movable_names(own.spec),
            takes_over=self._takes_over(gateway, other, {name: contender.serves[name] for name in moving}),
            routed=self._routed(manifest, contested) if contested else {},
        )

    def _takes_over(self, gateway: Manifest, other: GatewayFacts, serves: Places) -> Places:
        """What `other` would serve in place of `gateway`, to clients that speak the same as before."""
        if not serves or other.deleting or self._caches.is_namespace_ending(other.key.namespace):
            return {}
        spoken = protocols_of(self._live_clients(gateway, "ServiceEntry"))
        movable = movable_names(other.spec)
        return {
            name: places
            for name, places in serves.items()
            if name in movable and speaks_alike(other.spec, name, spoken.get(name, {}))
        }

    def _routed(self, manifest: Manifest, names: Set[str]) -> dict[str, frozenset[str]]:
        """For which namespaces an object has both registered `names` with clients, and sends them to its gateway."""
        own = key_of(manifest).namespace
        routes = (route for route in self._live_clients(manifest, "VirtualService") if any(ways_of(route)))
        steered = steered_of(routes, own)
        registered = steered_of(self._live_clients(manifest, "ServiceEntry"), own)
        return {name: overlap(steered[name], registered[name]) for name in names & steered.keys() & registered.keys()}

    def _live_steers(self, manifest: Manifest) -> dict[str, frozenset[str]]:
        """Names that routes in the object's namespace steer, where its class allows it to serve."""
        steers = steers_of(self._live_clients(manifest, "VirtualService"))
        return {name: self._allowed(manifest, served) for name, served in steers.items()}

    def _live_ports(self, manifest: Manifest) -> Ports:
        live = ports_of(self._live_clients(manifest, "ServiceEntry"))
        by_kind = (
            {port: self._allowed(manifest, served) for port, served in found.items()}
            for found in (live.tcp, live.named)
        )
        return Ports(*by_kind)

    def _live_clients(self, manifest: Manifest, kind: str) -> list[Manifest]:
        """Those that its class allows it to show to clients: its author may have written them by hand."""
        key, class_spec = key_of(manifest), self._specs.class_of(manifest).spec
        return [
            child
            for child in self._caches.children[kind].by_index(key)
            if stage_of(child) is Stage.CLIENTS
            and is_child(child, key, ())
            and (class_spec is None or may_be_steered(class_spec, child))
        ]

    def _allowed(self, manifest: Manifest, served: frozenset[str]) -> frozenset[str]:
        class_spec = self._specs.class_of(manifest).spec
        return allowed_consumers(key_of(manifest), class_spec, self._caches.namespace_labels(), served)

    def _exposes(self, manifest: Manifest, wanted: frozenset[Claimed]) -> frozenset[Claimed]:
        gateway = apisix_gateway(self._specs.class_of(manifest).spec)
        return frozenset(found for claimed in wanted if (found := on_gateway_of(gateway, claimed)) is not None)

    def _reach(self, manifest: Manifest) -> _Reach | None:
        """Which namespaces an object serves by its spec; None when the spec or its class cannot be read."""
        gateway, class_ = self._specs.gateway(manifest), self._specs.class_of(manifest)
        namespaces = self._caches.namespace_labels()
        basis = gateway.uid, gateway.generation, class_, namespaces
        known = self._reaches.get(gateway.key)
        if known is None or not _is_same(known[0], basis):
            known = self._reaches[gateway.key] = (basis, None)
            if gateway.spec is not None and class_.spec is not None:
                arguments = gateway.key, gateway.spec, class_.spec, namespaces
                reach = _Reach(served_names(*arguments), served_ports(*arguments))
                known = self._reaches[gateway.key] = (basis, reach)
        return known[1]


def _among(wanted: Requested, served: Ports) -> Ports:
    return Ports(
        {port: consumers for port, consumers in served.tcp.items() if port in wanted.tcp_ports},
        {port: consumers for port, consumers in served.named.items() if port in wanted.named_ports},
    )


def _is_same(one: _Basis, other: _Basis) -> bool:
    """Compares classes and labels by identity: they are replaced, never changed."""
    return one[:2] == other[:2] and one[2] is other[2] and one[3] is other[3]
