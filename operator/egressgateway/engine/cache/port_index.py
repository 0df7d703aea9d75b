"""
Indexes the ports on which ServiceEntries in an EgressGateway's own namespace send clients to its gateway.

They find objects whose status was lost. For all others the claims in the status count (`engine.reconcile.contenders`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from egressgateway.cluster.store import Change
from egressgateway.contention.requested import Requested
from egressgateway.facts import Ports
from egressgateway.live.children import ports_of, stage_of
from egressgateway.live.evidence import is_child, named_owner
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.stages import Stage


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """A child that registers ports for clients."""

    owner: Key
    ports: Ports


class PortIndex:
    """All ServiceEntries of clients, by the ports that they register."""

    def __init__(self) -> None:
        self._entries: dict[ObjectRef, LiveEntry] = {}
        self._tcp: dict[int, set[ObjectRef]] = {}
        self._named: dict[int, set[ObjectRef]] = {}

    def take(self, change: Change) -> Requested:
        """Follow a change of a ServiceEntry; returns the ports that it no longer has in some namespace."""
        metadata = change.object["metadata"]
        ref = ObjectRef(change.object["kind"], metadata["namespace"], metadata["name"])
        old, new = self._entries.pop(ref, None), _entry_of(change.new) if change.new else None
        if new is not None:
            self._entries[ref] = new
        before, after = old.ports if old else Ports(), new.ports if new else Ports()
        _reindex(self._tcp, ref, before.tcp, after.tcp)
        _reindex(self._named, ref, before.named, after.named)
        return Requested(tcp_ports=_lost(before.tcp, after.tcp), named_ports=_lost(before.named, after.named))

    def sharing(self, requested: Requested) -> Iterator[LiveEntry]:
        """Entries with one of the ports of `requested`, where one of the two speaks TCP."""
        for port in requested.tcp_ports.keys() | requested.named_ports.keys():
            yield from map(self._entries.__getitem__, self._tcp.get(port, ()))
        for port in requested.tcp_ports:
            yield from map(self._entries.__getitem__, self._named.get(port, ()))


def _entry_of(manifest: Manifest) -> LiveEntry | None:
    owner = named_owner(manifest)
    if manifest["kind"] != "ServiceEntry" or owner is None or not is_child(manifest, owner, ()):
        return None
    if stage_of(manifest) is not Stage.CLIENTS:
        return None
    return LiveEntry(owner, ports_of((manifest,)))


def _reindex(filed: dict[int, set[ObjectRef]], ref: ObjectRef, old: Iterable[int], new: Iterable[int]) -> None:
    for port in old:
        filed[port].discard(ref)
    for port in new:
        filed.setdefault(port, set()).add(ref)


def _lost(old: Mapping[int, frozenset[str]], new: Mapping[int, frozenset[str]]) -> dict[int, frozenset[str]]:
    none = frozenset[str]()
    return {port: served - new.get(port, none) for port, served in old.items() if not served <= new.get(port, none)}
