"""
Which consumers an EgressGateway asks to serve, read from the raw object: what its `access` names and selects.

The class may allow less, and another object may hold some of it. So this is the upper bound of the namespaces that
concern an object: enough to find which objects a change may concern, without judging any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from egressgateway.api.selector import LabelSelector
from egressgateway.contention.raw import mappings_in, texts_of
from egressgateway.namespaces import Namespaces, selected, selects_everyone, union
from egressgateway.refs import Manifest


@dataclass(frozen=True, slots=True)
class Ask:
    """
    One entry of `access.from`.

    Attributes:
        destinations: those that the entry is for; empty for all.
        namespaces: those that it names; the own one where it neither names nor selects any.
        selector: of further namespaces.
    """

    destinations: frozenset[str] = field(default_factory=frozenset)
    namespaces: frozenset[str] = field(default_factory=frozenset)
    selector: LabelSelector | None = None

    @property
    def of_everyone(self) -> bool:
        """Whether it asks for every namespace there is."""
        return self.selector is not None and selects_everyone(self.selector)

    def places(self, namespaces: Namespaces) -> frozenset[str]:
        """The namespaces that it means."""
        return self.namespaces if self.selector is None else selected(self.selector, namespaces)


def asks_of(gateway: Manifest) -> tuple[Ask, ...]:
    """Entries of `access.from`, or the one that holds without `access`: the own namespace."""
    own = frozenset({gateway["metadata"]["namespace"]})
    access = (gateway.get("spec") or {}).get("access")
    if access is None:
        return (Ask(namespaces=own),)
    return tuple(ask for entry in mappings_in(access, "from") if (ask := _ask_of(entry, own)) is not None)


def places_for(destination: Any, asks: Iterable[Ask], namespaces: Namespaces) -> frozenset[str]:
    """Namespaces that the asks want the destination of that name to serve."""
    return union(ask.places(namespaces) for ask in asks if not ask.destinations or destination in ask.destinations)


def _ask_of(entry: Mapping[str, Any], own: frozenset[str]) -> Ask | None:
    """None for an entry that cannot be read: its object is rejected as a whole."""
    destinations = frozenset(texts_of(entry, "destinations"))
    raw = entry.get("namespaceSelector")
    if raw is None:
        return Ask(destinations, frozenset(texts_of(entry, "namespaces")) or own)
    try:
        selector = LabelSelector.model_validate(raw)
    except ValidationError:
        return None
    return Ask(destinations, selector=selector)
