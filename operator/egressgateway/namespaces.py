"""
Sets of namespaces, and the labels by which selectors find them.

A set is a frozenset of names. `EVERY_NAMESPACE` in it stands for all of them, and is then the only entry.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final

from egressgateway.api.selector import LabelSelector

EVERY_NAMESPACE: Final = "*"
"""Stands for every namespace of the cluster, in `exportTo` and among consumers."""

EVERYONE: Final = frozenset({EVERY_NAMESPACE})

Namespaces = Mapping[str, Mapping[str, str]]
"""Labels of namespaces, by name."""

MOST_REMEMBERED_NAMES = 1_000_000
"""Names in all remembered selections together: some 60 MB at most, and far more than a cluster's selectors match."""


MOST_REMEMBERED_SELECTIONS = 16_384
"""Each is matched against every namespace that changes."""


class NamespaceLabels(dict[str, Mapping[str, str]]):
    """
    Labels of namespaces by name, which never change, and the remembered matches of selectors.

    Every object evaluates its selectors for each destination and in every pass, so each selector is evaluated once. The
    next table takes the matches over, and evaluates each selector for the changed namespaces alone.
    """

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(labels)
        self._selected: dict[Hashable, tuple[LabelSelector, frozenset[str]]] = {}
        self._remembered = 0
        self._moved: dict[Hashable, frozenset[str]] = {}
        self.changed: frozenset[str] = frozenset(labels)
        """Names of namespaces that were added, removed or have other labels than in the table before."""

    def selected_by(self, selector: LabelSelector) -> frozenset[str]:
        """Names of the namespaces that `selector` matches."""
        key = selector_key(selector)
        known = self._selected.get(key)
        if known is not None:
            return known[1]
        found = frozenset(name for name, labels in self.items() if selector.matches(labels))
        self._remember(key, selector, found)
        return found

    def followed_by(self, news: Mapping[str, Mapping[str, str] | None]) -> NamespaceLabels:
        """
        The table after some namespaces got other labels, or went (None); the same one where that changes nothing.

        What selectors find there is taken over: each is asked about the namespaces that changed, and no others.
        """
        changed = {name: labels for name, labels in news.items() if self.get(name) != labels}
        if not changed:
            return self
        following = NamespaceLabels({**self, **{name: found for name, found in changed.items() if found is not None}})
        for name in changed.keys() & self.keys():
            if changed[name] is None:
                del following[name]
        following.changed = frozenset(changed)
        for key, (selector, before) in self._selected.items():
            now = frozenset(name for name, labels in changed.items() if labels is not None and selector.matches(labels))
            moved = (before & following.changed) ^ now
            following._moved[key] = moved
            following._remember(key, selector, before ^ moved if moved else before)
        return following

    def moved(self, selector: LabelSelector, before: NamespaceLabels) -> frozenset[str]:
        """Namespaces that `selector` matches in this table and not in the one `before`, or the other way round."""
        known = self._moved.get(selector_key(selector))
        if known is not None:
            return known
        return frozenset(
            name for name in self.changed if _matches(selector, before.get(name)) != _matches(selector, self.get(name))
        )

    def _remember(self, key: Hashable, selector: LabelSelector, found: frozenset[str]) -> None:
        self._selected[key] = selector, found
        self._remembered += len(found) + 1
        while self._remembered > MOST_REMEMBERED_NAMES or len(self._selected) > MOST_REMEMBERED_SELECTIONS:
            # The oldest match is dropped first.
            _, dropped = self._selected.pop(next(iter(self._selected)))
            self._remembered -= len(dropped) + 1


def _matches(selector: LabelSelector, labels: Mapping[str, str] | None) -> bool:
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
