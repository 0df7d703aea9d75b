"""
Items by DNS name, which may be a wildcard: finds the items of a name, and those of names above or below it.

`*.example.com` stands above `api.example.com` and above `*.eu.example.com`, never above `example.com`. The cost of a
lookup grows with what it finds, not with the number of names. A name may have 127 labels: it is indexed under its
widest wildcards only, and a lookup under a narrower wildcard filters those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_WIDEST = 4
"""Labels of a wildcard, its star aside, under which names are indexed."""


class HostnameIndex(Generic[T]):
    """Any number of items under each name."""

    def __init__(self) -> None:
        self._items: dict[str, set[T]] = {}
        self._names_below: dict[str, set[str]] = {}

    def add(self, names: Iterable[str], item: T) -> None:
        for name in names:
            if name not in self._items:
                self._items[name] = set()
                for wildcard in _filed_under(name):
                    self._names_below.setdefault(wildcard, set()).add(name)
            self._items[name].add(item)

    def discard(self, names: Iterable[str], item: T) -> None:
        """Remove `item` from `names`, under all of which it was indexed."""
        for name in names:
            items = self._items[name]
            items.discard(item)
            if not items:
                del self._items[name]
                self._forget_name(name)

    @property
    def empty(self) -> bool:
        return not self._items

    def at(self, name: str) -> Iterator[T]:
        """Items under exactly this name."""
        yield from self._items.get(name, ())

    def below(self, wildcard: str) -> Iterator[T]:
        """Items under names that `wildcard` covers, except itself; nothing for a name that is not a wildcard."""
        if not wildcard.startswith("*."):
            return
        end = wildcard[1:]
        for name in self._names_below.get(_widened(wildcard), ()):
            if name.endswith(end) and name != wildcard:
                yield from self._items[name]

    def above(self, name: str) -> Iterator[T]:
        """Items under wildcards that cover `name`, except itself."""
        for wildcard in wildcards_above(name):
            yield from self._items.get(wildcard, ())

    def _forget_name(self, name: str) -> None:
        for wildcard in _filed_under(name):
            names = self._names_below[wildcard]
            names.discard(name)
            if not names:
                del self._names_below[wildcard]


def wildcards_above(name: str) -> Iterator[str]:
    """Wildcards that cover `name`, narrowest first; without `*.com`, which no object may ask for."""
    rest = name.removeprefix("*.").partition(".")[2]
    while "." in rest:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]


def _filed_under(name: str) -> Iterator[str]:
    """Wildcards under which `name` is indexed: of those above it, the ones to which a lookup may be widened."""
    labels = name.removeprefix("*.").split(".")
    for count in range(2, min(_WIDEST, len(labels) - 1) + 1):
        yield f"*.{'.'.join(labels[-count:])}"


def _widened(wildcard: str) -> str:
    """The wildcard under which names below `wildcard` are indexed."""
    labels = wildcard.removeprefix("*.").split(".")
    return f"*.{'.'.join(labels[-_WIDEST:])}"
