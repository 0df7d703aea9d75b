"""
How much memory the objects of one namespace may take in the operator's caches.

A user who may write in a namespace can fill it: with objects that only look like children, with routes of a million
hosts. Objects beyond the namespace's allowance are cached without their bodies, except for what a class can forbid of
them (that has an allowance of its own), and beyond a number of objects not at all. Only that namespace pays for it:
nothing of other namespaces is dropped. Each namespace that is short of memory is counted, and its EgressGateways report
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from egressgateway.cluster.store import ObjectName, name_of
from egressgateway.engine.cache.keeping import is_left_out, with_what_guards_need, without_anything, without_body
from egressgateway.engine.cache.shapes import listed, mappings
from egressgateway.plan.checks.bounds import MAX_BYTES
from egressgateway.refs import Manifest

DEFAULT_BYTES: Final = 64 << 20
"""About 3,000 hops (names times ports), with the objects that they become."""

MOST_LEFT_OUT: Final = 10_000
"""Objects without a body, at two kilobytes each; further objects are not cached at all."""

_SHARE_OF_GUARDED: Final = 4
"""Objects without their bodies have a fourth of an allowance, in addition."""

_LARGEST_BODY: Final = 8 * MAX_BYTES
"""In memory. An object that is larger than any that we would write is not ours, whatever its labels say."""

_PER_OBJECT: Final = 1024
_PER_TOKEN: Final = 60
"""
Bytes that Python takes for an object, and for each value in it, beyond the value's own (measured: 58 to 64). A child is
kept as text, and takes that much only while a pass reads it; it is counted in full all the same.
"""


_PER_HOST: Final = 1024
"""Bytes for a host in an index: twice what a name of three labels takes (`hostname_index`)."""


def cost_of(manifest: Manifest) -> int:
    """About how many bytes of memory an object takes, with its names in the indexes."""
    return _cost_of_body(manifest) + _PER_HOST * _hosts_in(manifest.get("spec"))


def _cost_of_body(manifest: Manifest) -> int:
    try:
        text = orjson.dumps(manifest)
    except TypeError:
        # Nested deeper (254 levels) than any object that is written or read here.
        return _LARGEST_BODY + 1
    return len(text) + _PER_TOKEN * (text.count(b",") + text.count(b":")) + _PER_OBJECT


def _hosts_in(spec: Any) -> int:
    """How many names a route, or the sections of an EgressGateway, list; a Gateway is not found by its names."""
    if not isinstance(spec, dict):
        return 0
    sections = [spec, *mappings(spec.get("destinations")), *mappings(spec.get("expose"))]
    return sum(len(listed(section.get(name))) for section in sections for name in ("hosts", "aliases"))


@dataclass(frozen=True, slots=True)
class _Charge:
    namespace: str
    cost: int
    whole: bool
    """
    Whether the object has its body; `cost` then counts against the allowance, otherwise against that of what class
    policies need.
    """

    waits: bool = False
    """Whether it would have its body, if there were memory."""


class NamespaceBudget:
    """Accounts for the objects of any number of stores, by namespace."""

    def __init__(self, limit: int = DEFAULT_BYTES, *, gathers: bool = False) -> None:
        """`limit`: bytes for each namespace, as `cost_of` counts them. `gathers`: no object is dropped as a whole."""
        self.limit = limit
        self._gathers = gathers
        self._charges: dict[tuple[Hashable, ObjectName], _Charge] = {}
        self._used: Counter[str] = Counter()
        self._guarded: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    def anew(self) -> NamespaceBudget:
        """A budget with the same limit and nothing spent: for a list that is not kept yet."""
        return NamespaceBudget(self.limit, gathers=True)

    def take(self, holder: Hashable, manifest: Manifest) -> Manifest | None:
        """What is kept of an object that `holder` is about to keep; None if nothing of it is kept."""
        name = name_of(manifest)
        namespace = name[0]
        body = 0 if is_left_out(manifest) else _cost_of_body(manifest)
        cost = body and body + _PER_HOST * _hosts_in(manifest.get("spec"))
        if 0 < body <= _LARGEST_BODY and self._used[namespace] + cost <= self.limit:
            self._used[namespace] += cost
            self._charges[holder, name] = _Charge(namespace, cost, whole=True)
            return manifest
        if self._left_out[namespace] >= MOST_LEFT_OUT:
            return without_anything(manifest) if self._gathers else None
        self._left_out[namespace] += 1
        kept = with_what_guards_need(manifest)
        cost = cost_of(kept) - cost_of(bare := without_body(manifest))
        if self._guarded[namespace] + cost > self.limit // _SHARE_OF_GUARDED:
            kept, cost = bare, 0
        self._guarded[namespace] += cost
        waits = body <= _LARGEST_BODY
        self._waiting[namespace] += waits
        self._charges[holder, name] = _Charge(namespace, cost, whole=False, waits=waits)
        return kept

    def give_back(self, holder: Hashable, name: ObjectName) -> None:
        """`holder` no longer keeps the object."""
        charge = self._charges.pop((holder, name), None)
        if charge is None:
            return
        _less(self._used if charge.whole else self._guarded, charge.namespace, charge.cost)
        if not charge.whole:
            _less(self._left_out, charge.namespace, 1)
            _less(self._waiting, charge.namespace, int(charge.waits))

    def has_room_for(self, holder: Hashable, name: ObjectName) -> bool:
        """Whether an object is known without its body, and its namespace has enough memory again."""
        charge = self._charges.get((holder, name))
        return charge is not None and charge.waits and self._has_room(charge.namespace)

    def has_room(self) -> bool:
        """Whether that is true of any object."""
        return any(number and self._has_room(namespace) for namespace, number in self._waiting.items())

    def _has_room(self, namespace: str) -> bool:
        """
        Half of the limit must be free: an object that comes and goes must not cause a new list of all others each time.
        """
        return self._used[namespace] * 2 <= self.limit

    def left_out(self, namespace: str) -> int:
        """How many objects of a namespace are known without their bodies."""
        return self._left_out[namespace]

    @property
    def namespaces_over(self) -> frozenset[str]:
        """Namespaces some of whose objects are known without their bodies."""
        return frozenset(self._left_out)


def _less(counted: Counter[str], namespace: str, number: int) -> None:
    counted[namespace] -= number
    if not counted[namespace]:
        del counted[namespace]
