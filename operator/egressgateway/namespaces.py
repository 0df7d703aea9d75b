"""
Sets of namespaces, and the labels by which selectors find them.

A set is a frozenset of names, in which `EVERY_NAMESPACE` stands for all of them, and then alone.
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

_REMEMBERED_SELECTIONS: Final = 128
"""
Several times what one object may ask for. Each may hold every namespace of the cluster.
"""


class NamespaceLabels(dict[str, Mapping[str, str]]):
    """
    Labels of namespaces by name, which nobody changes, and what selectors found among them.

    Whom a selector means is asked for each destination, by every object and in every pass: it is found out once.
    """

    def __init__(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(labels)
        self._selected: dict[Hashable, frozenset[str]] = {}

    def selected_by(self, selector: LabelSelector) -> frozenset[str]:
        """Names of the namespaces that `selector` means."""
        key = tuple(sorted(selector.match_labels.items())), selector.match_expressions
        found = self._selected.pop(key, None)
        if found is None:
            found = frozenset(name for name, labels in self.items() if selector.matches(labels))
        # The last one asked for comes last, and the first one goes first.
        self._selected[key] = found
        if len(self._selected) > _REMEMBERED_SELECTIONS:
            del self._selected[next(iter(self._selected))]
        return found


def overlap(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Namespaces in both, where `EVERY_NAMESPACE` holds each of them."""
    if EVERY_NAMESPACE in one:
        return other
    return one if EVERY_NAMESPACE in other else one & other


def without(served: frozenset[str], lost: Iterable[str], namespaces: Namespaces) -> frozenset[str]:
    """`served` less `lost`; every namespace less some is spelled out."""
    lost = frozenset(lost)
    if EVERY_NAMESPACE in lost:
        return frozenset()
    return (frozenset(namespaces) if lost and EVERY_NAMESPACE in served else served) - lost


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """All of `sets` together; one that holds everybody makes the rest superfluous."""
    joined = frozenset[str]().union(*sets)
    return EVERYONE if EVERY_NAMESPACE in joined else joined


def export_to(served: frozenset[str], own: str) -> list[str]:
    """`served` as Istio's `exportTo`, in a stable order."""
    return sorted("." if namespace == own else namespace for namespace in served)
