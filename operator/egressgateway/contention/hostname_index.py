"""
Things by DNS name, where a name may be a wildcard: who has a name, and who has one above or below it.

`*.example.com` stands above `api.example.com` and above `*.eu.example.com`, never above `example.com`. A lookup costs
as much as what it finds, however many names there are. A name may have 127 labels: it is filed under its widest
wildcards only, and what is looked for under a narrower one is picked out of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_WIDEST = 4
"""Labels of a wildcard, its star aside, under which names are filed."""


class HostnameIndex(Generic[T]):
    """Filed under each name: any number of items."""

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
        """Take `item` from under `names`, all of which it was filed under."""
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
        """Items under this very name."""
        yield from self._items.get(name, ())

    def below(self, wildcard: str) -> Iterator[T]:
        """Items under names that `wildcard` covers, itself excepted; nothing for a name that is no wildcard."""
        if not wildcard.startswith("*."):
            return
        end = wildcard[1:]
        for name in self._names_below.get(_widened(wildcard), ()):
            if name.endswith(end) and name != wildcard:
                yield from self._items[name]

    def above(self, name: str) -> Iterator[T]:
        """Items under wildcards that cover `name`, itself excepted."""
        for wildcard in wildcards_above(name):
            yield from self._items.get(wildcard, ())

    def _forget_name(self, name: str) -> None:
        for wildcard in _filed_under(name):
            names = self._names_below[wildcard]
            names.discard(name)
            if not names:
                del self._names_below[wildcard]


def wildcards_above(name: str) -> Iterator[str]:
    """Wildcards that cover `name`, the narrowest first; `*.com`, which no object may ask for, is left out."""
    rest = name.removeprefix("*.").partition(".")[2]
    while "." in rest:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]


def _filed_under(name: str) -> Iterator[str]:
    """Wildcards under which `name` is filed: of those above it, the ones that no narrower lookup is widened past."""
    labels = name.removeprefix("*.").split(".")
    for count in range(2, min(_WIDEST, len(labels) - 1) + 1):
        yield f"*.{'.'.join(labels[-count:])}"


def _widened(wildcard: str) -> str:
    """The wildcard under which names below `wildcard` are filed."""
    labels = wildcard.removeprefix("*.").split(".")
    return f"*.{'.'.join(labels[-_WIDEST:])}"
