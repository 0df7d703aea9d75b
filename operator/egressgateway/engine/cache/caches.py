"""
The caches that reconciles read: one store for each kind, and indexes over their objects.

Filled by kopf (EgressGateways) and by informers (everything else); each change becomes keys to enqueue.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Asked, Change, Store
from egressgateway.contention.claim_index import ClaimIndex
from egressgateway.contention.interest import NO_INTEREST, ClassReach, InterestIndex, interest_of
from egressgateway.contention.raw import key_of
from egressgateway.contention.requested import NOTHING, ContentionKey, claimed_by, contention_key_of, requested_of
from egressgateway.contention.rights import is_covered
from egressgateway.engine.cache.budget import DEFAULT_BYTES, NamespaceBudget
from egressgateway.engine.cache.client_scopes import ClientScopes
from egressgateway.engine.cache.external_names import ExternalNames
from egressgateway.engine.cache.keeping import (
    WITH_STATUS,
    keep_of_child,
    keep_of_class,
    keep_of_gateway,
    keep_of_namespace,
    keep_of_sidecar,
)
from egressgateway.engine.cache.meshconfig import MeshCache
from egressgateway.engine.cache.own_writes import OwnWrites
from egressgateway.engine.cache.parsed import default_class, is_default_class, reach_of_class
from egressgateway.engine.cache.port_index import PortIndex
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.engine.cache.route_index import ROUTE_KINDS, RouteIndex, keep_needed, keep_needed_rule
from egressgateway.engine.cache.trials import Trials
from egressgateway.engine.reconcile.remote_records import recorded_key
from egressgateway.facts import Rights
from egressgateway.live.controller_status import answers
from egressgateway.live.evidence import named_owner, recorded_children
from egressgateway.live.obstacles import is_overdue, is_rolling, rollout_obstacle
from egressgateway.namespaces import NamespaceLabels
from egressgateway.plan.providers import CONTROLLERS
from egressgateway.refs import CHILD_RESOURCES, Key, Manifest, ObjectRef, ref_of
from egressgateway.settings import MeshSettings

_TERMINATING: Final = "Terminating"
_NO_RIGHTS: Final = Rights()
_TRIMS: Final = {**dict.fromkeys(ROUTE_KINDS, keep_needed), "DestinationRule": keep_needed_rule}
"""Of kinds of which those that are not ours are kept, too."""


class Caches:
    """Everything that is known of the cluster."""

    def __init__(self, mesh: MeshSettings | None = None, *, namespace_bytes: int = DEFAULT_BYTES) -> None:
        """
        `mesh` says where the mesh keeps its configuration. `namespace_bytes`: memory for the children of each
        namespace; half of it is for its EgressGateways.
        """
        mesh = mesh or MeshSettings()
        # Separate budgets, so that no child, forged or not, leaves an EgressGateway without its spec.
        self.gateways_budget = NamespaceBudget(namespace_bytes // 2)
        self.children_budget = NamespaceBudget(namespace_bytes)
        self.gateways = Store(
            index=lambda gateway: gateway["metadata"]["namespace"], trim=keep_of_gateway, budget=self.gateways_budget
        )
        self.classes = Store(trim=keep_of_class)
        self.namespaces = Store(trim=keep_of_namespace, follow=True)
        self.children = {
            resource.kind: Store(
                index=named_owner,
                trim=_TRIMS.get(resource.kind) or partial(keep_of_child, with_status=resource.kind in WITH_STATUS),
                budget=self.children_budget,
                as_text=True,
            )
            for resource in CHILD_RESOURCES
        }
        self.sidecars = Store(trim=keep_of_sidecar, budget=self.children_budget, as_text=True)
        self.external_names = ExternalNames(self.children_budget, mesh.cluster_domain)
        self.records = Store(index=recorded_key)
        """Which objects have children in other namespaces: see `remote_records`."""
        self.claims = ClaimIndex()
        self._interests = InterestIndex()
        self.routes = RouteIndex()
        self.scopes = ClientScopes()
        self.ports = PortIndex()
        self.references = ReferenceCache()
        self.own_writes = OwnWrites()
        self.trials = Trials()
        self.mesh = MeshCache(mesh.root_namespace, mesh.revision)
        self.on_own_write: Callable[[Change], None] = _ignore
        """Called with a change of an EgressGateway that we made ourselves: the watch will not report it again."""
        self.on_freed: Callable[[Iterable[Key]], None] = _ignore
        """Called with the keys waiting for a host or port that our own write has just released."""
        self._contention: dict[Key, tuple[_Version, ContentionKey]] = {}
        self._contention_before: dict[Key, tuple[_Version, ContentionKey]] = {}
        self._rights: dict[Key, Rights] = {}
        self._reserved: dict[Key, Rights] = {}
        self._labels = NamespaceLabels({})
        self._class_reaches: dict[str, tuple[str, ClassReach]] = {}

    def known_keys(self) -> set[Key]:
        """EgressGateways that exist, and those whose children exist or are recorded."""
        owners = set[Hashable]().union(*(store.index_values() for store in self.children.values()))
        children = (owner for owner in owners if isinstance(owner, Key))
        return {*map(key_of, self.gateways), *children, *self.without_object()}

    def children_of(self, key: Key) -> dict[ObjectRef, Manifest]:
        """Live objects whose labels name `key`: `live.evidence` decides which of them are its children."""
        return {
            ObjectRef(kind, found["metadata"].get("namespace", ""), found["metadata"]["name"]): found
            for kind, store in self.children.items()
            for found in store.by_index(key)
        }

    def rights_of(self, key: Key) -> Rights:
        """What an EgressGateway has claimed, or is about to claim; nothing for one that does not exist."""
        recorded, reserved = self._rights.get(key, _NO_RIGHTS), self._reserved.get(key)
        # Joined on each call: a claim that has just left the status must not live on in a copy made before.
        return recorded if reserved is None else reserved.joined(recorded)

    def reserve(self, key: Key, rights: Rights) -> None:
        """
        Show others the claims that are being written to the status: of two objects that are judged while the API server
        stores the claim of one, only one gets the name.
        """
        self._reserved[key] = rights

    def release(self, key: Key) -> None:
        """
        From now on only the status of `key` counts.

        Enqueues the objects that want what was reserved and not recorded: they may have been rejected because of it.
        """
        reserved = self._reserved.pop(key, None)
        if reserved is None or is_covered(reserved, self._rights.get(key, _NO_RIGHTS)):
            return
        waiting = self.claims.contenders_of(key, claimed_by(reserved))
        if waiting:
            self.on_freed(waiting)

    def namespace_labels(self) -> NamespaceLabels:
        """
        Labels of every namespace that is not being deleted, by name.

        The same object for as long as nothing in it changes, so that results computed from it can be kept with it.
        """
        affected = self.follow_namespaces()
        if affected:
            self.on_freed(affected)
        return self._labels

    def follow_namespaces(self) -> set[Key]:
        """Take over what became of namespaces since the last call; returns the objects whose answer that can change."""
        news = {name: self._labels_of(name) for _, name in self.namespaces.touched()}
        before, self._labels = self._labels, self._labels.followed_by(news)
        if self._labels is before:
            return set()
        changes = self._interests.changes(before, self._labels, self._classes_with_reach())
        for key in changes.moved:
            gateway = self.gateways.get(*key)
            if gateway is not None:
                self._index(key, gateway)
        return {key for keys in changes.affected.values() for key in keys}

    def _labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """None for one that there is not, or that is being deleted."""
        found = self.namespaces.get("", namespace)
        return None if found is None or _is_ending(found) else _labels(found)

    def _classes_with_reach(self) -> dict[str | None, ClassReach]:
        """
        By name, the classes whose objects reach further than the objects themselves say; under None the default class.
        """
        found: dict[str | None, ClassReach] = {}
        for class_ in self.classes:
            name, version = class_["metadata"]["name"], class_["metadata"].get("resourceVersion", "")
            known = self._class_reaches.get(name)
            if known is None or known[0] != version:
                known = self._class_reaches[name] = version, reach_of_class(class_)
            if known[1] != ClassReach():
                found[name] = known[1]
        default = default_class(self.classes)
        if default is not None and default["metadata"]["name"] in found:
            found[None] = found[default["metadata"]["name"]]
        return found

    def created_of(self, names: Iterable[str]) -> dict[str, datetime]:
        """When namespaces were created, for those of `names` that exist."""
        found = ((name, self.namespaces.get("", name)) for name in set(names))
        times = {
            name: each["metadata"].get("creationTimestamp")
            for name, each in found
            if each is not None and not _is_ending(each)
        }
        return {name: parse_instant(time) for name, time in times.items() if time}

    def is_namespace_ending(self, name: str) -> bool:
        """Whether it is known, and is being deleted with all that is in it."""
        found = self.namespaces.get("", name)
        return found is not None and _is_ending(found)

    def namespaces_over_memory(self) -> int:
        """Namespaces of which some objects are known without their bodies."""
        return len(self.children_budget.namespaces_over | self.gateways_budget.namespaces_over)

    def put_child(self, kind: str, manifest: Manifest, answer_to: Asked | None = None) -> None:
        """A child as we have written or read it, by that request; the watch will not report it again."""
        self._own_change(kind, self.children[kind].put(manifest, answer_to))

    def remove_child(self, kind: str, manifest: Manifest) -> None:
        """A child that we have deleted."""
        self._own_change(kind, self.children[kind].remove(manifest))

    def _own_change(self, kind: str, change: Change | None) -> None:
        if change is not None and kind == "DestinationRule":
            self.scopes.take_rule(change)
        if change is not None and kind in ROUTE_KINDS:
            freed = self.claims.sharing_ports(self.ports.take(change))
            taken = self.routes.take(change, self.rights_of)
            waiting = {*self.claims.waiting_for(taken.unclaimed), *self.claims.waiting_for(taken.left), *freed}
            waiting |= self.claims.on_tcp_ports(taken.ports)
            waiting.discard(named_owner(change.object))
            if waiting:
                self.on_freed(waiting)

    def put_gateway(self, manifest: Manifest, answer_to: Asked | None = None) -> Change | None:
        return self._filed(self.gateways.put(manifest, answer_to))

    def wrote_gateway(self, manifest: Manifest, answer_to: Asked | None = None) -> None:
        """
        The answer to a write of ours: other objects learn from here what it means to them.

        A write that removes the last finalizer of a deleted object ends it. The watch may have said so before this
        answer came, and would not say it again of an object that is put back.
        """
        change = self.remove_gateway(manifest) if _has_ended(manifest) else self.put_gateway(manifest, answer_to)
        if change is not None:
            self.on_own_write(change)

    def remove_gateway(self, manifest: Manifest) -> Change | None:
        return self._filed(self.gateways.remove(manifest))

    def replacing_gateways(self, listed: Iterable[Manifest], namespace: str | None) -> Iterator[Change | None]:
        """See `Store.replacing`."""
        return map(self._filed, self.gateways.replacing(listed, namespace))

    def _filed(self, change: Change | None) -> Change | None:
        if change is None:
            return None
        key = key_of(change.object)
        known = self._contention.pop(key, None)
        if known is not None:
            self._contention_before[key] = known
        if change.new is not None:
            self._index(key, change.new)
            return change
        self._rights.pop(key, None)
        self.claims.put(key, NOTHING)
        self._interests.put(key, NO_INTEREST)
        return change

    def _index(self, key: Key, gateway: Manifest) -> None:
        """Index an EgressGateway by what it asks for, by its claims, and by the namespaces that concern it."""
        namespaces = self.namespace_labels()
        contention = contention_key_of(gateway, namespaces)
        self._contention[key] = _version_of(gateway), contention
        rights = contention.claimed
        self._rights[key] = rights
        self.claims.put(key, requested_of(gateway, namespaces) | claimed_by(rights))
        self._interests.put(key, interest_of(gateway, rights))

    def _contention_of(self, gateway: Manifest | None) -> ContentionKey:
        if gateway is None:
            return ContentionKey()
        key, version = key_of(gateway), _version_of(gateway)
        for known in (self._contention.get(key), self._contention_before.get(key)):
            if known is not None and known[0] == version:
                return known[1]
        return contention_key_of(gateway, self.namespace_labels())

    def affected_by_gateway(self, change: Change) -> Iterator[Key]:
        """The object itself, and those with which it had or has something in common, if that changed."""
        key = key_of(change.object)
        yield key
        before, after = self._contention_of(change.old), self._contention_of(change.new)
        self._contention_before.pop(key, None)
        if before != after:
            common = before.unrejected | claimed_by(before.claimed) | after.unrejected | claimed_by(after.claimed)
            yield from self.claims.contenders_of(key, common)

    def affected_by_record(self, change: Change) -> Iterator[Key]:
        """The key that a record names, if that object no longer exists: nothing else will remove its children."""
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
        """The keys that its labels name now, and named before; none when nothing changed that a reconcile reads."""
        if change.old is not None and change.new is not None and _read_fields(change.old) == _read_fields(change.new):
            return set()
        owners = {named_owner(manifest) for manifest in (change.old, change.new) if manifest is not None}
        return {key for key in owners if key is not None and self._may_be_child(change.object, key)}

    def _may_be_child(self, manifest: Manifest, key: Key) -> bool:
        """Whether the object is in the gateway's own namespace, or recorded as its child: others enqueue no key."""
        if manifest["metadata"].get("namespace", "") == key.namespace:
            return True
        gateway = self.gateways.get(*key)
        return gateway is not None and ref_of(manifest) in recorded_children(gateway.get("status") or {})

    def affected_by_route(self, change: Change) -> set[Key]:
        """For a VirtualService or ServiceEntry: also the keys that want a host or a port that it takes, or took."""
        freed = self.claims.sharing_ports(self.ports.take(change))
        taken = self.routes.take(change, self.rights_of)
        waiting = {*self.claims.wanting(taken.unclaimed), *self.claims.waiting_for(taken.left)}
        waiting |= self.claims.on_tcp_ports(taken.ports)
        return {*self.affected_by_child(change), *waiting, *freed}

    def affected_by_external_name(self, change: Change) -> frozenset[Key]:
        """For a Service of type ExternalName: the keys that take one of its ports whole, or want to."""
        return self.claims.on_tcp_ports(self.external_names.take(change))

    def affected_by_rule(self, change: Change) -> set[Key]:
        """For a DestinationRule: also the keys whose clients' proxies may prefer it to the hop's own."""
        return {*self.affected_by_child(change), *self.scopes.take_rule(change)}

    def affected_by_class(self, change: Change) -> Iterator[Key]:
        """
        Objects that name the class, or were served by it; for the default class, or the former one, those that name
        none.

        A change of its status enqueues no key.
        """
        old, new = change.old, change.new
        if old is not None and new is not None and _spec_and_default(old) == _spec_and_default(new):
            return
        name = change.object["metadata"]["name"]
        is_default = any(each is not None and is_default_class(each) for each in (old, new))
        for gateway in self.gateways:
            named = (gateway.get("spec") or {}).get("className")
            served_by = (gateway.get("status") or {}).get("className")
            if name in (named, served_by) or (named is None and is_default):
                yield key_of(gateway)

    def affected_by_namespace(self, change: Change) -> set[Key]:
        """
        Objects whose answer a change of a namespace can change: see `contention.interest`.

        Those that a list found come by the thousand: `follow_namespaces` takes them over together.
        """
        if (
            change.old is not None
            and change.new is not None
            and _consumer_fields(change.old) == _consumer_fields(change.new)
        ):
            return set()
        return set() if change.listed else self.follow_namespaces()


_Version = tuple[str, str]
"""Uid and resource version."""


def _version_of(gateway: Manifest) -> _Version:
    metadata = gateway["metadata"]
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))


def _has_ended(gateway: Manifest) -> bool:
    metadata = gateway["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers")


def _spec_and_default(class_: Manifest) -> tuple[Any, Any]:
    """
    What of a class matters to objects: its spec, and whether it is the default. The operator writes its status itself.
    """
    return class_.get("spec"), class_["metadata"].get("annotations")


def _read_fields(child: Manifest) -> tuple[Any, ...]:
    """
    What a reconcile reads: everything but the status, of which only a Deployment's pods, a Service's addresses and the
    answer of another controller about its objects matter.

    Istiod and controllers write more status than all else together.
    """
    metadata = child["metadata"]
    status = child.get("status") or {}
    return (
        {name: metadata.get(name) for name in ("uid", "labels", "annotations", "ownerReferences", "deletionTimestamp")},
        {name: value for name, value in child.items() if name not in ("metadata", "status")},
        _pods_of(child, status) if child.get("kind") == "Deployment" else None,
        status.get("loadBalancer") if child.get("kind") == "Service" else None,
        answers(child, CONTROLLERS),
    )


def _pods_of(deployment: Manifest, status: Manifest) -> tuple[Any, ...]:
    """How many pods are ready, whether all are of the newest template, and what keeps others from starting."""
    return (
        status.get("readyReplicas"),
        status.get("updatedReplicas") == status.get("replicas"),
        is_rolling(deployment),
        is_overdue(deployment),
        rollout_obstacle(deployment),
    )


def _consumer_fields(namespace: Manifest) -> tuple[Mapping[str, str], bool]:
    """The fields of a namespace that decide where its clients belong."""
    return _labels(namespace), _is_ending(namespace)


def _is_ending(namespace: Manifest) -> bool:
    phase = (namespace.get("status") or {}).get("phase")
    return "deletionTimestamp" in namespace["metadata"] or phase == _TERMINATING


def _labels(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"].get("labels") or {}
    return labels


def _ignore(change: object) -> None:
    """No reconciler listens."""
