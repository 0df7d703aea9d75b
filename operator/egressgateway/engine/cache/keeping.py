"""
What is kept of each watched object: the fields that some code reads, and no more.

Applied when an object arrives, before anything else sees it. A user who may write in a namespace may hang a quarter of
a megabyte on every object there, and the operator sees all of it. Nothing here fails, whatever the object looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION
from egressgateway.api.status import REQUEST_LIMIT
from egressgateway.cluster.store import Trim
from egressgateway.engine.cache.shapes import is_moment, listed, straight_child_spec, straight_spec, straight_status
from egressgateway.engine.reconcile.reconcile_request import ANNOTATION as REQUEST_ANNOTATION
from egressgateway.live.controller_status import WRITTEN_AT
from egressgateway.names import (
    ANNOTATION_DIGEST,
    LABEL_GATEWAY,
    LABEL_MANAGED_BY,
    LABEL_NAMESPACE,
    LABEL_PART,
    LABEL_STAGE,
)
from egressgateway.refs import APISIX_KINDS, EGRESS_GATEWAY, Manifest

LONGEST_ANNOTATION: Final = 4096
"""Characters; a spec can ask for no longer one on a child (`api.scalars.Annotations`)."""

MOST_ANNOTATIONS: Final = 64
"""Twice what a spec can ask for, and a few of ours."""

SHORT_SPEC: Final = 4096
"""Bytes, as JSON, of a routing object's spec that is kept when there is no memory for more: ours have less."""

_LONGEST_NAME: Final = 253
_LONGEST_LABEL: Final = 63
_LABELS: Final = (LABEL_GATEWAY, LABEL_NAMESPACE, LABEL_STAGE, LABEL_PART, LABEL_MANAGED_BY)
_MOST_FINALIZERS: Final = 16
_LONGEST_LIST: Final = 1024
"""Bytes, as JSON."""

_GUARDED: Final = frozenset({"VirtualService", "ServiceEntry", "DestinationRule", "Sidecar"})
"""Kinds whose bodies a class needs to judge what runs (`plan.revoked`), or that may keep clients from a route."""

_WAYS: Final = ("hosts", "host", "exportTo", "gateways", "location", "ports", "endpoints", "workloadSelector")

_IDENTITY: Final = ("namespace", "name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
_UNREAD: Final = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        # The Deployment's controller writes it at each rollout: not a change that a pass would handle.
        "deployment.kubernetes.io/revision",
    }
)
WITH_STATUS: Final = frozenset({"Deployment", "Service", "ApisixRoute", "ApisixUpstream"})
"""Kinds of children whose status some code reads (`engine.cache.caches._read_fields`)."""


def keep_of_gateway(gateway: Manifest) -> Manifest:
    """An EgressGateway: spec, status, and the metadata that identifies it, ends it, or requests a pass."""
    if is_left_out(gateway):
        return gateway
    metadata = _mapping(gateway.get("metadata"))
    request = _mapping(metadata.get("annotations")).get(REQUEST_ANNOTATION)
    annotations = {} if request is None else {REQUEST_ANNOTATION: str(request)[:REQUEST_LIMIT]}
    kept = {**_some(metadata, (*_IDENTITY, "generation", "finalizers")), "annotations": annotations}
    return {
        **_some(gateway, ("apiVersion", "kind")),
        "metadata": kept,
        "spec": straight_spec(gateway.get("spec")),
        "status": straight_status(gateway.get("status")),
    }


def keep_of_class(class_: Manifest) -> Manifest:
    """An EgressGatewayClass: spec, status, and whether it is the default."""
    metadata = _mapping(class_.get("metadata"))
    annotations = _some(_mapping(metadata.get("annotations")), (DEFAULT_CLASS_ANNOTATION,))
    kept = {**_some(metadata, (*_IDENTITY, "generation", "finalizers")), "annotations": annotations}
    return {
        **_some(class_, ("apiVersion", "kind")),
        "metadata": kept,
        "spec": straight_spec(class_.get("spec")),
        "status": straight_status(class_.get("status")),
    }


def keep_of_namespace(namespace: Manifest) -> Manifest:
    """A Namespace: its labels, and whether it ends."""
    metadata, status = _mapping(namespace.get("metadata")), _mapping(namespace.get("status"))
    return {
        **_some(namespace, ("apiVersion", "kind")),
        "metadata": _some(metadata, (*_IDENTITY, "labels")),
        "status": _some(status, ("phase",)),
    }


def keep_of_sidecar(sidecar: Manifest) -> Manifest:
    """A Sidecar resource: which hosts its proxies learn of, and whether it is for some pods alone."""
    if is_left_out(sidecar):
        return sidecar
    spec = _mapping(sidecar.get("spec"))
    listeners = [_some(each, ("port", "hosts")) for each in listed(spec.get("egress")) if isinstance(each, dict)]
    return {
        **_some(sidecar, ("apiVersion", "kind")),
        "metadata": _some(_mapping(sidecar.get("metadata")), _IDENTITY),
        "spec": {**_some(spec, ("workloadSelector",)), **({"egress": listeners} if listeners else {})},
    }


def keep_of_child(child: Manifest, *, with_status: bool = False) -> Manifest:
    """A child: its content, and the metadata and status that a plan may set, or that some code reads."""
    if is_left_out(child):
        return child
    metadata = _mapping(child.get("metadata"))
    kept = _some(metadata, (*_IDENTITY, "generation", "labels", "ownerReferences"))
    annotations = _annotations(_mapping(metadata.get("annotations")))
    if annotations:
        kept["annotations"] = annotations
    if child.get("kind") in APISIX_KINDS:
        kept |= _times_of_writes(metadata, ("spec", "status"))
    left_out = {"metadata"} if with_status else {"metadata", "status"}
    whole = {name: value for name, value in child.items() if name not in left_out}
    if "spec" in whole:
        whole["spec"] = straight_child_spec(whole["spec"])
    return {**whole, "metadata": kept}


def keep_of_connection(found: Manifest) -> Manifest:
    """
    An IngressClass or a GatewayProxy: whose it is, what it refers to, and when its spec changed.

    A GatewayProxy may hold the key of APISIX's Admin API, which is never kept. The controller writes its status after
    each round of pushes, which is no change.
    """
    if is_left_out(found):
        return found
    metadata, spec = _mapping(found.get("metadata")), _mapping(found.get("spec"))
    named = _some(_mapping(spec.get("parameters")), ("apiGroup", "kind", "namespace", "name"))
    short = {name: str(value)[:_LONGEST_NAME] for name, value in named.items()}
    return {
        **_some(found, ("apiVersion", "kind")),
        "metadata": {**_some(metadata, _IDENTITY), **_times_of_writes(metadata, ("spec",))},
        "spec": {**_text(spec, "controller"), **({"parameters": short} if short else {})},
    }


def _times_of_writes(metadata: Mapping[str, Any], parts: Iterable[str]) -> dict[str, Any]:
    """When these parts were last written, as far as the API server recorded it (`metadata.managedFields`)."""
    # What was kept once has no `managedFields` any more.
    times = {part: time for part, time in _mapping(metadata.get(WRITTEN_AT)).items() if is_moment(time)}
    for entry in listed(metadata.get("managedFields")):
        each = _mapping(entry)
        part = "status" if each.get("subresource") == "status" else "spec"
        written = part == "status" or "f:spec" in _mapping(each.get("fieldsV1"))
        if written and is_moment(time := each.get("time")):
            times[part] = max(times.get(part, ""), time)
    kept = _some(times, parts)
    return {WRITTEN_AT: kept} if kept else {}


def without_body(manifest: Manifest) -> Manifest:
    """Of an object for which no memory is left: its name, its owner by its labels, and the fact that it exists."""
    metadata = _mapping(manifest.get("metadata"))
    kept = {**_some(metadata, (*_IDENTITY, "generation")), "labels": _labels(metadata)}
    # Users who write these fields may write a megabyte of them, too; what is kept without an allowance must be short.
    for name, most in (("ownerReferences", 1), ("finalizers", _MOST_FINALIZERS)):
        found = listed(metadata.get(name))[:most]
        kept[name] = found if _is_short(found, _LONGEST_LIST) else []
    whose = _class_names(manifest) if manifest.get("kind") == EGRESS_GATEWAY.kind else {}
    return {**_some(manifest, ("apiVersion", "kind")), "metadata": kept, **whose, LEFT_OUT: True}


def _class_names(gateway: Manifest) -> dict[str, Any]:
    """The class by which an EgressGateway is judged: without that, another class would judge it."""
    return {field: _named_class(_mapping(gateway.get(field))) for field in ("spec", "status")}


def with_what_guards_need(manifest: Manifest) -> Manifest:
    """
    Of an object for which no memory is left: what a class can forbid of it, or what it may take from others.

    A user who fills the namespace's memory must not thereby keep what an admin forbids, nor hide a route. What is too
    large even so is left out, too (`without_body`).
    """
    if is_left_out(manifest):
        return manifest
    bare = without_body(manifest)
    annotations = _mapping(_mapping(manifest.get("metadata")).get("annotations"))
    digest = annotations.get(ANNOTATION_DIGEST)
    if isinstance(digest, str) and len(digest) <= LONGEST_ANNOTATION:
        bare["metadata"]["annotations"] = {ANNOTATION_DIGEST: digest}
    spec = _mapping(manifest.get("spec"))
    if manifest.get("kind") == EGRESS_GATEWAY.kind:
        # The operator writes the status: the claims, the class, and since when each condition holds.
        return {**bare, "status": manifest.get("status") or {}}
    if manifest.get("kind") not in _GUARDED:
        return bare
    short = next((found for found in (spec, _some(spec, _WAYS)) if _is_short(found, SHORT_SPEC)), {})
    return {**bare, "spec": short} if short else bare


def _named_class(spec: Mapping[str, Any]) -> dict[str, Any]:
    name = spec.get("className")
    return {"className": name} if isinstance(name, str) and len(name) <= _LONGEST_NAME else {}


def _is_short(found: Any, most: int) -> bool:
    try:
        return len(orjson.dumps(found)) <= most
    except TypeError:
        # Nested deeper than any object that is read here.
        return False


def without_anything(manifest: Manifest) -> Manifest:
    """Of an object beyond the limit: its name."""
    metadata = _mapping(manifest.get("metadata"))
    kept = _some(metadata, ("namespace", "name", "uid", "resourceVersion"))
    return {**_some(manifest, ("apiVersion", "kind")), "metadata": kept, LEFT_OUT: True}


LEFT_OUT: Final = "egressgateway.dev/left-out"
"""A field that an object has only in a cache, when its body is not kept."""


def is_left_out(manifest: Manifest) -> bool:
    """Whether the body of a cached object is not kept."""
    return LEFT_OUT in manifest


def unless_left_out(trim: Trim) -> Trim:
    """`trim`, which leaves an object without a body unchanged: it may be applied more than once."""
    return lambda manifest: manifest if is_left_out(manifest) else trim(manifest)


def _labels(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The labels that identify a child."""
    return {
        name: value
        for name, value in _some(_mapping(metadata.get("labels")), _LABELS).items()
        if isinstance(value, str) and len(value) <= _LONGEST_LABEL
    }


def _annotations(found: Mapping[str, Any]) -> dict[str, Any]:
    short = {
        name: value
        for name, value in found.items()
        if name not in _UNREAD and isinstance(value, str) and len(value) <= LONGEST_ANNOTATION
    }
    # Ours come first: labels of others are only kept because a spec may ask for some on a Service.
    ordered = sorted(short, key=lambda name: ("egressgateway" not in name, name))
    return {name: short[name] for name in ordered[:MOST_ANNOTATIONS]}


def _some(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}


def _text(found: Mapping[str, Any], name: str) -> dict[str, str]:
    return {name: str(found[name])[:_LONGEST_NAME]} if name in found else {}


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
