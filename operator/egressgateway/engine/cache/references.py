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
from egressgateway.plan.checks.bounds import MAX_REFERENCES
from egressgateway.refs import Key, Manifest, ObjectRef

Wanted = ObjectRef | PodSelection
"""One object by name, or pods by labels."""

OnWanted = Callable[[Wanted], None]

_ENDED: Final = frozenset({"Succeeded", "Failed"})
_PROXY: Final = "istio-proxy"
_INCLUDED: Final = "traffic.sidecar.istio.io/includeOutboundIPRanges"
_EXCLUDED: Final = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
_EVERYWHERE: Final = "0.0.0.0/0"
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
        self._objects: dict[ObjectRef, Manifest | None] = {}
        self._pods: dict[PodSelection, tuple[PodFacts, ...]] = {}
        self._unreadable: set[Wanted] = set()
        self.on_wanted: OnWanted = _ignore
        """Called when a key wants what no key wanted before."""
        self.on_unwanted: OnWanted = _ignore
        """Called when the last key no longer wants it."""

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

    def too_many(self, key: Key) -> frozenset[Wanted]:
        """What `key` wants, and what is not watched."""
        return self._too_many.get(key, frozenset())

    def release_all(self) -> None:
        """No key wants anything: this replica no longer reconciles."""
        for key in [*self._wants, *self._too_many]:
            self.want(key, frozenset())

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
        news = self._pods.get(selection) != found
        self._pods[selection] = found
        self._unreadable.discard(selection)
        return self.wanted_by(selection) if news else frozenset()

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
        if status.get("phase") in _ENDED:
            continue
        conditions = {each.get("type"): each.get("status") for each in status.get("conditions") or ()}
        yield PodFacts(
            metadata["namespace"],
            metadata["name"],
            (manifest.get("spec") or {}).get("serviceAccountName") or "default",
            ready=conditions.get("Ready") == "True" and "deletionTimestamp" not in metadata,
            address="" if "deletionTimestamp" in metadata else status.get("podIP") or "",
            sidecar=(sidecar := has_sidecar(manifest)),
            intercepted=sidecar and not _goes_past(metadata.get("annotations") or {}),
        )


def has_sidecar(pod: Manifest) -> bool:
    """Whether the mesh's proxy runs beside the pod's containers: as one of them, or as an init container that stays."""
    spec = pod.get("spec") or {}
    names = {each.get("name") for field in ("containers", "initContainers") for each in spec.get(field) or ()}
    return _PROXY in names and len(names - {"istio-init", "istio-validation"}) > 1


def _goes_past(annotations: Mapping[str, str]) -> bool:
    """Whether all of the pod's own calls go past its sidecar (istio.io, "Resource Annotations")."""
    return annotations.get(_INCLUDED) == "" or _EVERYWHERE in (annotations.get(_EXCLUDED) or "").replace(" ", "").split(
        ","
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
                for name in (_INCLUDED, _EXCLUDED)
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
            "conditions": [each for each in status.get("conditions") or () if each.get("type") == "Ready"],
        },
    }


def _gist(manifest: Manifest | None) -> Mapping[str, Any] | None:
    """An object without the fields that change with every write to it."""
    if manifest is None:
        return None
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def _ignore(wanted: Wanted) -> None:
    """No watch listens."""
