"""
Other EgressGateways as the contest over names sees them (`plan.claims`): what they want, claim, and steer now.

Most objects have no rival; for these nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from egressgateway.api.scalars import parse_instant
from egressgateway.diff.changeset import is_child_of
from egressgateway.engine.caches import Caches
from egressgateway.engine.judged import Judged
from egressgateway.engine.routes import ROUTE_KINDS, steers_of
from egressgateway.engine.wants import Wants, contended, has_let_go, key_of, on_gateway_of, wants_of
from egressgateway.facts import Claimed, ClassFacts, Ports, Rival
from egressgateway.plan.claims import read_claims, read_since
from egressgateway.plan.consumers import Namespaces, meet_on_a_port, served_names, served_ports
from egressgateway.plan.ir import Stage
from egressgateway.plan.retain import ports_of, stage_of
from egressgateway.refs import Key, Manifest


@dataclass(frozen=True, slots=True)
class _Reach:
    """Consumer namespaces by name and by port, as spec and class have them."""

    names: Mapping[str, frozenset[str]]
    ports: Ports


_Basis = tuple[str, int, ClassFacts, Namespaces]
"""What a reach is computed from: uid and generation of the object, its class, labels of namespaces."""


class Rivals:
    """Finds and describes rivals; remembers whom each of them serves."""

    def __init__(self, caches: Caches, judged: Judged) -> None:
        self._caches = caches
        self._judged = judged
        self._reaches: dict[Key, tuple[_Basis, _Reach | None]] = {}

    def of(self, gateway: Manifest) -> tuple[Rival, ...]:
        """Rivals of an EgressGateway, in a stable order."""
        key, wants, hosts = key_of(gateway), wants_of(gateway), self._caches.hosts
        by_name = hosts.rivals_of(key, replace(wants, tcp_ports=frozenset(), named_ports=frozenset()))
        # After its status was lost, only its routes tell that an object has a name that it wants no more.
        by_name |= self._caches.routes.steering(wants.names) - {key}
        # What clients are told of stays a port of whoever told them, whatever became of its spec.
        certain = by_name | self._on_live_ports(gateway, wants)
        by_port = {other for other in hosts.sharing_ports(wants) if other not in certain and other != key}
        found = [
            *self._standing(certain),
            *(rival for rival in self._standing(by_port) if self._meet_on_a_port(gateway, rival)),
        ]
        return tuple(self._rival(rival) for rival in sorted(found, key=key_of))

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is gone."""
        self._reaches.pop(key, None)

    def _standing(self, keys: Iterable[Key]) -> Iterator[Manifest]:
        for key in keys:
            found = self._caches.gateways.get(*key)
            if found is not None and not (has_let_go(found) and not self._has_clients(key)):
                yield found

    def _has_clients(self, key: Key) -> bool:
        """Whether something that tells clients of the object's gateway is still there."""
        return any(
            stage_of(child) is Stage.CLIENTS and is_child_of(child, key)
            for kind in ROUTE_KINDS
            for child in self._caches.children[kind].by_index(key)
        )

    def _meet_on_a_port(self, gateway: Manifest, rival: Manifest) -> bool:
        """Many have a TCP port in common, and few of these a consumer: a plan need not look at the others."""
        mine, theirs = self._reach(gateway), self._reach(rival)
        return mine is not None and theirs is not None and meet_on_a_port(mine.ports, theirs.ports)

    def _on_live_ports(self, gateway: Manifest, wants: Wants) -> frozenset[Key]:
        """Whom clients of the object are sent to on one of its ports, if one of the two speaks TCP."""
        entries = [entry for entry in self._caches.ports.sharing(wants) if entry.owner != key_of(gateway)]
        mine = self._reach(gateway) if entries else None
        return frozenset(entry.owner for entry in entries if mine and meet_on_a_port(mine.ports, entry.ports))

    def _rival(self, manifest: Manifest) -> Rival:
        key, status = key_of(manifest), manifest.get("status") or {}
        wanted, reach = contended(manifest), self._reach(manifest)
        routes, entries = (
            [
                child
                for child in self._caches.children[kind].by_index(key)
                if stage_of(child) is Stage.CLIENTS and is_child_of(child, key)
            ]
            for kind in ("VirtualService", "ServiceEntry")
        )
        return Rival(
            key=key,
            created=parse_instant(manifest["metadata"]["creationTimestamp"]),
            serves=_claimed_serves(status)
            if reach is None
            else {name: served for name, served in reach.names.items() if name in wanted.names},
            exposes=self._exposes(manifest, wanted.exposed),
            ports=Ports() if reach is None else _among(wanted, reach.ports),
            live_ports=ports_of(entries),
            claimed=read_claims(status),
            since=read_since(status),
            steers=steers_of(routes),
        )

    def _exposes(self, manifest: Manifest, wanted: frozenset[Claimed]) -> frozenset[Claimed]:
        class_spec = self._judged.class_of(manifest).spec
        return frozenset(found for claimed in wanted if (found := on_gateway_of(class_spec, claimed)) is not None)

    def _reach(self, manifest: Manifest) -> _Reach | None:
        """Whom an object serves by its spec; None when the spec or its class cannot be read."""
        gateway, class_ = self._judged.gateway(manifest), self._judged.class_of(manifest)
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


def _claimed_serves(status: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """What can only be known from the status: each claim in each consumer namespace."""
    consumers = frozenset(read_since(status))
    return {claim.host: consumers for claim in read_claims(status) if not claim.gateway}


def _among(wanted: Wants, served: Ports) -> Ports:
    return Ports(
        {port: consumers for port, consumers in served.tcp.items() if port in wanted.tcp_ports},
        {port: consumers for port, consumers in served.named.items() if port in wanted.named_ports},
    )


def _is_same(one: _Basis, other: _Basis) -> bool:
    """Classes and labels are compared by identity: they are replaced, never changed."""
    return one[:2] == other[:2] and one[2] is other[2] and one[3] is other[3]
