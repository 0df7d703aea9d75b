"""
The caches that reconciles read: one store for each kind, and who wants which host.

Filled by kopf (EgressGateways) and by informers (everything else); each change becomes keys to look at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from egressgateway.cluster.store import Change, Store
from egressgateway.plan.claims import contended_names
from egressgateway.plan.names import LABEL_GATEWAY, LABEL_NAMESPACE
from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY, GROUP, Key, Manifest, ObjectRef


def key_of(gateway: Manifest) -> Key:
    """Key of an EgressGateway."""
    return Key(gateway["metadata"]["namespace"], gateway["metadata"]["name"])


def owner_of(child: Manifest) -> Key | None:
    """
    EgressGateway whose child this is by its owner reference, else by what its labels say.

    Labels alone anybody can set. A child whose label somebody changed stays ours, and is put right.
    """
    metadata = child["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == EGRESS_GATEWAY.kind and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/"):
            return Key(metadata.get("namespace", ""), owner["name"])
    labels = metadata.get("labels") or {}
    name, namespace = labels.get(LABEL_GATEWAY), labels.get(LABEL_NAMESPACE)
    return Key(namespace, name) if name and namespace else None


def names_in(gateway: Manifest) -> frozenset[str]:
    """Names that an EgressGateway's spec asks for, read without judging it."""
    destinations = (gateway.get("spec") or {}).get("destinations") or ()
    return frozenset(
        name
        for destination in destinations
        for name in (*(destination.get("hosts") or ()), *(destination.get("aliases") or ()))
    )


def claims_in(gateway: Manifest) -> frozenset[str]:
    """Names that an EgressGateway's status claims."""
    return frozenset(claim["host"] for claim in (gateway.get("status") or {}).get("claims") or () if "host" in claim)


class HostIndex:
    """Which EgressGateways of a namespace want or claim a name."""

    def __init__(self) -> None:
        self._by_host: dict[tuple[str, str], set[Key]] = {}

    def update(self, old: Manifest | None, new: Manifest | None) -> None:
        for manifest, add in ((old, False), (new, True)):
            if manifest is None:
                continue
            key = key_of(manifest)
            for host in names_in(manifest) | claims_in(manifest):
                keys = self._by_host.setdefault((key.namespace, host), set())
                (keys.add if add else keys.discard)(key)
                if not keys:
                    del self._by_host[key.namespace, host]

    def rivals_of(self, key: Key, hosts: Iterable[str]) -> frozenset[Key]:
        """Other EgressGateways of `key`'s namespace with a name in common."""
        return frozenset(other for host in hosts for other in self._by_host.get((key.namespace, host), ())) - {key}


class Caches:
    """Everything that is known of the cluster."""

    def __init__(self) -> None:
        self.gateways = Store(index=lambda gateway: gateway["metadata"]["namespace"])
        self.classes = Store()
        self.namespaces = Store()
        self.children = {resource.kind: Store(index=owner_of) for resource in CHILD_RESOURCES}
        self.hosts = HostIndex()

    def children_of(self, key: Key) -> dict[ObjectRef, Manifest]:
        """Live objects that are `key`'s by owner or by labels, in its own namespace."""
        return {
            ObjectRef(kind, found["metadata"].get("namespace", ""), found["metadata"]["name"]): found
            for kind, store in self.children.items()
            for found in store.by_index(key)
            if found["metadata"].get("namespace") == key.namespace
        }

    def put_child(self, kind: str, manifest: Manifest) -> None:
        self.children[kind].put(manifest)

    def put_gateway(self, manifest: Manifest) -> Change | None:
        return self._indexed(self.gateways.put(manifest))

    def remove_gateway(self, manifest: Manifest) -> Change | None:
        return self._indexed(self.gateways.remove(manifest))

    def replace_gateways(self, listed: Iterable[Manifest], namespace: str | None) -> list[Change]:
        return [change for change in map(self._indexed, self.gateways.replace(listed, namespace)) if change]

    def _indexed(self, change: Change | None) -> Change | None:
        if change is not None:
            self.hosts.update(change.old, change.new)
        return change

    def affected_by_gateway(self, change: Change) -> Iterator[Key]:
        """The object itself, and those that want a name that it gained or gave up."""
        key = key_of(change.object)
        yield key
        before, after = (_stakes(manifest) for manifest in (change.old, change.new))
        if before != after:
            names = {name for _, name in before | after}
            yield from self.hosts.rivals_of(key, names)

    def affected_by_child(self, change: Change) -> set[Key]:
        """Whose child it says that it is, and said before; nobody when nothing changed that a reconcile looks at."""
        if change.old is not None and change.new is not None and _looks(change.old) == _looks(change.new):
            return set()
        owners = {owner_of(manifest) for manifest in (change.old, change.new) if manifest is not None}
        return {key for key in owners if key is not None}

    def affected_by_class(self, change: Change) -> Iterator[Key]:
        """Objects that name the class, and all that name none when it may be the default."""
        name = change.object["metadata"]["name"]
        for gateway in self.gateways:
            if (gateway.get("spec") or {}).get("className") in (name, None):
                yield key_of(gateway)

    def affected_by_namespace(self, change: Change) -> Iterator[Key]:
        """Objects in the namespace, when its labels changed."""
        if change.old is not None and change.new is not None and _labels(change.old) == _labels(change.new):
            return
        for gateway in self.gateways.by_index(change.object["metadata"]["name"]):
            yield key_of(gateway)


def _looks(child: Manifest) -> tuple[Any, ...]:
    """
    What a reconcile looks at: everything but the status, of which `observe` reads a Deployment's ready pods alone.

    Istiod and controllers write more status than all else together.
    """
    metadata = child["metadata"]
    status = child.get("status") or {}
    return (
        {name: metadata.get(name) for name in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")},
        {name: value for name, value in child.items() if name not in ("metadata", "status")},
        status.get("readyReplicas") if child.get("kind") == "Deployment" else None,
    )


def _stakes(gateway: Manifest | None) -> frozenset[tuple[str, str]]:
    """What makes a difference to others: names wanted, and names claimed."""
    if gateway is None:
        return frozenset()
    wanted = {("want", name) for name in contended_names(gateway)}
    return frozenset(wanted | {("claim", name) for name in claims_in(gateway)})


def _labels(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"].get("labels") or {}
    return labels
