"""
A cluster in which there is nothing but what files hold: the operator's own caches, filled from documents.

Of an object that is not there it depends on the question what that means. Where the files are all that there is
(`complete`), it does not exist. Otherwise it may be in the cluster: nothing is concluded from it, and `Unknown` says
what would have to be known.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.parsed import default_class
from egressgateway.engine.cache.references import KEPT, Wanted
from egressgateway.engine.reconcile.observe import Observer
from egressgateway.engine.reconcile.state import GatewayState
from egressgateway.errors import InvariantError
from egressgateway.facts import Facts, PodSelection
from egressgateway.plan.checks.references import has_unread_references
from egressgateway.refs import (
    CHILD_BY_KIND,
    CONFIG_MAP,
    EGRESS_GATEWAY,
    EGRESS_GATEWAY_CLASS,
    NAMESPACE,
    POD,
    REFERENCE_BY_KIND,
    SECRET,
    SIDECAR,
    Key,
    Manifest,
    ObjectRef,
    Resource,
)
from egressgateway.settings import Settings
from egressgateway.tool.documents import Document
from egressgateway.tool.shape import is_ours, named_object, shape_mistakes

_CREATED: Final = "1970-01-01T00:00:00Z"
"""Of objects whose files do not say it: all are of one age, and older than what the question is asked of."""

_UNKNOWN_CLASS: Final[Manifest] = {
    "allowedConsumers": {"from": "All"},
    "allowedCIDRs": ["0.0.0.0/0", "::/0"],
    "allowedGateways": ["*/*"],
}
"""A class that is not there may allow everything that a class can allow; what it forbids is not known."""

_NAME_LABEL: Final = "kubernetes.io/metadata.name"
_KINDS: Final = {
    each.kind: each
    for each in (*CHILD_BY_KIND.values(), *REFERENCE_BY_KIND.values(), SIDECAR, NAMESPACE, POD, CONFIG_MAP)
}
_TEXTS: Final = frozenset({CONFIG_MAP.kind, SECRET.kind})
"""Kinds whose data is text."""

_BENT: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What readers of stored objects raise over one that no API server has checked."""

_LONG_AFTER: Final = 1e9
"""By the clock of `GatewayState`: whatever istiod has to push, it has pushed."""

_MOST_PASSES: Final = 8
"""What an object refers to may refer to something itself: an IngressClass to a GatewayProxy."""


@dataclass(frozen=True, slots=True)
class Scope:
    """
    How documents are read: `namespace` is that of objects that name none; `complete`: there is nothing else.
    """

    namespace: str = "default"
    complete: bool = False


class World:
    """What is known from documents of the objects that they hold."""

    def __init__(self, documents: Iterable[Document], scope: Scope, settings: Settings | None = None) -> None:
        """Documents that cannot be read as an object are left out: `shape.shape_mistakes` says why."""
        self.scope = scope
        self.settings = settings or Settings()
        self.documents: dict[ObjectRef, list[Document]] = {}
        for document in documents:
            self._take(document)
        self.gateways: dict[Key, Document] = {
            Key(ref.namespace, ref.name): found[0]
            for ref, found in self.documents.items()
            if ref.kind == EGRESS_GATEWAY.kind
        }
        self.missing_classes: frozenset[str | None] = frozenset()
        """Classes that objects name and that are not there; None for a default one."""
        self.missing: set[ObjectRef] = set()
        """What objects refer to, and is not there."""
        self._caches = Caches(self.settings.mesh)
        self._caches.references.on_wanted = self._answer
        self._fill()
        self._observer = Observer(self._caches, self.settings)
        self._states = {key: GatewayState(0.0, 0.0) for key in self.gateways}

    @property
    def has_mesh_config(self) -> bool:
        return self._caches.mesh.has_config

    def has_namespace(self, name: str) -> bool:
        """Whether the labels of a namespace are known."""
        return ObjectRef(NAMESPACE.kind, "", name) in self.documents

    def facts_of(self, key: Key, now: datetime) -> Facts:
        """What the operator would know of an EgressGateway, once it had read all of this."""
        facts = self._observe(key, now)
        for _ in range(_MOST_PASSES):
            if not has_unread_references(facts):
                break
            facts = self._observe(key, now)
        return facts

    def _observe(self, key: Key, now: datetime) -> Facts:
        facts = self._observer.observe(key, self._states[key], now, clock=_LONG_AFTER)
        if facts is None:
            raise InvariantError(f"EgressGateway {key} was read from a file, and is not in the caches")
        return facts

    def _take(self, document: Document) -> None:
        if is_ours(document):
            if shape_mistakes(document):
                return
        elif not _is_of(document, _KINDS.get(document.kind)) or not _is_straight(document.manifest):
            return
        ref = named_object(document.manifest, self.scope.namespace)
        if ref is None:
            return
        resource = _KINDS.get(ref.kind)
        if resource is not None and not resource.namespaced:
            ref = ref._replace(namespace="")
        self.documents.setdefault(ref, []).append(document)

    def _fill(self) -> None:
        stored = [_stored(ref, found[0].manifest, number) for number, (ref, found) in enumerate(self.documents.items())]
        for each in _of(stored, NAMESPACE.kind):
            self._caches.namespaces.put(each)
        for name in {key.namespace for key in self.gateways}:
            if not self.has_namespace(name):
                self._caches.namespaces.put(_object(NAMESPACE.kind, name, labels={_NAME_LABEL: name}))
        for each in _of(stored, EGRESS_GATEWAY_CLASS.kind):
            self._caches.classes.put(each)
        if not self.scope.complete:
            self._stand_in_for_classes()
        for each in _of(stored, EGRESS_GATEWAY.kind):
            self._caches.put_gateway(each)
        for each in stored:
            # Whatever the API server would refuse of somebody else's object is not what was asked about.
            with suppress(*_BENT):
                self._file(each)

    def _file(self, manifest: Manifest) -> None:
        """File what is not ours: routes and children, and what the mesh says of itself."""
        kind = manifest["kind"]
        if kind in self._caches.children:
            self._caches.put_child(kind, manifest)
        if kind == CONFIG_MAP.kind:
            self._caches.mesh.config_maps.put(manifest)
        labels = manifest["metadata"].get("labels") or {}
        if kind == "Deployment" and labels.get("app") == "istiod":
            self._caches.mesh.control_planes.put(manifest)
        if kind == "Service" and (manifest.get("spec") or {}).get("type") == "ExternalName":
            change = self._caches.external_names.store.put(manifest)
            if change is not None:
                self._caches.affected_by_external_name(change)

    def _stand_in_for_classes(self) -> None:
        """Let a class that is not there forbid nothing, so that the rest can be judged."""
        named = {
            (each.manifest.get("spec") or {}).get("className") for each in self.gateways.values() if _has_spec(each)
        }
        known = {each["metadata"]["name"] for each in self._caches.classes}
        missing = {name for name in named if isinstance(name, str) and name and name not in known}
        for name in missing:
            self._caches.classes.put(_object(EGRESS_GATEWAY_CLASS.kind, name, spec=_UNKNOWN_CLASS))
        if None in named and default_class(self._caches.classes) is None:
            marked = {DEFAULT_CLASS_ANNOTATION: "true"}
            self._caches.classes.put(_object(EGRESS_GATEWAY_CLASS.kind, "", spec=_UNKNOWN_CLASS, annotations=marked))
            self.missing_classes = frozenset({*missing, None})
        else:
            self.missing_classes = frozenset(missing)

    def _answer(self, wanted: Wanted) -> None:
        """Read what an object refers to, as the operator's watch would."""
        references = self._caches.references
        if isinstance(wanted, PodSelection):
            references.put_pods(wanted, self._pods(wanted))
        elif (found := self._read(wanted)) is not None or self.scope.complete:
            references.put(wanted, found)
        else:
            self.missing.add(wanted)
            references.refuse(wanted)

    def _read(self, ref: ObjectRef) -> Manifest | None:
        if ref not in self.documents or not self._is_known(ref):
            return None
        manifest, trim = _stored(ref, self.documents[ref][0].manifest, 0), KEPT.get(ref.kind)
        with suppress(*_BENT):
            return trim(manifest) if trim is not None else manifest
        return None

    def _is_known(self, ref: ObjectRef) -> bool:
        """Of a Gateway it matters which pods it selects, which files seldom hold."""
        return ref.kind != "Gateway" or self.scope.complete or any(each.kind == POD.kind for each in self.documents)

    def _pods(self, selection: PodSelection) -> Iterator[Manifest]:
        for ref, found in self.documents.items():
            if ref.kind != POD.kind or selection.namespace not in ("", ref.namespace):
                continue
            manifest = _stored(ref, found[0].manifest, 0)
            labels = manifest["metadata"].get("labels") or {}
            if all(labels.get(name) == value for name, value in selection.labels):
                yield KEPT[POD.kind](manifest)


def _is_straight(manifest: Manifest) -> bool:
    """Whether the parts that every reader relies on have their type, as those of stored objects have."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return False
    maps = [metadata.get("labels"), metadata.get("annotations")]
    bodies = [manifest.get(field) for field in ("spec", "data", "stringData", "status")]
    texts = [*maps, manifest.get("data")] if manifest.get("kind") in _TEXTS else maps
    return all(each is None or isinstance(each, dict) for each in (*maps, *bodies)) and all(
        isinstance(value, str) for each in texts if each for value in each.values()
    )


def _is_of(document: Document, resource: Resource | None) -> bool:
    """Whether a document is of this kind, whatever version it is written in."""
    group, slash, _ = document.api_version.partition("/")
    return resource is not None and (group if slash else "") == resource.group


def _has_spec(document: Document) -> bool:
    return isinstance(document.manifest.get("spec"), dict)


def _of(stored: Iterable[Manifest], kind: str) -> Iterator[Manifest]:
    return (each for each in stored if each["kind"] == kind)


def _object(kind: str, name: str, spec: Manifest | None = None, **metadata: Any) -> Manifest:
    return _stored(ObjectRef(kind, "", name), {"kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}, 0)


def _stored(ref: ObjectRef, manifest: Manifest, number: int) -> Manifest:
    """The object as an API server shows it that has just stored it."""
    given = manifest["metadata"]
    fixed = {
        "uid": f"file-{number}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": _CREATED,
        **{name: value for name, value in given.items() if value is not None},
        "name": ref.name,
    }
    if ref.namespace:
        fixed["namespace"] = ref.namespace
    stored = {**manifest, "metadata": fixed}
    return _with_data(stored) if ref.kind == SECRET.kind else stored


def _with_data(secret: Manifest) -> Manifest:
    """A Secret whose `stringData` is where the API server puts it."""
    texts = secret.get("stringData")
    if not isinstance(texts, dict):
        return secret
    encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in texts.items()}
    return {**secret, "data": {**(secret.get("data") or {}), **encoded}}
