"""
Objects that specs and classes name: which keys want them, and what was last read of them.

Bookkeeping without I/O. `reference_watch` keeps it equal to the cluster; a reconcile says what it wants and takes what
is there. What is absent has not been read yet, and its arrival enqueues the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Final

from egressgateway.facts import PodFacts, PodSelection, References
from egressgateway.live.obstacles import common_obstacle, keep_of_containers, pod_obstacle
from egressgateway.live.pods import ENDED, EXCLUDED_RANGES, INCLUDED_RANGES, goes_past_sidecar, has_sidecar
from egressgateway.plan.checks.bounds import MAX_REFERENCES
from egressgateway.refs import Key, Manifest, ObjectRef

Wanted = ObjectRef | PodSelection
"""One object by name, or pods by labels."""

OnWanted = Callable[[Wanted], None]

MOST_LOOKS: Final = 64
MOST_LOOKS_IN_A_NAMESPACE: Final = 8
"""
Gateways whose pods are looked at while they do not start; each is a watch. Of the others, only what the Deployment says
is known: where hundreds do not start, the cause is one.
"""

_LONGEST_TEXT: Final = 1024
_LONGEST_RANGES: Final = 4096
"""Characters of an annotation; a longer one was not written to make a pod work."""


class ReferenceCache:
    """What is wanted, and what is known of it."""

    def __init__(self, *, most: int = MAX_REFERENCES) -> None:
        """`most`: how many things the keys of one namespace may want together; each of them is a watch."""
        self._most = most
        self._wants: dict[Key, frozenset[Wanted]] = {}
        self._too_many: dict[Key, frozenset[Wanted]] = {}
        # By namespace, how many of its keys want each thing.
        self._wanted_in: dict[str, Counter[Wanted]] = {}
        self._wanted_by: dict[Wanted, set[Key]] = {}
        self._looks: dict[Key, PodSelection] = {}
        self._looked_at_by: dict[PodSelection, set[Key]] = {}
        self._objects: dict[ObjectRef, Manifest | None] = {}
        self._pods: dict[PodSelection, tuple[PodFacts, ...]] = {}
        self._unreadable: set[Wanted] = set()
        self.on_wanted: OnWanted = _ignore
        """Called when a key wants what no key wanted before."""
        self.on_looked_at: OnWanted = _ignore
        """Called when a key looks at pods that no key looked at or wanted before."""
        self.on_unwanted: OnWanted = _ignore
        """Called when the last key no longer wants it, or looks at it."""

    def want(self, key: Key, wanted: Set[Wanted]) -> None:
        """From now on `key` wants this, and nothing else; what exceeds its namespace's limit is left out."""
        before = self._wants.get(key, frozenset())
        if wanted == before and key not in self._too_many:
            return
        wanted = self._allowed(key, wanted, before)
        for each in wanted - before:
            keys = self._wanted_by.setdefault(each, set())
            keys.add(key)
            if len(keys) == 1:
                self.on_wanted(each)
        for each in before - wanted:
            keys = self._wanted_by[each]
            keys.discard(key)
            if not keys:
                del self._wanted_by[each]
                if each not in self._looked_at_by:
                    self.on_unwanted(each)
        if wanted:
            self._wants[key] = frozenset(wanted)
        else:
            self._wants.pop(key, None)

    def _allowed(self, key: Key, wanted: Set[Wanted], before: frozenset[Wanted]) -> frozenset[Wanted]:
        """As much of `wanted` as the namespace has room for, pods first: they decide which clients are served."""
        inside = self._wanted_in.setdefault(key.namespace, Counter())
        for each in before - wanted:
            inside[each] -= 1
            if not inside[each]:
                del inside[each]
        allowed = set(wanted & before)
        for each in sorted(wanted - before, key=lambda each: (isinstance(each, ObjectRef), str(each))):
            if each in inside or len(inside) < self._most:
                inside[each] += 1
                allowed.add(each)
        if not inside:
            del self._wanted_in[key.namespace]
        left_out = frozenset(wanted - allowed)
        if left_out:
            self._too_many[key] = left_out
        else:
            self._too_many.pop(key, None)
        return frozenset(allowed)

    def look(self, key: Key, selection: PodSelection | None) -> None:
        """
        From now on `key` looks at these pods, to learn why they do not start, if there is room; None: at none.

        Nothing is judged by them, so they count for no limit of what is wanted, and only an obstacle is news.
        """
        before = self._looks.get(key)
        if before == selection:
            return
        if before is not None:
            del self._looks[key]
            self._looked_at_by[before].discard(key)
            if not self._looked_at_by[before]:
                del self._looked_at_by[before]
                if before not in self._wanted_by:
                    self.on_unwanted(before)
        if selection is not None and self._has_room_to_look(key.namespace):
            self._looks[key] = selection
            keys = self._looked_at_by.setdefault(selection, set())
            keys.add(key)
            if len(keys) == 1 and selection not in self._wanted_by:
                self.on_looked_at(selection)

    def _has_room_to_look(self, namespace: str) -> bool:
        inside = sum(key.namespace == namespace for key in self._looks)
        return len(self._looks) < MOST_LOOKS and inside < MOST_LOOKS_IN_A_NAMESPACE

    def obstacle_of(self, selection: PodSelection) -> str:
        """What keeps most of these pods from starting; empty where nothing does, and where they were not read."""
        return common_obstacle(self._pods.get(selection, ()))

    def too_many(self, key: Key) -> frozenset[Wanted]:
        """What `key` wants, and what is not watched."""
        return self._too_many.get(key, frozenset())

    def release_all(self) -> None:
        """No key wants anything: this replica no longer reconciles."""
        for key in [*self._wants, *self._too_many]:
            self.want(key, frozenset())
        for key in [*self._looks]:
            self.look(key, None)

    def wanted_by(self, wanted: Wanted) -> frozenset[Key]:
        return frozenset(self._wanted_by.get(wanted, ()))

    def read(self, refs: Iterable[ObjectRef], selections: Iterable[PodSelection] = ()) -> References:
        """What is known of these. Pods that may not be read count as none."""
        refs = tuple(refs)
        return References(
            objects={ref: self._objects[ref] for ref in refs if ref in self._objects},
            pods={
                each: self._pods.get(each, ()) for each in selections if each in self._pods or each in self._unreadable
            },
            unreadable=frozenset(ref for ref in refs if ref in self._unreadable),
        )

    def put(self, ref: ObjectRef, found: Manifest | None) -> frozenset[Key]:
        """`ref` was read, None: it does not exist. Returns the keys that the news concerns."""
        news = ref not in self._objects or ref in self._unreadable or _gist(self._objects[ref]) != _gist(found)
        self._objects[ref] = found
        self._unreadable.discard(ref)
        return self.wanted_by(ref) if news else frozenset()

    def put_pods(self, selection: PodSelection, pods: Iterable[Manifest]) -> frozenset[Key]:
        """These are all pods of `selection`. Returns the keys that the news concerns."""
        found = tuple(sorted(pods_of(pods), key=lambda pod: (pod.namespace, pod.name)))
        before, obstacle = self._pods.get(selection), self.obstacle_of(selection)
        self._pods[selection] = found
        self._unreadable.discard(selection)
        wanting = self.wanted_by(selection) if before != found else frozenset[Key]()
        looking = self._looked_at_by.get(selection, ()) if obstacle != common_obstacle(found) else ()
        return wanting.union(looking)

    def refuse(self, wanted: Wanted) -> frozenset[Key]:
        """The operator may not read this. Returns the keys that the news concerns."""
        if wanted in self._unreadable:
            return frozenset()
        self.forget(wanted)
        self._unreadable.add(wanted)
        return self.wanted_by(wanted)

    def forget(self, wanted: Wanted) -> None:
        """Forget this: it is no longer watched."""
        self._unreadable.discard(wanted)
        if isinstance(wanted, ObjectRef):
            self._objects.pop(wanted, None)
        else:
            self._pods.pop(wanted, None)


def pods_of(manifests: Iterable[Manifest]) -> Iterable[PodFacts]:
    """Pods that run or will run; a terminating pod is not ready, whatever its status says."""
    for manifest in manifests:
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        if status.get("phase") in ENDED:
            continue
        conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or ()}
        yield PodFacts(
            metadata["namespace"],
            metadata["name"],
            (manifest.get("spec") or {}).get("serviceAccountName") or "default",
            ready=conditions.get("Ready") == "True" and "deletionTimestamp" not in metadata,
            address="" if "deletionTimestamp" in metadata else status.get("podIP") or "",
            sidecar=(sidecar := has_sidecar(manifest)),
            intercepted=sidecar and not goes_past_sidecar(metadata.get("annotations") or {}),
            obstacle="" if "deletionTimestamp" in metadata else pod_obstacle(manifest),
        )


def keep_of_pod(pod: Manifest) -> Manifest:
    """The fields of a pod that `pods_of` reads: a hundredth of it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    kept = ("namespace", "name", "uid", "resourceVersion", "deletionTimestamp")
    annotations = metadata.get("annotations") or {}
    spec = pod.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{name: metadata[name] for name in kept if name in metadata},
            "annotations": {
                name: annotations[name]
                for name in (INCLUDED_RANGES, EXCLUDED_RANGES)
                if name in annotations and len(annotations[name]) <= _LONGEST_RANGES
            },
        },
        "spec": {
            "serviceAccountName": spec.get("serviceAccountName"),
            **{
                field: [{"name": each.get("name")} for each in spec.get(field) or ()]
                for field in ("containers", "initContainers")
            },
        },
        "status": {
            "phase": status.get("phase"),
            "podIP": status.get("podIP"),
            "conditions": [
                _kept_condition(each)
                for each in status.get("conditions") or ()
                if each.get("type") in ("Ready", "PodScheduled")
            ],
            **keep_of_containers(pod),
        },
    }


def _kept_condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    """Its texts only where the condition is not True: a kubelet writes times into it every few seconds."""
    names = ("type", "status") if condition.get("status") == "True" else ("type", "status", "reason", "message")
    return {name: str(condition[name])[:_LONGEST_TEXT] for name in names if name in condition}


def _gist(manifest: Manifest | None) -> Mapping[str, Any] | None:
    """An object without the fields that change with every write to it."""
    if manifest is None:
        return None
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def _ignore(wanted: Wanted) -> None:
    """No watch listens."""
