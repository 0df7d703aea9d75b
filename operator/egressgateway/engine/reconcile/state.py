"""
What the engine remembers of each EgressGateway between two reconciles: times of writes, and what was written.

Nothing here is needed for correctness: after a restart the times count from the start, and everything else is read
from the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from egressgateway.cluster.result import Again, Done, Outcome, Stalled, Waiting
from egressgateway.diff.changeset import Written
from egressgateway.engine.cache.keeping import is_left_out
from egressgateway.engine.reconcile.drift_backoff import DriftBackoff
from egressgateway.engine.reconcile.handovers import Handovers
from egressgateway.facts import ClientScope, Facts
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.render.digest import digest_of
from egressgateway.status.sections import count_is_no_news


@dataclass(frozen=True, slots=True)
class SteadyState:
    """
    A pass that wrote nothing: what it saw, its result, and until when the same facts mean the same.

    Judging and planning depend on facts alone, so equal facts need no second pass. Where time alone changes something
    (a destination expires, istiod has pushed), the pass said when; `until` is None where nothing does. Of live objects,
    which are most of the memory, only a digest is kept.
    """

    facts: Facts
    live: str
    outcome: Done | Again | Waiting
    until: datetime | None
    consumers: Mapping[str, frozenset[str]] | None = None
    """Namespaces that each destination serves, until their pods are counted: the first count may say nothing new."""

    @classmethod
    def after(
        cls, facts: Facts, outcome: Outcome, consumers: Mapping[str, frozenset[str]] | None = None
    ) -> SteadyState | None:
        """
        What a pass over `facts` with the result `outcome` leaves to remember; None where only another attempt can
        decide.
        """
        if isinstance(outcome, Stalled):
            return None
        until = None if outcome.after is None else facts.now + outcome.after
        uncounted = consumers if facts.client_pods is None else None
        return cls(replace(facts, live={}, others={}), _digest_of_live(facts), outcome, until, uncounted)

    def counted(self, facts: Facts) -> SteadyState:
        """The same once clients have been counted, and `facts` mean the same with them."""
        if self.consumers is None or facts.client_pods is None:
            return self
        return replace(self, facts=replace(self.facts, client_pods=facts.client_pods), consumers=None)

    def outcome_for(self, facts: Facts) -> Outcome | None:
        """The result of a pass over `facts`; None when only the pass can decide."""
        if self.until is not None and facts.now >= self.until:
            return None
        known = self.facts
        # A pass that waits for a push says until when; for one that ends at no time it made no difference.
        pushed = known if self.until is None else facts
        seen = replace(
            facts,
            live={},
            others={},
            now=known.now,
            client_pods=known.client_pods if self._count_is_no_news(facts) else facts.client_pods,
            gateway_pushed=pushed.gateway_pushed,
            clients_pushed=pushed.clients_pushed,
        )
        if seen != known or _digest_of_live(facts) != self.live:
            return None
        return self.outcome if self.until is None else replace(self.outcome, after=self.until - facts.now)

    def _count_is_no_news(self, facts: Facts) -> bool:
        first = self.consumers is not None and facts.client_pods is not None
        return first and count_is_no_news(facts, self.consumers or {})


def _digest_of_live(facts: Facts) -> str:
    return digest_of(
        {
            side: [(*ref, *_content_of(found[ref])) for ref in sorted(found)]
            for side, found in (("live", facts.live), ("others", facts.others))
        }
    )


def _content_of(live: Manifest) -> tuple[Any, ...]:
    """What stands for the content of a live object: its version, and all of it where more or less of it may be kept."""
    metadata = live["metadata"]
    version = metadata.get("resourceVersion")
    return (live,) if not version or is_left_out(live) else (metadata.get("uid"), version)


WRITES_AT_ONCE: Final = 16
"""
For one pass. The calls of all passes share one queue to the API server: an object with a thousand children, written as
fast as possible, must not delay the calls of all others.
"""


def _write_slots() -> asyncio.Semaphore:
    return asyncio.Semaphore(WRITES_AT_ONCE)


@dataclass(slots=True)
class GatewayState:
    """The memory of one EgressGateway. Times are seconds of the event loop's clock."""

    gateway_written_at: float
    clients_written_at: float
    unacknowledged: bool = False
    """This process has changed the gateway's side, and its pods have not told yet that they have taken that."""
    routed_at: dict[str, float] = field(default_factory=dict)
    """When this process last changed how clients of a section are routed; proxies learn of it within the grace."""
    client_scopes: Mapping[str, ClientScope] = field(default_factory=dict)
    """What others told the proxies of its clients when it was judged last."""
    first_ready_at: float | None = None
    write_slots: asyncio.Semaphore = field(default_factory=_write_slots)
    written: dict[ObjectRef, Written] = field(default_factory=dict)
    compared: dict[ObjectRef, tuple[str, str]] = field(default_factory=dict)
    """Digest wanted and version found of children that were in sync: `diff.changeset.Compared`."""
    settled: SteadyState | None = None
    drift_backoff: DriftBackoff = field(default_factory=DriftBackoff)
    obstacles: set[str] = field(default_factory=set)
    """What kept pods from starting and was announced, since all of them were ready: once for each process."""
    finalizer_due: float = float("-inf")
    """The earliest time at which the finalizer is put back again on an object that lost it."""
    gone_at: float | None = None
    """When the object was first seen to be gone, with some of its children left."""
    handovers: Handovers = field(default_factory=Handovers)
    forced: str = ""
    """The last request for a pass that was honoured; see `reconcile_request`."""

    def compare_anew(self) -> None:
        """Forget what would save comparisons and writes: the next pass compares everything."""
        self.settled = None
        self.compared.clear()
        self.written.clear()


class StateStore:
    """The state of each key. `now` is read when a key is first seen: everything may have been written just then."""

    def __init__(self) -> None:
        self._states: dict[Key, GatewayState] = {}

    def of(self, key: Key, now: float) -> GatewayState:
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = GatewayState(now, now)
        return state

    def forget(self, key: Key) -> None:
        self._states.pop(key, None)
