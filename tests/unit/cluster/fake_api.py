"""
An API server at the HTTP seam: pages, watches with history and bookmarks, optimistic locks, and faults on demand.

For the answers that a real server does not give when asked. It holds any kind of object, applies a patch as a
shallow merge, and knows neither schemas nor field managers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

Manifest = dict[str, Any]
Intercept = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
End = Literal["end", "reset"]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


@dataclass
class Watch:
    """One open watch."""

    collection: str
    namespace: str | None
    name: str | None = None
    queue: asyncio.Queue[bytes | End] = field(default_factory=asyncio.Queue)

    def send(self, event: str, manifest: Manifest) -> None:
        self.queue.put_nowait(orjson.dumps({"type": event, "object": manifest}) + b"\n")

    def matches(self, collection: str, namespace: str, name: str) -> bool:
        return self.collection == collection and self.namespace in (None, namespace) and self.name in (None, name)


def status(code: int, reason: str = "", message: str = "", **details: Any) -> Manifest:
    """A Kubernetes Status."""
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


def refusal(code: int, reason: str = "", message: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """An answer that refuses a request."""
    return web.json_response(status(code, reason, message), status=code, headers=headers)


class FakeApi:
    """State and behaviour; `serve` gives it a port."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.history: list[tuple[int, str, str, str, Manifest]] = []
        self.watches: list[Watch] = []
        self.opened = 0
        """Watches that were accepted so far."""
        self.seen: list[Seen] = []
        self.unserved: set[str] = set()
        self.intercept: Intercept | None = None
        self.url = ""

    def put(self, collection: str, namespace: str, name: str, **content: Any) -> Manifest:
        """Create or change an object, as some client might."""
        key = (collection, namespace, name)
        event = "MODIFIED" if key in self.objects else "ADDED"
        old = self.objects.get(key, {"metadata": {"uid": f"uid-{self.version}"}})
        manifest = old | content
        manifest["metadata"] = old["metadata"] | content.get("metadata", {}) | {"namespace": namespace, "name": name}
        self._store(event, key, manifest)
        return self.objects[key]

    def delete(self, collection: str, namespace: str, name: str) -> None:
        """Delete an object."""
        key = (collection, namespace, name)
        self._store("DELETED", key, self.objects.pop(key))

    def compact(self) -> None:
        """Forget all history: watches from an older version get 410."""
        self.oldest = self.version
        self.history.clear()

    def bookmark(self) -> None:
        """Tell every watch the newest version."""
        self.version += 1
        for watch in self.watches:
            watch.send("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def end_watches(self, how: End = "end") -> None:
        """End every watch: properly, or by a reset of the connection."""
        for watch in self.watches:
            watch.queue.put_nowait(how)

    def count(self, method: str, *, watch: bool = False) -> int:
        """Requests of a method so far; watches apart."""
        return sum(1 for seen in self.seen if seen.method == method and seen.is_watch == watch)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The handler function."""
        body = await request.read()
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        if self.intercept is not None:
            answer = await self.intercept(request)
            if answer is not None:
                return answer
        collection, namespace, name = _parse(request.path)
        if collection in self.unserved:
            return web.Response(status=404, text="404 page not found\n")
        if request.method == "GET" and not name:
            if "watch" in request.query:
                return await self._watch(request, collection, namespace)
            return self._list(request, collection, namespace)
        return self._object(request, body, (collection, namespace or "", name))

    def _store(self, event: str, key: tuple[str, str, str], manifest: Manifest) -> None:
        self.version += 1
        manifest = manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(self.version)}}
        if event != "DELETED":
            self.objects[key] = manifest
        self.history.append((self.version, key[0], key[1], event, manifest))
        for watch in self.watches:
            if watch.matches(*key):
                watch.send(event, manifest)

    def _list(self, request: web.Request, collection: str, namespace: str | None) -> web.Response:
        items = [
            manifest
            for (where, inside, name), manifest in sorted(self.objects.items(), key=lambda item: item[0])
            if where == collection and namespace in (None, inside) and _selected(request) in (None, name)
        ]
        start = int(request.query.get("continue", "0"))
        limit = int(request.query.get("limit", len(items) or 1))
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return web.json_response({"kind": "List", "metadata": metadata, "items": items[start : start + limit]})

    async def _watch(self, request: web.Request, collection: str, namespace: str | None) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        if version < self.oldest:
            return refusal(410, "Expired", "too old resource version")
        response = web.StreamResponse()
        await response.prepare(request)
        watch = Watch(collection, namespace, _selected(request))
        for at, where, inside, event, manifest in self.history:
            if at > version and watch.matches(where, inside, manifest["metadata"]["name"]):
                watch.send(event, manifest)
        self.watches.append(watch)
        self.opened += 1
        try:
            while isinstance(line := await watch.queue.get(), bytes):
                with suppress(ConnectionResetError):
                    await response.write(line)
            if line == "reset" and request.transport is not None:
                request.transport.abort()
        finally:
            self.watches.remove(watch)
        return response

    def _object(self, request: web.Request, body: bytes, key: tuple[str, str, str]) -> web.Response:
        sent: Manifest = orjson.loads(body) if body else {}
        if request.method == "POST":
            key = (key[0], key[1], sent["metadata"]["name"])
            if key in self.objects:
                return refusal(409, "AlreadyExists", f"{key[2]} already exists")
            return web.json_response(self.put(*key, **sent), status=201)
        if key not in self.objects:
            return refusal(404, "NotFound", f"{key[2]} not found")
        wanted = sent.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, self.objects[key]["metadata"]["resourceVersion"]):
            return refusal(409, "Conflict", "the object has been modified")
        if request.method == "DELETE":
            self.delete(*key)
            return web.json_response(status(200))
        if request.method != "GET":
            self.put(*key, **sent)
        return web.json_response(self.objects[key])


def _selected(request: web.Request) -> str | None:
    """The one name that a field selector asks for; labels are not looked at."""
    return request.query.get("fieldSelector", "").removeprefix("metadata.name=") or None


def _parse(path: str) -> tuple[str, str | None, str]:
    """Collection, namespace and name of a path like /apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = None
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return parts[0], namespace, parts[1] if len(parts) > 1 else ""


@asynccontextmanager
async def serve(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve every path by `handler` on loopback; gives the base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def write_kubeconfig(directory: Path, server: str, trust: dict[str, str] | None = None, **user: str) -> str:
    """A kubeconfig for `server`; returns its path. `trust`: more about the cluster, as its certificate authority."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, **(trust or {})}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path = directory / "kubeconfig"
    path.write_bytes(orjson.dumps(config))
    return str(path)


async def eventually(condition: Callable[[], object], within_seconds: float = 60.0) -> None:
    """Return once `condition` holds; fail when it does not in time."""
    async with asyncio.timeout(within_seconds):
        while not condition():  # noqa: ASYNC110  (any condition, whoever brings it about)
            await asyncio.sleep(0.002)
