"""
An API server at the seam of the operator's client: it answers single calls and watches from memory.

It stores bytes, as etcd does, so that the operator parses each answer. Its own work is set aside by the meter. Of what
runs in a cluster beside it, it does the part that the operator waits for: pods become ready, and what has no owner any
more is collected. Everything is written by one manager, so that to apply is to replace what was applied before.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from bench.scale.internals import LARGE_ANSWERS_AT_ONCE, WRITTEN, Conflict, Manifest, NotFound, Request, ServerClock
from bench.scale.loop import MeasuredLoop

POD_START_SECONDS: Final = 2.0
LATE_SECONDS: Final = 5.0
"""How much later than all else namespaces are listed: the order that costs the operator most."""

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SET_BY_SERVER: Final = ("uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp")


class Place(NamedTuple):
    """Where an object is: plural of its kind, namespace (empty for none), name."""

    plural: str
    namespace: str
    name: str


@dataclass(slots=True)
class _Watch:
    namespace: str
    labels: dict[str, str]
    name: str
    events: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)


class _Stored(NamedTuple):
    body: bytes
    version: int


class ApiServer:
    """Objects by kind and name; what the operator calls its client."""

    server = "https://api"

    def __init__(self, loop: MeasuredLoop) -> None:
        self._loop = loop
        self._aside = loop.meter.aside
        self.clock = ServerClock(wall=self._now)
        self.writes: Counter[str] = Counter()
        """Calls of the operator that write, by plural of the kind; Events aside."""
        self._objects: dict[str, dict[tuple[str, str], _Stored]] = defaultdict(dict)
        self._owned: dict[str, set[Place]] = defaultdict(set)
        self._watches: dict[str, list[_Watch]] = defaultdict(list)
        # What happened to objects of a kind, for watches that begin after a list.
        self._history: dict[str, list[tuple[int, Manifest, bytes]]] = defaultdict(list)
        self._pages: dict[str, list[tuple[str, str]]] = {}
        self._version = 10
        self._large_answers = asyncio.Semaphore(LARGE_ANSWERS_AT_ONCE)

    def _now(self) -> datetime:
        return _START + timedelta(seconds=self._loop.time())

    # What a person, or another controller, does.

    def load(self, stored: Iterable[tuple[str, bytes]]) -> None:
        """Objects that were there before anybody watched, by plural of their kind."""
        for plural, body in stored:
            metadata = orjson.loads(body)["metadata"]
            version = int(metadata["resourceVersion"])
            self._version = max(self._version, version)
            self._objects[plural][metadata.get("namespace", ""), metadata["name"]] = _Stored(body, version)
            self._remember_owners(Place(plural, metadata.get("namespace", ""), metadata["name"]), metadata)

    def dump_written(self) -> Iterator[tuple[str, bytes]]:
        """What there is of the kinds that the operator writes; see `load`."""
        for plural in sorted(WRITTEN):
            for stored in self._objects[plural].values():
                yield plural, stored.body

    @property
    def version(self) -> str:
        """The newest resource version."""
        return str(self._version)

    def get(self, place: Place) -> Manifest | None:
        stored = self._objects[place.plural].get(place[1:])
        return None if stored is None else dict(orjson.loads(stored.body))

    def put(self, plural: str, manifest: Manifest) -> None:
        """Create or replace an object; a changed spec is a new generation."""
        with self._aside():
            metadata = manifest["metadata"]
            place = Place(plural, metadata.get("namespace", ""), metadata["name"])
            old = self.get(place)
            self._store(place, old, manifest)

    def delete(self, place: Place) -> None:
        """Ask for the deletion: a finalizer keeps the object."""
        with self._aside():
            found = self.get(place)
            if found is None:
                return
            if found["metadata"].get("finalizers"):
                metadata = {**found["metadata"], "deletionTimestamp": _time(self._now())}
                self._store(place, found, {**found, "metadata": metadata})
            else:
                self._remove(place, found)

    # What the operator's client does.

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        """Answer one call; of the large answers two at a time, as the real client does."""
        if request.largest_answer is None:
            return await self._send(request)
        async with self._large_answers:
            return await self._send(request)

    async def _send(self, request: Request) -> Manifest | None:
        await asyncio.sleep(0)
        if request.method == "POST":
            return None
        place, subresource = _place_of(request)
        if request.method == "GET" and not place.name and place.plural == "namespaces":
            await asyncio.sleep(LATE_SECONDS)
        with self._aside():
            answer = self._answer(request, place, subresource)
        # Parsed by whoever asked: that is the operator's work.
        return None if answer is None else dict(orjson.loads(answer))

    async def stream(self, request: Request, *, inactivity_seconds: float = 90) -> AsyncIterator[Manifest]:
        """A watch, which never ends."""
        query = dict(request.query)
        place, _ = _place_of(request)
        watch = _Watch(place.namespace, _labels_in(query), _name_in(query))
        with self._aside():
            for version, metadata, event in self._history[place.plural]:
                if version > int(query["resourceVersion"]) and _is_in(watch, metadata):
                    watch.events.put_nowait(event)
        self._watches[place.plural].append(watch)
        try:
            while True:
                event = await watch.events.get()
                yield orjson.loads(event)
        finally:
            self._watches[place.plural].remove(watch)

    def _answer(self, request: Request, place: Place, subresource: str) -> bytes | None:
        if request.method == "GET":
            return self._read(request, place)
        self.writes[place.plural] += 1
        if request.method == "DELETE":
            self.delete(place)
            return None
        body = orjson.loads(request.body or b"{}")
        found = self.get(place)
        if request.verb == "apply":
            return self._apply(place, found, body)
        if found is None:
            raise NotFound(request.call, "not found", code=404)
        wanted = body["metadata"].pop("resourceVersion", None)
        if wanted not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict(request.call, "the object has been modified", code=409)
        return self._patch(place, found, _merged(found, body))

    def _read(self, request: Request, place: Place) -> bytes:
        if not place.name:
            return self._list(place, dict(request.query))
        stored = self._objects[place.plural].get(place[1:])
        if stored is None:
            raise NotFound(request.call, "not found", code=404)
        return stored.body

    def _list(self, place: Place, query: dict[str, str]) -> bytes:
        token, _, at = query.get("continue", "").partition("/")
        names = self._pages[token] if token else self._names(place, query)
        begin, limit = int(at or 0), int(query.get("limit") or len(names) or 1)
        end = begin + limit
        metadata: dict[str, Any] = {"resourceVersion": str(self._version)}
        if end < len(names):
            token = token or str(len(self._pages))
            self._pages[token] = names
            metadata["continue"] = f"{token}/{end}"
        kept = self._objects[place.plural]
        items = b",".join(kept[name].body for name in names[begin:end] if name in kept)
        return b'{"metadata":' + orjson.dumps(metadata) + b',"items":[' + items + b"]}"

    def _names(self, place: Place, query: dict[str, str]) -> list[tuple[str, str]]:
        watch = _Watch(place.namespace, _labels_in(query), _name_in(query))
        kept = self._objects[place.plural]
        if watch.name and watch.namespace:
            return [name for name in [(watch.namespace, watch.name)] if name in kept]
        if not watch.labels and not watch.name:
            return [name for name in kept if watch.namespace in ("", name[0])]
        return [name for name, stored in kept.items() if _is_in(watch, orjson.loads(stored.body)["metadata"])]

    def _apply(self, place: Place, old: Manifest | None, body: Manifest) -> bytes:
        metadata = {name: value for name, value in body["metadata"].items() if name not in _SET_BY_SERVER}
        new = {**body, "metadata": metadata}
        if old is not None and "status" in old:
            new["status"] = old["status"]
        if place.plural == "deployments":
            new["spec"] = {"replicas": 1, **new["spec"]}
            self._loop.call_later(POD_START_SECONDS, self._start_pods, place)
        return self._store(place, old, new)

    def _patch(self, place: Place, old: Manifest, new: Manifest) -> bytes:
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            return self._remove(place, new)
        return self._store(place, old, new)

    def _start_pods(self, place: Place) -> None:
        with self._aside():
            found = self.get(place)
            if found is not None:
                count = found["spec"]["replicas"]
                pods = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), count)
                self._store(place, found, {**found, "status": pods})

    def _store(self, place: Place, old: Manifest | None, new: Manifest) -> bytes:
        """Keep `new` under a version of its own and tell watches, unless it is what there is."""
        before = old["metadata"] if old is not None else {}
        generation = before.get("generation", 1) + int(old is not None and old.get("spec") != new.get("spec"))
        set_here = {
            # A uid never comes back, and is another one in each part of a cluster that was built in parts.
            "uid": before.get("uid") or "/".join((*place, str(self._version))),
            "creationTimestamp": before.get("creationTimestamp") or _time(self._now()),
            "generation": generation,
        }
        metadata = {**new["metadata"], **set_here}
        if old is not None and {**new, "metadata": metadata | {"resourceVersion": before["resourceVersion"]}} == old:
            return self._objects[place.plural][place[1:]].body
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        body = orjson.dumps({**new, "metadata": metadata})
        self._objects[place.plural][place[1:]] = _Stored(body, self._version)
        self._remember_owners(place, metadata)
        self._tell(place.plural, "ADDED" if old is None else "MODIFIED", metadata, body)
        return body

    def _remove(self, place: Place, last: Manifest) -> bytes:
        del self._objects[place.plural][place[1:]]
        self._version += 1
        metadata = {**last["metadata"], "resourceVersion": str(self._version)}
        body = orjson.dumps({**last, "metadata": metadata})
        self._tell(place.plural, "DELETED", metadata, body)
        for owned in self._owned.pop(metadata["uid"], ()):
            found = self.get(owned)
            if found is not None:
                self._remove(owned, found)
        return body

    def _remember_owners(self, place: Place, metadata: Manifest) -> None:
        for owner in metadata.get("ownerReferences") or ():
            self._owned[owner["uid"]].add(place)

    def _tell(self, plural: str, type_: str, metadata: Manifest, body: bytes) -> None:
        event = b'{"type":"' + type_.encode() + b'","object":' + body + b"}"
        self._history[plural].append((self._version, metadata, event))
        for watch in self._watches[plural]:
            if _is_in(watch, metadata):
                watch.events.put_nowait(event)


def _place_of(request: Request) -> tuple[Place, str]:
    """Which object or collection a call is about, and of which subresource."""
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "")[:3]
    return Place(plural, namespace, name), subresource


def _labels_in(query: dict[str, str]) -> dict[str, str]:
    selector = query.get("labelSelector", "")
    return dict(each.split("=", 1) for each in selector.split(",") if each)


def _name_in(query: dict[str, str]) -> str:
    return query.get("fieldSelector", "").removeprefix("metadata.name=")


def _is_in(watch: _Watch, metadata: Manifest) -> bool:
    if watch.namespace not in ("", metadata.get("namespace", "")) or watch.name not in ("", metadata["name"]):
        return False
    labels = metadata.get("labels") or {}
    return all(labels.get(name) == value for name, value in watch.labels.items())


def _merged(live: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
