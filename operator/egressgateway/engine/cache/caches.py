"""
The caches that reconciles read: one store for each kind, and what is filed from them to be found by name.

Filled by kopf (EgressGateways) and by informers (everything else); each change becomes keys to look at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Asked, Change, Store
from egressgateway.contention.claims import mappings_in, texts_of
from egressgateway.contention.rights import is_covered
from egressgateway.engine.cache.budget import DEFAULT_BYTES, NamespaceBudget
from egressgateway.engine.cache.claim_index import ClaimIndex
from egressgateway.engine.cache.keeping import (
    WITH_STATUS,
    keep_of_child,
    keep_of_class,
    keep_of_gateway,
    keep_of_namespace,
)
from egressgateway.engine.cache.meshconfig import MeshCache
from egressgateway.engine.cache.own_writes import OwnWrites
from egressgateway.engine.cache.port_index import PortIndex
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.engine.cache.requested import NOTHING, claimed_by, contention_key_of, key_of, requested_of, rights_in
from egressgateway.engine.cache.route_index import ROUTE_KINDS, RouteIndex, keep_needed
from egressgateway.engine.reconcile.remote_records import recorded_key
from egressgateway.facts import Rights
from egressgateway.live.controller_status import answers
from egressgateway.live.evidence import named_owner, recorded_children
from egressgateway.namespaces import NamespaceLabels
from egressgateway.refs import CHILD_RESOURCES, Key, Manifest, ObjectRef, ref_of
from egressgateway.settings import MeshSettings

_TERMINATING: Final = "Terminating"
_NO_RIGHTS: Final = Rights()


class Caches:
    """Everything that is known of the cluster."""

    def __init__(self, mesh: MeshSettings | None = None, *, namespace_bytes: int = DEFAULT_BYTES) -> None:
        """
        `mesh` says where the mesh keeps its configuration. `namespace_bytes`: memory for the children of each
        namespace, and half of it for its EgressGateways.
        """
        mesh = mesh or MeshSettings()
        # Apart, so that no child, forged or not, leaves an EgressGateway without its spec.
        self.gateways_budget = NamespaceBudget(namespace_bytes // 2)
        self.children_budget = NamespaceBudget(namespace_bytes)
        self.gateways = Store(
            index=lambda gateway: gateway["metadata"]["namespace"], trim=keep_of_gateway, budget=self.gateways_budget
        )
        self.classes = Store(trim=keep_of_class)
        self.namespaces = Store(trim=keep_of_namespace)
        self.children = {
            resource.kind: Store(
                index=named_owner,
                trim=keep_needed
                if resource.kind in ROUTE_KINDS
                else partial(keep_of_child, with_status=resource.kind in WITH_STATUS),
                budget=self.children_budget,
                as_text=True,
            )
            for resource in CHILD_RESOURCES
        }
        self.records = Store(index=recorded_key)
        """Which objects have children in other namespaces: see `remote_records`."""
        self.hosts = ClaimIndex()
        self.routes = RouteIndex()
        self.ports = PortIndex()
        self.references = ReferenceCache()
        self.own_writes = OwnWrites()
        self.mesh = MeshCache(mesh.root_namespace, mesh.revision)
        self.on_own_write: Callable[[Change], None] = _ignore
        """Called with a change of an EgressGateway that we made ourselves: the watch will not tell of it again."""
        self.on_freed: Callable[[Iterable[Key]], None] = _ignore
        """Called with those who want a host or a port that a child, by a write of ours, steers no more."""
        self._with_access: dict[Key, tuple[Manifest, ...]] = {}
        self._rights: dict[Key, Rights] = {}
        self._reserved: dict[Key, Rights] = {}
        self._labels = NamespaceLabels({})
        self._labels_revision = -1

    def known_keys(self) -> set[Key]:
        """EgressGateways that are there, and those whose children are, or are recorded."""
        owners = (owner for store in self.children.values() for owner in store.index_values())
        children = (owner for owner in owners if isinstance(owner, Key))
        return {*map(key_of, self.gateways), *children, *self.without_object()}

    def children_of(self, key: Key) -> dict[ObjectRef, Manifest]:
        """Live objects that say that they are `key`'s: `live.evidence` says which of them are."""
        return {
            ObjectRef(kind, found["metadata"].get("namespace", ""), found["metadata"]["name"]): found
            for kind, store in self.children.items()
            for found in store.by_index(key)
        }

    def rights_of(self, key: Key) -> Rights:
        """What an EgressGateway has claimed, or is about to; nothing for one that there is not."""
        recorded, reserved = self._rights.get(key, _NO_RIGHTS), self._reserved.get(key)
        # Joined at each look: a claim that has just left the status must not live on in a copy made before.
        return recorded if reserved is None else reserved.joined(recorded)

    def reserve(self, key: Key, rights: Rights) -> None:
        """
        Let others see claims that are on their way into the status: of two objects that are judged while the API server
        stores the claim of one, only one gets the name.
        """
        self._reserved[key] = rights

    def release(self, key: Key) -> None:
        """
        From now on only what the status of `key` says counts.

        Objects that want what was reserved and not recorded look again: they may have been refused for it.
        """
        reserved = self._reserved.pop(key, None)
        if reserved is None or is_covered(reserved, self._rights.get(key, _NO_RIGHTS)):
            return
        waiting = self.hosts.contenders_of(key, claimed_by(reserved))
        if waiting:
            self.on_freed(waiting)

    def namespace_labels(self) -> Mapping[str, Mapping[str, str]]:
        """
        Labels of every namespace that is not being deleted, by name.

        The same object for as long as nothing in it changes, so that what is computed from it can be kept with it.
        """
        if self._labels_revision != self.namespaces.revision:
            self._labels_revision = self.namespaces.revision
            found = {each["metadata"]["name"]: _labels(each) for each in self.namespaces if not _is_ending(each)}
            if found != self._labels:
                self._labels = NamespaceLabels(found)
        return self._labels

    def created_of(self, names: Iterable[str]) -> dict[str, datetime]:
        """Since when namespaces exist, of those among `names` that do."""
        found = ((name, self.namespaces.get("", name)) for name in set(names))
        times = {name: each["metadata"].get("creationTimestamp") for name, each in found if each is not None}
        return {name: parse_instant(time) for name, time in times.items() if time}

    def is_namespace_ending(self, name: str) -> bool:
        """Whether it is known, and is being deleted with all that is in it."""
        found = self.namespaces.get("", name)
        return found is not None and _is_ending(found)

    def namespaces_over_memory(self) -> int:
        """Namespaces of which some objects are known without their bodies."""
        return len(self.children_budget.namespaces_over | self.gateways_budget.namespaces_over)

    def put_child(self, kind: str, manifest: Manifest, answer_to: Asked | None = None) -> None:
        """A child as we have written or read it, by that request; the watch will not tell of it again."""
        self._own_change(kind, self.children[kind].put(manifest, answer_to))

    def remove_child(self, kind: str, manifest: Manifest) -> None:
        """A child that we have deleted."""
        self._own_change(kind, self.children[kind].remove(manifest))

    def _own_change(self, kind: str, change: Change | None) -> None:
        if change is not None and kind in ROUTE_KINDS:
            freed = self.hosts.sharing_ports(self.ports.take(change))
            waiting = {*self.hosts.waiting_for(self.routes.take(change, self.rights_of)), *freed} - {
                named_owner(change.object)
            }
            if waiting:
                self.on_freed(waiting)

    def put_gateway(self, manifest: Manifest, answer_to: Asked | None = None) -> Change | None:
        return self._filed(self.gateways.put(manifest, answer_to))

    def wrote_gateway(self, manifest: Manifest, answer_to: Asked | None = None) -> None:
        """
        The answer to a write of ours: what it means to others, they hear from here.

        One that takes the last finalizer off a deleted object ends it. The watch may have said so before this answer
        came, and would not say it again of an object that is put back.
        """
        change = self.remove_gateway(manifest) if _has_ended(manifest) else self.put_gateway(manifest, answer_to)
        if change is not None:
            self.on_own_write(change)

    def remove_gateway(self, manifest: Manifest) -> Change | None:
        return self._filed(self.gateways.remove(manifest))

    def replacing_gateways(self, listed: Iterable[Manifest], namespace: str | None) -> Iterator[Change]:
        """See `Store.replacing`."""
        return (change for change in map(self._filed, self.gateways.replacing(listed, namespace)) if change)

    def _filed(self, change: Change | None) -> Change | None:
        if change is not None:
            key = key_of(change.object)
            rights = rights_in(change.new) if change.new is not None else _NO_RIGHTS
            self.hosts.file(key, NOTHING if change.new is None else requested_of(change.new) | claimed_by(rights))
            if rights != _NO_RIGHTS:
                self._rights[key] = rights
            else:
                self._rights.pop(key, None)
            self._with_access.pop(key, None)
            entries = _access(change.new) if change.new is not None else ()
            if entries:
                self._with_access[key] = entries
        return change

    def affected_by_gateway(self, change: Change) -> Iterator[Key]:
        """The object itself, and those with which it had or has something in common, when that changed."""
        key = key_of(change.object)
        yield key
        before, after = contention_key_of(change.old), contention_key_of(change.new)
        if before != after:
            common = before.unrejected | claimed_by(before.claimed) | after.unrejected | claimed_by(after.claimed)
            yield from self.hosts.contenders_of(key, common)

    def affected_by_record(self, change: Change) -> Iterator[Key]:
        """Whose children a record names, when that object is not there any more: nobody else will remove them."""
        key = recorded_key(change.object)
        if key is not None and self.gateways.get(*key) is None:
            yield key

    def without_object(self) -> Iterator[Key]:
        """Keys of records whose objects are not there."""
        for found in self.records:
            key = recorded_key(found)
            if key is not None and self.gateways.get(*key) is None:
                yield key

    def affected_by_child(self, change: Change) -> set[Key]:
        """Whose child it says that it is, and said before; nobody when nothing changed that a reconcile looks at."""
        if change.old is not None and change.new is not None and _looks(change.old) == _looks(change.new):
            return set()
        owners = {named_owner(manifest) for manifest in (change.old, change.new) if manifest is not None}
        return {key for key in owners if key is not None and self._may_be_child(change.object, key)}

    def _may_be_child(self, manifest: Manifest, key: Key) -> bool:
        """Whether the object is in the gateway's own namespace, or recorded as its child: others wake nobody."""
        if manifest["metadata"].get("namespace", "") == key.namespace:
            return True
        gateway = self.gateways.get(*key)
        return gateway is not None and ref_of(manifest) in recorded_children(gateway.get("status") or {})

    def affected_by_route(self, change: Change) -> set[Key]:
        """For a VirtualService or ServiceEntry: also who wants a host or a port that it takes, or did."""
        freed = self.hosts.sharing_ports(self.ports.take(change))
        return {*self.affected_by_child(change), *self.hosts.wanting(self.routes.take(change, self.rights_of)), *freed}

    def affected_by_class(self, change: Change) -> Iterator[Key]:
        """
        Objects that name the class, or were served by it, and all that name none, as it may be the default.

        Nobody for its status.
        """
        if change.old is not None and change.new is not None and _says(change.old) == _says(change.new):
            return
        name = change.object["metadata"]["name"]
        for gateway in self.gateways:
            served_by = (gateway.get("status") or {}).get("className")
            if (gateway.get("spec") or {}).get("className") in (name, None) or served_by == name:
                yield key_of(gateway)

    def affected_by_namespace(self, change: Change) -> Iterator[Key]:
        """Objects in the namespace, and those whose `access` may mean it, when it came, went, or changed its labels."""
        if change.old is not None and change.new is not None and _standing(change.old) == _standing(change.new):
            return
        name = change.object["metadata"]["name"]
        inside = {key_of(gateway) for gateway in self.gateways.by_index(name)}
        yield from inside
        for key, entries in self._with_access.items():
            if key not in inside and any(_may_mean(entry, name) for entry in entries):
                yield key


def _has_ended(gateway: Manifest) -> bool:
    metadata = gateway["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers")


def _says(class_: Manifest) -> tuple[Any, Any]:
    """What of a class matters to objects: its spec, and whether it is the default. Its status we write ourselves."""
    return class_.get("spec"), class_["metadata"].get("annotations")


def _looks(child: Manifest) -> tuple[Any, ...]:
    """
    What a reconcile looks at: everything but the status, of which only a Deployment's pods, a Service's addresses and
    what a controller of others says of its objects matter.

    Istiod and controllers write more status than all else together.
    """
    metadata = child["metadata"]
    status = child.get("status") or {}
    return (
        {name: metadata.get(name) for name in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")},
        {name: value for name, value in child.items() if name not in ("metadata", "status")},
        _pods_of(status) if child.get("kind") == "Deployment" else None,
        status.get("loadBalancer") if child.get("kind") == "Service" else None,
        answers(child),
    )


def _pods_of(status: Manifest) -> tuple[Any, bool]:
    """How many pods are ready, and whether all are of the newest template."""
    return status.get("readyReplicas"), status.get("updatedReplicas") == status.get("replicas")


def _access(gateway: Manifest) -> tuple[Manifest, ...]:
    """Entries of `access.from`, as they stand in the spec."""
    return tuple(mappings_in((gateway.get("spec") or {}).get("access"), "from"))


def _may_mean(entry: Manifest, namespace: str) -> bool:
    return "namespaceSelector" in entry or namespace in texts_of(entry, "namespaces")


def _standing(namespace: Manifest) -> tuple[Mapping[str, str], bool]:
    """What decides whom a namespace's clients belong to."""
    return _labels(namespace), _is_ending(namespace)


def _is_ending(namespace: Manifest) -> bool:
    phase = (namespace.get("status") or {}).get("phase")
    return "deletionTimestamp" in namespace["metadata"] or phase == _TERMINATING


def _labels(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"].get("labels") or {}
    return labels


def _ignore(change: object) -> None:
    """Nobody else reconciles."""
