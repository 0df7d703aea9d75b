"""
The content of an informer: the objects of one kind, by namespace and name, and by one index of the caller's choice.

Pure bookkeeping: no I/O, no event loop. It accepts objects from three sides (a list, a watch, and the answer to our own
write) in any order and keeps the newest of each. Large kinds are kept as JSON text, a third of the memory of the parsed
object, and parsed on each read: ten microseconds each. Before the text is its version: most of what arrives is known
already (the event of our own write, an object of a list), which the version alone tells.

An answer shows a moment between the request and its arrival. An object whose deletion was seen meanwhile stays deleted,
whatever the answer shows: a uid never returns (KEP-5504 lets versions be compared; this needs no comparison).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import orjson

from egressgateway.refs import Manifest

ObjectName = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""

Index = Callable[[Manifest], Hashable | None]
"""The key under which the index has an object; None leaves it out of the index."""

Trim = Callable[[Manifest], Manifest]
"""Trims an object to what is kept. Applied before anything else sees it, perhaps more than once."""


class Change(NamedTuple):
    """One difference between what the store held and what it holds now."""

    event: Literal["ADDED", "MODIFIED", "DELETED"]
    old: Manifest | None
    new: Manifest | None
    listed: bool
    """Found by a list (start, relist), not reported by the watch: less urgent than a change that has just happened."""

    @property
    def object(self) -> Manifest:
        """The object, in its newest known state."""
        found = self.new if self.new is not None else self.old
        assert found is not None  # noqa: S101  (a change has at least one side)
        return found


class Budget(Protocol):
    """Decides how much of an object there is memory for."""

    def anew(self) -> Budget:
        """A budget with nothing spent, for objects that are not kept yet; it leaves something of each."""

    def take(self, holder: Hashable, manifest: Manifest) -> Manifest | None:
        """The part of an object that `holder` may keep; None: nothing."""

    def give_back(self, holder: Hashable, name: ObjectName) -> None:
        """`holder` no longer keeps it."""

    def has_room_for(self, holder: Hashable, name: ObjectName) -> bool:
        """Whether `holder` keeps only part of an object, and might keep more now."""

    def has_room(self) -> bool:
        """Whether that is true of any object."""


@dataclass(slots=True, eq=False)
class Asked:
    """A request whose answer has not been kept yet, and what was seen since it was sent."""

    stored: set[ObjectName] = field(default_factory=set)
    """Names stored meanwhile, which may be newer than the answer."""

    deleted: set[str] = field(default_factory=set)
    """Uids of objects deleted meanwhile."""

    def has_lost(self, manifest: Manifest) -> bool:
        """Whether `manifest`, from the answer, was deleted meanwhile."""
        return _uid(manifest) in self.deleted


class Store:
    """Objects of one kind. Callers must not change what they get out."""

    def __init__(
        self,
        index: Index | None = None,
        *,
        trim: Trim | None = None,
        budget: Budget | None = None,
        as_text: bool = False,
        follow: bool = False,
    ) -> None:
        """
        `budget` is asked about each object that would be kept; without one everything is. `as_text`: objects are kept
        as JSON text; each reader gets a copy of its own. `follow`: `touched` tells which objects changed.
        """
        self._index = index
        self._trim = trim
        self._budget = budget
        self.revision = 0
        """Grows with every change: results computed from all objects need to be computed only once a revision."""
        self._keep_as: Callable[[Manifest], Any] = _as_text if as_text else _as_it_is
        self._read: Callable[[Any], Manifest] = _from_text if as_text else _as_it_is
        self._version_of: Callable[[Any], str] = _version_before_text if as_text else _version
        # Each in the form that `_keep_as` makes.
        self._objects: dict[ObjectName, Any] = {}
        self._indexed: dict[Hashable, dict[ObjectName, Any]] = {}
        self._touched: set[ObjectName] | None = set() if follow else None
        self._asked: set[Asked] = set()
        # For each list in flight (by namespace, None: all) what was seen meanwhile.
        self._listing: dict[str | None, Asked] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Manifest]:
        return map(self._read, self._objects.values())

    def get(self, namespace: str, name: str) -> Manifest | None:
        """One object, or None; `namespace` is empty for cluster-scoped kinds."""
        return self._find((namespace, name))

    def by_index(self, value: Hashable) -> tuple[Manifest, ...]:
        """Objects that the index has under `value`."""
        return tuple(map(self._read, self._indexed.get(value, {}).values()))

    @contextmanager
    def asking(self) -> Iterator[Asked]:
        """Around a request and the `put` of its answer: a read of one object, or a write."""
        asked = Asked()
        self._asked.add(asked)
        try:
            yield asked
        finally:
            self._asked.discard(asked)

    def touched(self) -> set[ObjectName]:
        """Names of objects that were stored or forgotten since the last call; none without `follow`."""
        touched = self._touched
        if not touched:
            return set()
        self._touched = set()
        return touched

    def index_values(self) -> Iterable[Hashable]:
        """The values under which the index has objects."""
        return self._indexed.keys()

    def put(self, manifest: Manifest, answer_to: Asked | None = None) -> Change | None:
        """
        Keep what `trimmed` leaves of `manifest`, unless the store has the same or a newer version. Takes ownership of
        it.

        With `answer_to` the manifest is the answer to that request, and is kept only if its object was not deleted
        since; without it, it is an event of a watch, in the server's order.
        """
        if answer_to is not None and answer_to.has_lost(manifest):
            return None
        change = self._put(manifest, listed=False)
        if change is not None:
            for asked in self._asked:
                asked.stored.add(name_of(manifest))
                # Known again: a watch by labels reports an object that lost them and has them back as deleted in
                # between.
                asked.deleted.discard(_uid(manifest))
        return change

    def remove(self, manifest: Manifest) -> Change | None:
        """Forget an object that was deleted, unless a newer one of that name is known."""
        name = name_of(manifest)
        self._bury(manifest)
        old = self._find(name)
        if old is None or is_older(manifest, old):
            return None
        self._forget(name, old)
        return Change("DELETED", old, None, listed=False)

    def trimmed(self, manifest: Manifest) -> Manifest:
        """
        `manifest` without what `trim` removes, and without `metadata.managedFields`, which are half of an object: a
        trim reads them and keeps what is needed of them.
        """
        kept = manifest if self._trim is None else self._trim(manifest)
        kept["metadata"].pop("managedFields", None)
        return kept

    def gathering(self) -> Trim:
        """
        The part of each object of one list that is held until `replace` has all of them.

        So a list needs no more memory than what will be kept of it.
        """
        budget = self._budget.anew() if self._budget is not None else None

        def held(manifest: Manifest) -> Manifest:
            trimmed = self.trimmed(manifest)
            return trimmed if budget is None else budget.take(self, trimmed) or trimmed

        return held

    def begin_list(self, namespace: str | None = None) -> None:
        """A list of `namespace` (None: of everything) is about to be requested; `replace` ends it."""
        self._asked.discard(self._listing.get(namespace, Asked()))
        self._listing[namespace] = asked = Asked()
        self._asked.add(asked)

    def replace(self, listed: Iterable[Manifest], namespace: str | None = None) -> list[Change]:
        """All changes of `replacing` at once."""
        return [change for change in self.replacing(listed, namespace) if change is not None]

    def replacing(self, listed: Iterable[Manifest], namespace: str | None = None) -> Iterator[Change | None]:
        """
        Make the store equal to a list that was requested after `begin_list`, one object at a time: None where it has
        nothing new, which takes time, too.

        The list wins over everything that was known before it was requested, even over higher resource versions: those
        are left over from before a restore of etcd. An object stored meanwhile may be newer, and then stays; one that
        was deleted meanwhile stays deleted. "Meanwhile" lasts until the last change, as other tasks may run between
        two.
        """
        asked = self._listing.pop(namespace, Asked())
        try:
            yield from self._replacing(listed, namespace, asked)
        finally:
            self._asked.discard(asked)

    def _replacing(self, listed: Iterable[Manifest], namespace: str | None, asked: Asked) -> Iterator[Change | None]:
        seen: set[ObjectName] = set()
        for manifest in listed:
            if asked.has_lost(manifest):
                continue
            name = name_of(manifest)
            seen.add(name)
            kept = self._objects.get(name)
            if kept is not None and name not in asked.stored and self._version_of(kept) != _version(manifest):
                yield self._keep(name, self._read(kept), self.trimmed(manifest), listed=True)
            else:
                yield self._put(manifest, listed=True)
        for name in [name for name in self._objects if namespace in (None, name[0]) and name not in seen]:
            old = self._find(name)
            if old is not None and name not in asked.stored:
                self._bury(old)
                self._forget(name, old)
                yield Change("DELETED", old, None, listed=True)

    def wants_list(self) -> bool:
        """Whether objects are kept in part for which there is memory by now: only a list shows them in full."""
        return self._budget is not None and self._budget.has_room()

    def _find(self, name: ObjectName) -> Manifest | None:
        kept = self._objects.get(name)
        return None if kept is None else self._read(kept)

    def _put(self, manifest: Manifest, *, listed: bool) -> Change | None:
        name = name_of(manifest)
        kept = self._objects.get(name)
        if kept is not None and self._has_nothing_new(name, self._version_of(kept), _version(manifest)):
            return None
        old = None if kept is None else self._read(kept)
        return self._keep(name, old, self.trimmed(manifest), listed=listed)

    def _has_nothing_new(self, name: ObjectName, known: str, version: str) -> bool:
        """For an object that is kept in part, the version that is known may have more."""
        if version != known:
            return _is_earlier(version, known)
        return self._budget is None or not self._budget.has_room_for(self, name)

    def _bury(self, manifest: Manifest) -> None:
        """Let no answer in flight bring the object back."""
        uid = _uid(manifest)
        for asked in self._asked if uid else ():
            asked.deleted.add(uid)

    def _keep(self, name: ObjectName, old: Manifest | None, new: Manifest, *, listed: bool) -> Change | None:
        if old is not None:
            self._forget(name, old)
        held = new if self._budget is None else self._budget.take(self, new)
        if held is None:
            return None if old is None else Change("DELETED", old, None, listed)
        self._objects[name] = kept = self._keep_as(held)
        self._touch(name)
        value = self._index(held) if self._index else None
        if value is not None:
            self._indexed.setdefault(value, {})[name] = kept
        return Change("ADDED" if old is None else "MODIFIED", old, held, listed)

    def _touch(self, name: ObjectName) -> None:
        self.revision += 1
        if self._touched is not None:
            self._touched.add(name)

    def _forget(self, name: ObjectName, old: Manifest) -> None:
        del self._objects[name]
        self._touch(name)
        if self._budget is not None:
            self._budget.give_back(self, name)
        value = self._index(old) if self._index else None
        if value is not None:
            filed = self._indexed[value]
            del filed[name]
            if not filed:
                del self._indexed[value]


def name_of(manifest: Manifest) -> ObjectName:
    """The name under which the store has `manifest`."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def is_older(one: Manifest, other: Manifest) -> bool:
    """
    Whether `one` is an earlier version than `other`, of the same name; False if that cannot be decided.

    Resource versions are numbers that can be compared since Kubernetes 1.35 (KEP-5504), and were on every etcd before;
    a server that uses other strings gets no such check.
    """
    return _is_earlier(_version(one), _version(other))


def _is_earlier(version: str, other: str) -> bool:
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)


def _as_it_is(manifest: Manifest) -> Manifest:
    return manifest


_END_OF_VERSION: Final = b"\n"
"""JSON has no line break, neither in a text nor between values."""


def _as_text(manifest: Manifest) -> bytes:
    return orjson.dumps(_version(manifest)) + _END_OF_VERSION + orjson.dumps(manifest)


def _from_text(kept: bytes) -> Manifest:
    manifest: Manifest = orjson.loads(memoryview(kept)[kept.index(_END_OF_VERSION) + 1 :])
    return manifest


def _version_before_text(kept: bytes) -> str:
    version: str = orjson.loads(kept[: kept.index(_END_OF_VERSION)])
    return version


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("uid", ""))


def _version(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("resourceVersion", ""))
