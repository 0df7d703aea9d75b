"""
Writes in flight, and what watches report about their objects meanwhile.

The event of a write often comes before its answer. The pass that made the write reads what it left and continues from
there: its own event must not cause another pass. A write by another client in the meantime must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from egressgateway.cluster.store import Change
from egressgateway.refs import Key, Manifest, ObjectRef


@dataclass(slots=True)
class OwnWrite:
    """One write, by a pass over `key`."""

    key: Key
    heard: list[Change] = field(default_factory=list)
    version: str | None = None
    deletes: bool = False

    def answered(self, manifest: Manifest) -> None:
        """The API server stored the object as `manifest`."""
        self.version = manifest["metadata"]["resourceVersion"]

    def deleted(self) -> None:
        """The API server deleted the object."""
        self.deletes = True

    def explains(self, change: Change) -> bool:
        """Whether the change is what the write made."""
        if change.new is None:
            return self.deletes
        version: str = change.new["metadata"]["resourceVersion"]
        return version == self.version


class OwnWrites:
    """Writes in flight: one for each object at most, as a key has one pass at a time."""

    def __init__(self) -> None:
        self.on_news: Callable[[Iterable[Key]], None] = _ignore
        """Called with the key of a pass, if another client wrote to its objects while it was writing to them."""
        self._under_way: dict[ObjectRef, OwnWrite] = {}

    @contextmanager
    def to(self, ref: ObjectRef, key: Key) -> Iterator[OwnWrite]:
        """Around a write to `ref`, by a pass over `key`."""
        own = self._under_way[ref] = OwnWrite(key)
        try:
            yield own
        finally:
            self._under_way.pop(ref, None)
            if not all(map(own.explains, own.heard)):
                self.on_news({key})

    def take(self, ref: ObjectRef, change: Change) -> Key | None:
        """The key whose pass handles a change of `ref`, as it is writing to it now; None when there is none."""
        own = self._under_way.get(ref)
        if own is None:
            return None
        own.heard.append(change)
        return own.key


def _ignore(keys: Iterable[Key]) -> None:
    """No reconciler listens."""
