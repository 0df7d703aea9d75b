"""
How much memory the objects of one namespace may take in the operator's caches.

Who may write in a namespace can fill it: with children that are none, with routes of a million hosts. What is above the
namespace's allowance is cached without its body, but for what a class can forbid of it (that has an allowance of its
own), and above a number of objects not at all. The namespace pays for that,
and nobody else: what is kept of others is never given up for it. Each namespace that is short of memory is counted, and
its EgressGateways say so.
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
"""About 3,000 ways (names times ports), with the objects that they become."""

MOST_LEFT_OUT: Final = 10_000
"""Objects without a body, at two kilobytes each; what comes after them is not cached at all."""

_SHARE_OF_GUARDED: Final = 4
"""What is kept of objects without their bodies has a fourth of an allowance, in addition."""

_LARGEST_BODY: Final = 8 * MAX_BYTES
"""In memory. An object that is larger than any that we would write is none of ours, whatever it says."""

_PER_OBJECT: Final = 1024
_PER_TOKEN: Final = 60
"""
Bytes that Python takes for an object, and for each value in it, beyond the value's own (measured: 58 to 64). A child is
kept as text, and takes that only while a pass looks at it; it is counted so all the same.
"""


_PER_HOST: Final = 1024
"""Bytes for a host by which an object is found: twice what a name of three labels takes (`hostname_index`)."""


def cost_of(manifest: Manifest) -> int:
    """About how many bytes of memory an object takes, with the names that it is found by."""
    return _cost_of_body(manifest) + _PER_HOST * _hosts_in(manifest.get("spec"))


def _cost_of_body(manifest: Manifest) -> int:
    try:
        text = orjson.dumps(manifest)
    except TypeError:
        # Nested deeper (254 levels) than anything that is written or read here.
        return _LARGEST_BODY + 1
    return len(text) + _PER_TOKEN * (text.count(b",") + text.count(b":")) + _PER_OBJECT


def _hosts_in(spec: Any) -> int:
    """Names that a route, or the parts of an EgressGateway, list; a Gateway's are no way to find it."""
    if not isinstance(spec, dict):
        return 0
    parts = [spec, *mappings(spec.get("destinations")), *mappings(spec.get("expose"))]
    return sum(len(listed(part.get(name))) for part in parts for name in ("hosts", "aliases"))


@dataclass(frozen=True, slots=True)
class _Charge:
    namespace: str
    cost: int
    whole: bool
    """Whether the object has its body; `cost` is then a part of the allowance, else of that for what guards need."""

    waits: bool = False
    """Whether it would have its body, if there were memory."""


class NamespaceBudget:
    """Accounts for the objects of any number of stores, by namespace."""

    def __init__(self, limit: int = DEFAULT_BYTES, *, gathers: bool = False) -> None:
        """`limit`: bytes for each namespace, as `cost_of` counts them. `gathers`: nothing is dropped as a whole."""
        self.limit = limit
        self._gathers = gathers
        self._charges: dict[tuple[Hashable, ObjectName], _Charge] = {}
        self._used: Counter[str] = Counter()
        self._guarded: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    def anew(self) -> NamespaceBudget:
        """One of the same limit that has spent nothing: for a list that is not kept yet."""
        return NamespaceBudget(self.limit, gathers=True)

    def take(self, holder: Hashable, manifest: Manifest) -> Manifest | None:
        """What is kept of an object that `holder` is about to keep; None: nothing of it."""
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
        """`holder` keeps the object no more."""
        charge = self._charges.pop((holder, name), None)
        if charge is None:
            return
        _less(self._used if charge.whole else self._guarded, charge.namespace, charge.cost)
        if not charge.whole:
            _less(self._left_out, charge.namespace, 1)
            _less(self._waiting, charge.namespace, int(charge.waits))

    def has_room_for(self, holder: Hashable, name: ObjectName) -> bool:
        """Whether an object is known without its body, and its namespace has memory by now."""
        charge = self._charges.get((holder, name))
        return charge is not None and charge.waits and self._has_room(charge.namespace)

    def has_room(self) -> bool:
        """Whether that is so of any object."""
        return any(number and self._has_room(namespace) for namespace, number in self._waiting.items())

    def _has_room(self, namespace: str) -> bool:
        """Half of it: an object that comes and goes must not be a reason to list all others each time."""
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
