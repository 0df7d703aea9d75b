"""
Indexes the ports on which ServiceEntries in an EgressGateway's own namespace send clients to its gateway.

They find objects whose status was lost. For all others the claims in the status count (`engine.reconcile.contenders`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from egressgateway.cluster.store import Change
from egressgateway.contention.claim_index import within_bound
from egressgateway.contention.requested import Requested
from egressgateway.facts import Ports
from egressgateway.live.children import ports_of, stage_of
from egressgateway.live.evidence import is_child, named_owner
from egressgateway.namespaces import EVERY_NAMESPACE, EVERYONE
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.stages import Stage

ServedPorts = Mapping[int, frozenset[str]]
"""Namespaces by port."""

_NOWHERE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """A child that registers ports for clients."""

    owner: Key
    ports: Ports


class PortIndex:
    """All ServiceEntries of clients, by the ports that they register."""

    def __init__(self) -> None:
        self._entries: dict[ObjectRef, LiveEntry] = {}
        self._tcp = _Filed()
        self._named = _Filed()

    def take(self, change: Change) -> Requested:
        """Follow a change of a ServiceEntry; returns the ports that it no longer has in some namespace."""
        metadata = change.object["metadata"]
        ref = ObjectRef(change.object["kind"], metadata["namespace"], metadata["name"])
        old, new = self._entries.pop(ref, None), _entry_of(change.new) if change.new else None
        if new is not None:
            self._entries[ref] = new
        before, after = old.ports if old else Ports(), new.ports if new else Ports()
        self._tcp.refile(ref, before.tcp, after.tcp)
        self._named.refile(ref, before.named, after.named)
        return Requested(tcp_ports=_lost(before.tcp, after.tcp), named_ports=_lost(before.named, after.named))

    def sharing(self, requested: Requested) -> Iterator[LiveEntry]:
        """
        Entries with one of the ports of `requested` in one of its namespaces, where one of the two speaks TCP; some
        more than once.
        """
        for ports in (requested.tcp_ports, requested.named_ports):
            yield from map(self._entries.__getitem__, self._tcp.refs(ports))
        yield from map(self._entries.__getitem__, self._named.refs(requested.tcp_ports))


class _Filed:
    """
    Entries by port and namespace: thousands of objects may have a port in common, and no client.

    Tenants write ServiceEntries: one with thousands of ports and namespaces is filed as one for every namespace.
    """

    def __init__(self) -> None:
        self._refs: dict[int, dict[str, set[ObjectRef]]] = {}

    def refile(self, ref: ObjectRef, old: ServedPorts, new: ServedPorts) -> None:
        old, new = within_bound(old), within_bound(new)
        for port, served in old.items():
            for namespace in served - new.get(port, _NOWHERE):
                self._drop(port, namespace, ref)
        for port, served in new.items():
            for namespace in served - old.get(port, _NOWHERE):
                self._refs.setdefault(port, {}).setdefault(namespace, set()).add(ref)

    def refs(self, ports: ServedPorts) -> Iterator[ObjectRef]:
        for port, served in within_bound(ports).items():
            filed = self._refs.get(port, {})
            for namespace in filed if EVERY_NAMESPACE in served else served | EVERYONE:
                yield from filed.get(namespace, ())

    def _drop(self, port: int, namespace: str, ref: ObjectRef) -> None:
        refs = self._refs[port][namespace]
        refs.discard(ref)
        if not refs:
            del self._refs[port][namespace]


def _entry_of(manifest: Manifest) -> LiveEntry | None:
    owner = named_owner(manifest)
    if manifest["kind"] != "ServiceEntry" or owner is None or not is_child(manifest, owner, ()):
        return None
    if stage_of(manifest) is not Stage.CLIENTS:
        return None
    return LiveEntry(owner, ports_of((manifest,)))


def _lost(old: ServedPorts, new: ServedPorts) -> dict[int, frozenset[str]]:
    return {
        port: served - new.get(port, _NOWHERE) for port, served in old.items() if not served <= new.get(port, _NOWHERE)
    }
