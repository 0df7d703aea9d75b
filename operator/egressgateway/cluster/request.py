"""
A call to the API server as data: building one does no I/O, `client` sends it.

Every builder quotes the names that it puts into the path. `call` is the call as text, for messages; `verb` and
`resource` are its labels in the metrics, in the API server's own vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, urlencode

import orjson

from egressgateway.refs import Manifest, ObjectRef, Resource

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# JSON is a subset of YAML: the server takes JSON bytes under this type (Kubernetes documentation, "Server-Side Apply").
APPLY_PATCH = "application/apply-patch+yaml"

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP call. `path` is quoted already; `query` is not."""

    verb: str
    method: str
    path: str
    resource: str
    call: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str | None = None
    largest_answer: int | None = None
    """Bytes of the answer above which it is not read to its end; None: any number."""

    @property
    def target(self) -> str:
        """Path and query as they go over the wire."""
        return f"{self.path}?{_encoded(self.query)}" if self.query else self.path


def list_objects(  # noqa: PLR0913  (the options of a list)
    resource: Resource,
    namespace: str | None = None,
    *,
    label_selector: str | None = None,
    field_selector: str | None = None,
    limit: int | None = 500,
    continue_: str | None = None,
    resource_version: str | None = None,
) -> Request:
    """
    One page of a collection. `limit=None` asks for everything at once.

    Without `resource_version` the answer is consistent: it holds every write that was acknowledged before the call.
    """
    query = _query(
        labelSelector=label_selector,
        fieldSelector=field_selector,
        limit=str(limit) if limit else None,
        resourceVersion=resource_version,
        **{"continue": continue_},
    )
    return _call("list", "GET", resource, namespace, query=query)


def watch_objects(  # noqa: PLR0913  (the options of a watch)
    resource: Resource,
    namespace: str | None = None,
    *,
    resource_version: str,
    label_selector: str | None = None,
    field_selector: str | None = None,
    timeout_seconds: int | None = None,
) -> Request:
    """Changes after `resource_version`, with bookmarks; the server ends the stream after `timeout_seconds`."""
    query = _query(
        watch="1",
        allowWatchBookmarks="true",
        resourceVersion=resource_version,
        labelSelector=label_selector,
        fieldSelector=field_selector,
        timeoutSeconds=str(timeout_seconds) if timeout_seconds else None,
    )
    return _call("watch", "GET", resource, namespace, query=query)


def get_object(resource: Resource, namespace: str | None, name: str) -> Request:
    """Read one object."""
    return _call("get", "GET", resource, namespace, name)


def apply_object(resource: Resource, namespace: str | None, name: str, body: bytes, field_manager: str) -> Request:
    """
    Server-side apply of `body` (JSON bytes).

    Always with `force`: another manager of one of our fields loses it, because the object is ours.
    """
    query = _query(fieldManager=field_manager, force="true")
    return _call("apply", "PATCH", resource, namespace, name, query=query, body=body, content_type=APPLY_PATCH)


def merge_patch(  # noqa: PLR0913  (the options of a patch)
    resource: Resource,
    namespace: str | None,
    name: str,
    body: Manifest,
    *,
    subresource: str | None = None,
    field_manager: str | None = None,
) -> Request:
    """
    Merge `body` into an object, or into its `subresource` (`status`).

    A `metadata.resourceVersion` in the body makes it conditional: a Conflict when the object has changed since.
    """
    return _call(
        "patch",
        "PATCH",
        resource,
        namespace,
        name,
        subresource=subresource,
        query=_query(fieldManager=field_manager),
        body=orjson.dumps(body),
        content_type=MERGE_PATCH,
    )


def create_object(
    resource: Resource, namespace: str | None, body: Manifest, *, field_manager: str | None = None
) -> Request:
    """Create an object under the name in `body`."""
    return Request(
        verb="create",
        method="POST",
        path=resource.path(_quoted(namespace) if namespace else None, None),
        resource=resource.plural,
        call=_describe("create", resource, namespace, body["metadata"]["name"]),
        query=_query(fieldManager=field_manager),
        body=orjson.dumps(body),
        content_type=JSON,
    )


def replace_object(
    resource: Resource, namespace: str | None, name: str, body: Manifest, *, field_manager: str | None = None
) -> Request:
    """Replace an object; a `metadata.resourceVersion` in `body` makes it conditional (optimistic lock)."""
    query = _query(fieldManager=field_manager)
    return _call("update", "PUT", resource, namespace, name, query=query, body=orjson.dumps(body), content_type=JSON)


def delete_object(  # noqa: PLR0913  (the options of a delete)
    resource: Resource,
    namespace: str | None,
    name: str,
    *,
    uid: str | None = None,
    resource_version: str | None = None,
    propagation: Propagation = "Background",
) -> Request:
    """
    Delete an object; with `uid` only that one, never a successor under the same name, and with `resource_version` only
    as it was seen (else: Conflict).
    """
    options: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    wanted = {"uid": uid, "resourceVersion": resource_version}
    if preconditions := {name: value for name, value in wanted.items() if value is not None}:
        options["preconditions"] = preconditions
    return _call("delete", "DELETE", resource, namespace, name, body=orjson.dumps(options), content_type=JSON)


def _call(  # noqa: PLR0913  (what a call is made of)
    verb: str,
    method: str,
    resource: Resource,
    namespace: str | None,
    name: str | None = None,
    *,
    subresource: str | None = None,
    query: tuple[tuple[str, str], ...] = (),
    body: bytes | None = None,
    content_type: str | None = None,
) -> Request:
    path = resource.path(_quoted(namespace) if namespace else None, _quoted(name) if name else None)
    words, counted = _describe(verb, resource, namespace, name), resource.plural
    if subresource:
        # The API server's own metrics name the resource so: `egressgateways/status`.
        path, words, counted = f"{path}/{_quoted(subresource)}", f"{words} ({subresource})", f"{counted}/{subresource}"
    return Request(verb, method, path, counted, words, query, body, content_type)


def _describe(verb: str, resource: Resource, namespace: str | None, name: str | None) -> str:
    if name:
        return f"{verb} {ObjectRef(resource.kind, namespace or '', name)}"
    return f"{verb} {resource.plural} in {namespace}" if namespace else f"{verb} {resource.plural}"


# The same few names and queries come again with every write; quoting them again would be a tenth of a call's CPU.
@lru_cache(maxsize=8192)
def _quoted(name: str) -> str:
    return quote(name, safe="")


@lru_cache(maxsize=256)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    return urlencode(query)


def _query(**pairs: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in pairs.items() if value is not None)
