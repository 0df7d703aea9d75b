"""
Sets of namespaces, and the labels by which selectors find them.

A set is a frozenset of names. `EVERY_NAMESPACE` in it stands for all of them, and is then the only entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final

from egressgateway.api.selector import LabelSelector
from egressgateway.selector_index import SelectorIndex

EVERY_NAMESPACE: Final = "*"
"""Stands for every namespace of the cluster, in `exportTo` and among consumers."""

EVERYONE: Final = frozenset({EVERY_NAMESPACE})

Namespaces = Mapping[str, Mapping[str, str]]
"""Labels of namespaces, by name."""

MOST_REMEMBERED_NAMES = 1_000_000
"""Names in all remembered selections together: some 60 MB at most, and far more than a cluster's selectors match."""


MOST_REMEMBERED_SELECTIONS = 16_384
"""Each is kept by every table, and matched against the namespaces that change and have a label that it requires."""


class NamespaceLabels(dict[str, Mapping[str, str]]):
    """
    Labels of namespaces by name, which never change, and the remembered matches of selectors.

    Every object evaluates its selectors for each destination and in every pass, so each selector is evaluated once. The
    next table takes the matches over, and evaluates each selector for the changed namespaces alone.
    """

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(labels)
        self._selected: dict[Hashable, frozenset[str]] = {}
        self._remembered = 0
        # Shared with the tables before and after: it may have more selectors than this table remembers, and no less.
        self._selectors = SelectorIndex()
        self.changed: frozenset[str] = frozenset(labels)
        """Names of namespaces that were added, removed or have other labels than in the table before."""

    def selected_by(self, selector: LabelSelector) -> frozenset[str]:
        """Names of the namespaces that `selector` matches."""
        key = selector_key(selector)
        known = self._selected.get(key)
        if known is not None:
            return known
        found = frozenset(name for name, labels in self.items() if selector.matches(labels))
        self._selectors.put(key, selector)
        self._remember(key, found)
        return found

    def followed_by(self, news: Mapping[str, Mapping[str, str] | None]) -> NamespaceLabels:
        """
        The table after some namespaces got other labels, or went (None); the same one where that changes nothing.

        What selectors find there is taken over: those that may match a namespace that changed are asked about that one.
        """
        changed = {name: labels for name, labels in news.items() if self.get(name) != labels}
        if not changed:
            return self
        following = NamespaceLabels({**self, **{name: found for name, found in changed.items() if found is not None}})
        for name in changed.keys() & self.keys():
            if changed[name] is None:
                del following[name]
        following.changed = frozenset(changed)
        following._take_over(self, changed)
        return following

    def _take_over(self, before: NamespaceLabels, changed: Mapping[str, Mapping[str, str] | None]) -> None:
        moved = defaultdict[Hashable, set[str]](set)
        for name, labels in changed.items():
            for key, _ in moving(before._selectors, before.get(name), labels):
                moved[key].add(name)
        self._selected, self._remembered = dict(before._selected), before._remembered
        self._selectors = before._selectors
        for key in moved.keys() & self._selected.keys():
            found = self._selected.pop(key)
            self._remembered -= len(found) + 1
            self._remember(key, found ^ moved[key])
        if len(self._selectors) > 2 * len(self._selected) + _SPARE_SELECTORS:
            self._selectors = before._selectors.only(self._selected)

    def _remember(self, key: Hashable, found: frozenset[str]) -> None:
        self._selected[key] = found
        self._remembered += len(found) + 1
        while self._remembered > MOST_REMEMBERED_NAMES or len(self._selected) > MOST_REMEMBERED_SELECTIONS:
            # The oldest match is dropped first.
            dropped = self._selected.pop(next(iter(self._selected)))
            self._remembered -= len(dropped) + 1


_SPARE_SELECTORS: Final = 64
"""Selectors that nobody remembers any more, before they are looked for and dropped."""


def moving(
    selectors: SelectorIndex, old: Mapping[str, str] | None, new: Mapping[str, str] | None
) -> Iterator[tuple[Hashable, LabelSelector]]:
    """Selectors that match one of two states of a namespace and not the other; None is one that there is not."""
    candidates = dict(selectors.may_match(old or {}))
    candidates.update(selectors.may_match(new or {}))
    for key, selector in candidates.items():
        if matches(selector, old) != matches(selector, new):
            yield key, selector


def matches(selector: LabelSelector, labels: Mapping[str, str] | None) -> bool:
    """Whether `selector` matches a namespace with `labels`; None is one that there is not."""
    return labels is not None and selector.matches(labels)


def selector_key(selector: LabelSelector) -> Hashable:
    """Equal for selectors with the same requirements."""
    return tuple(sorted(selector.match_labels.items())), selector.match_expressions


def selects_everyone(selector: LabelSelector) -> bool:
    """Whether a selector has no requirement, and so matches every namespace."""
    return not selector.match_labels and not selector.match_expressions


def selected(selector: LabelSelector, namespaces: Namespaces) -> frozenset[str]:
    """Namespaces that `selector` matches; `EVERYONE` for one without requirements."""
    if selects_everyone(selector):
        return EVERYONE
    if isinstance(namespaces, NamespaceLabels):
        return namespaces.selected_by(selector)
    return frozenset(name for name, labels in namespaces.items() if selector.matches(labels))


def overlap(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Namespaces in both, where `EVERY_NAMESPACE` includes each of them."""
    if EVERY_NAMESPACE in one:
        return other
    return one if EVERY_NAMESPACE in other else one & other


def without(served: frozenset[str], lost: Iterable[str], namespaces: Namespaces) -> frozenset[str]:
    """`served` without `lost`; every namespace without some is a list of the remaining ones."""
    lost = frozenset(lost)
    if EVERY_NAMESPACE in lost:
        return frozenset()
    return (frozenset(namespaces) if lost and EVERY_NAMESPACE in served else served) - lost


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """All of `sets` together; one that includes every namespace makes the rest superfluous."""
    joined = frozenset[str]().union(*sets)
    return EVERYONE if EVERY_NAMESPACE in joined else joined


def export_to(served: frozenset[str], own: str) -> list[str]:
    """`served` as Istio's `exportTo`, in a stable order."""
    return sorted("." if namespace == own else namespace for namespace in served)
