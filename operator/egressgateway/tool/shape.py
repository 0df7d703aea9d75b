"""What of a document must be there before its spec can be judged: kind, version, names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from egressgateway.api.conditions import Reason
from egressgateway.api.scalars import parse_instant
from egressgateway.errors import SourceError
from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, GROUP, Manifest, ObjectRef, Resource
from egressgateway.tool.codes import BY_REASON, TWICE
from egressgateway.tool.diagnostic import Diagnostic, Related
from egressgateway.tool.documents import Document, is_our_version

_KINDS: Final = {each.kind: each for each in (EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS)}
_ALIKE: Final = 0.9
"""From 0 to 1, how much a group is like ours that is meant to be it; the groups of other projects are at 0.75."""

_METADATA: Final = frozenset({
    "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
    "generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip
"""Fields of ObjectMeta (Kubernetes API reference)."""

_TOP: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


def is_ours(document: Document) -> bool:
    """Whether it is of a kind of this API, or means to be."""
    if is_our_version(document.api_version):
        return True
    group = document.api_version.partition("/")[0]
    return document.kind in _KINDS and (not group or SequenceMatcher(None, group, GROUP).ratio() >= _ALIKE)


def shape_mistakes(document: Document) -> tuple[Diagnostic, ...]:
    """Why a document of ours cannot be read as an object; nothing when it can."""
    return tuple(
        Diagnostic(BY_REASON[Reason.INVALID], f"{field}: {message}", document.place(field), _named(document), field)
        for field, message in _mistakes(document.manifest)
    )


def require_shape(documents: Sequence[Document]) -> Sequence[Document]:
    """
    The documents, for a question that makes no sense of one of ours that the API server would refuse.

    Raises:
        SourceError: there is one; without it an object would seem to be removed that is only misspelled.
    """
    for mistake in (each for document in documents if is_ours(document) for each in shape_mistakes(document)):
        raise SourceError(f"{mistake.place}: {mistake.message}")
    return documents


def named_object(manifest: Manifest, namespace: str) -> ObjectRef | None:
    """The name of any object, `namespace` where it says none; None where it has no name that can be read."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    kind = str(manifest.get("kind"))
    inside = metadata.get("namespace") or namespace
    if not isinstance(inside, str):
        return None
    known = _KINDS.get(kind)
    return ObjectRef(kind, inside if known is None or known.namespaced else "", metadata["name"])


def twice(documents: Mapping[ObjectRef, list[Document]]) -> Iterator[Diagnostic]:
    """Each document that names an object which an earlier one names, too."""
    for ref, (first, *others) in documents.items():
        for other in others:
            message = f"metadata.name: {ref} is also in {first.place('metadata.name')}; remove one of the two"
            related = (Related(ref, first.place("metadata.name")),)
            yield Diagnostic(TWICE, message, other.place("metadata.name"), ref, "metadata.name", related=related)


def _mistakes(manifest: Manifest) -> Iterator[tuple[str, str]]:
    kind, metadata = manifest.get("kind"), manifest.get("metadata")
    known = _KINDS.get(str(kind))
    if known is None:
        why = f"{GROUP} has no kind {str(kind)!r}" if kind else "Required value"
        yield "kind", f"{why}; it has {' and '.join(_KINDS)}"
        return
    version = manifest.get("apiVersion")
    if version != known.api_version:
        why = f"{str(version)!r} is not known" if version else "Required value"
        yield "apiVersion", f"{why}; use {known.api_version}"
    for field in sorted(manifest.keys() - _TOP):
        yield field, f'unknown field "{field}": check its spelling and place'
    if not isinstance(metadata, dict):
        yield "metadata", "must be an object with a name"
    else:
        yield from _metadata_mistakes(metadata, known)


def _metadata_mistakes(metadata: Mapping[str, Any], kind: Resource) -> Iterator[tuple[str, str]]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        yield "metadata.name", "Required value" if name in (None, "") else "must be of type string"
    if namespace is not None and not isinstance(namespace, str):
        yield "metadata.namespace", "must be of type string"
    elif namespace and not kind.namespaced:
        yield "metadata.namespace", f"{kind.kind} is for the whole cluster; remove it"
    for field in sorted(metadata.keys() - _METADATA):
        yield f"metadata.{field}", f'unknown field "{field}": check its spelling and place'
    for field in ("creationTimestamp", "deletionTimestamp"):
        if metadata.get(field) is not None and not _is_instant(metadata[field]):
            yield f"metadata.{field}", "must be a time of RFC 3339, as 2026-01-31T12:00:00Z"
    for field in ("labels", "annotations"):
        found = metadata.get(field)
        texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
        if found is not None and not texts:
            yield f"metadata.{field}", "must be a map of strings; quote numbers, true and false"


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_instant(value))
    except ValueError:
        return False


def _named(document: Document) -> ObjectRef | None:
    return named_object(document.manifest, "")
