"""
Services of type ExternalName, by the ports that they list.

A cluster's DNS answers for them with the address of an external host, and istiod builds no listener for one: a sidecar
that takes a TCP port whole takes their clients' connections, too. Other Services keep theirs: sidecars listen on the
address of a Service, or on those of a headless Service's pods.

`external_name_watch` keeps them equal to the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Change, Store
from egressgateway.engine.cache.budget import NamespaceBudget
from egressgateway.engine.cache.keeping import is_left_out
from egressgateway.engine.cache.shapes import listed
from egressgateway.facts import NEVER, UnmanagedRoute
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.refs import Manifest, ObjectRef

_TYPE: Final = "ExternalName"

MOST_NAMES: Final = 4
"""
Hosts on one port that are told of: an object has one host on a TCP port, so that of two one is another one's. Every
tenant can write thousands.
"""

_MOST_PORTS: Final = 64
"""Ports of one Service that are remembered."""


def keep_of_service(service: Manifest) -> Manifest:
    """What is read of it."""
    if is_left_out(service):
        return service
    metadata, spec = service["metadata"], service.get("spec") or {}
    numbers = {each["port"] for each in listed(spec.get("ports")) if each.get("protocol", "TCP") == "TCP"}
    kept = ("namespace", "name", "uid", "creationTimestamp", "resourceVersion")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {
            "type": spec.get("type"),
            "externalName": spec.get("externalName"),
            "ports": [{"port": number} for number in sorted(numbers)[:_MOST_PORTS]],
        },
    }


@dataclass(frozen=True, slots=True)
class _Named:
    """Where a Service leads."""

    host: str
    ports: frozenset[int]
    created: str


class ExternalNames:
    """All Services of the type."""

    def __init__(self, budget: NamespaceBudget, cluster_domain: str) -> None:
        """`cluster_domain`: names in it are those of Services, which keep their connections."""
        self.store = Store(trim=keep_of_service, budget=budget, as_text=True)
        self._inside = (f".svc.{cluster_domain}", ".svc")
        self._known: dict[ObjectRef, _Named] = {}
        # By port and host.
        self._by_port: dict[int, dict[str, set[ObjectRef]]] = {}

    def take(self, change: Change) -> dict[int, frozenset[str]]:
        """Follow a change; returns the TCP ports for which it matters, each in every namespace."""
        metadata = change.object["metadata"]
        ref = ObjectRef("Service", metadata["namespace"], metadata["name"])
        new = None if change.new is None else self._named(change.new)
        old = self._known.pop(ref, None)
        if new is not None:
            self._known[ref] = new
        if old == new:
            return {}
        self._refile(ref, old, new)
        ports = frozenset(port for each in (old, new) if each is not None for port in each.ports)
        return dict.fromkeys(ports, frozenset({EVERY_NAMESPACE}))

    def on_ports(self, ports: Iterable[int]) -> tuple[UnmanagedRoute, ...]:
        """Where Services lead on one of the ports, in a stable order: `MOST_NAMES` hosts of each port."""
        found: dict[ObjectRef, UnmanagedRoute] = {}
        for port in sorted(ports):
            by_host = self._by_port.get(port, {})
            for host in sorted(by_host)[:MOST_NAMES]:
                ref = min(by_host[host])
                found[ref] = self._route(ref)
        return tuple(found.values())

    def _route(self, ref: ObjectRef) -> UnmanagedRoute:
        known = self._known[ref]
        created = parse_instant(known.created) if known.created else NEVER
        return UnmanagedRoute(ref, frozenset({known.host}), frozenset({EVERY_NAMESPACE}), created, known.ports)

    def _refile(self, ref: ObjectRef, old: _Named | None, new: _Named | None) -> None:
        if old is not None:
            for port in old.ports:
                by_host = self._by_port[port]
                by_host[old.host].discard(ref)
                if not by_host[old.host]:
                    del by_host[old.host]
                if not by_host:
                    del self._by_port[port]
        if new is not None:
            for port in new.ports:
                self._by_port.setdefault(port, {}).setdefault(new.host, set()).add(ref)

    def _named(self, service: Manifest) -> _Named | None:
        """None for a Service that leads nowhere outside, or lists no port."""
        spec: dict[str, Any] = service.get("spec") or {}
        host = str(spec.get("externalName") or "").lower().rstrip(".")
        ports = frozenset(each["port"] for each in spec.get("ports") or ())
        if spec.get("type") != _TYPE or not host or not ports or host.endswith(self._inside):
            return None
        return _Named(host, ports, service["metadata"].get("creationTimestamp") or "")
