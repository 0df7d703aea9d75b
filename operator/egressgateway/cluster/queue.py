"""
Which key is reconciled next: client-go's work queue with controller-runtime's priorities.

- A key is queued once, however often it is added: events carry no data, only the hint to look.
- A key has at most one pass at a time. A key that is added meanwhile is queued again, once, after `done`.
- A key can be added for later; of several such times the earliest counts.
- A key that a person just changed precedes one that a start or a relist found.
- Tenants (namespaces) take turns, and none of them holds more workers than its share: a tenant that changes a hundred
  objects at once delays only itself.

It knows neither what a key means nor what a reconcile is; `worker` takes keys out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from egressgateway.cluster.backoff import backoff_seconds

K = TypeVar("K", bound=Hashable)

# After so many urgent keys in a row, one that is not urgent gets its turn: constant edits must not starve a start.
URGENT_IN_A_ROW = 16


class Priority(IntEnum):
    """Which keys are served first: those with the lower number."""

    URGENT = 0
    """The object has just changed."""

    ROUTINE = 1
    """Found by a list: at the start, after a relist, at the resync."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not make it."""


class Clock(Protocol):
    """The part of an event loop that the queue needs; times in seconds."""

    def time(self) -> float:
        """Now, on a clock that never goes back."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        """Call at `when`."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Waits after failures of one key, in seconds: `base`, doubled each time, at most `cap`, times U(0.5, 1)."""

    base: float = 0.2
    cap: float = 60.0


class _Turns(Generic[K]):
    """Ready keys of one priority, by tenant: tenants take turns, the keys of one come in order of arrival."""

    def __init__(self) -> None:
        # By tenant in the order of turns; keys with the time of their arrival.
        self._keys: dict[Hashable, dict[K, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, tenant: Hashable, key: K, arrived: float) -> None:
        self._keys.setdefault(tenant, {})[key] = arrived
        self._count += 1

    def has(self, tenant: Hashable, key: K) -> bool:
        return key in self._keys.get(tenant, ())

    def discard(self, tenant: Hashable, key: K) -> float:
        """Remove `key`, which is queued; returns when it arrived."""
        keys = self._keys[tenant]
        arrived = keys.pop(key)
        self._count -= 1
        if not keys:
            del self._keys[tenant]
        return arrived

    def next(self, may_work: Callable[[Hashable], bool]) -> tuple[Hashable, K] | None:
        """The first key of the first tenant that may have one more worker."""
        return next(((tenant, next(iter(keys))) for tenant, keys in self._keys.items() if may_work(tenant)), None)

    def take(self, tenant: Hashable, key: K) -> None:
        """Remove `key`; the other tenants precede this one's next key."""
        self.discard(tenant, key)
        if tenant in self._keys:
            self._keys[tenant] = self._keys.pop(tenant)

    def clear(self) -> None:
        """Remove all keys."""
        self._keys.clear()
        self._count = 0

    def arrivals(self) -> Iterator[float]:
        for keys in self._keys.values():
            yield from keys.values()


def _one_tenant(key: object) -> Hashable:
    """All keys belong to one tenant."""
    return None


class WorkQueue(Generic[K]):
    """Keys to reconcile. For one event loop; no method but `get` waits."""

    def __init__(
        self,
        *,
        retries: Retries | None = None,
        clock: Clock | None = None,
        tenant_of: Callable[[K], Hashable] = _one_tenant,
        share: int | None = None,
    ) -> None:
        """
        `tenant_of` returns the tenant of a key. `share`: how many keys of one tenant may be processed at the same time;
        None: any number. If it is less than the number of workers, another tenant's key finds a free one.
        """
        self._clock = clock or asyncio.get_running_loop()
        self._retries = retries or Retries()
        self._tenant_of = tenant_of
        self._share = share
        self._ready: tuple[_Turns[K], _Turns[K]] = (_Turns(), _Turns())
        self._working: Counter[Hashable] = Counter()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._processing: dict[K, Priority] = {}
        self._added_meanwhile: dict[K, Priority] = {}
        self._delayed: dict[K, tuple[float, Priority]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._timer: tuple[float, Timer] | None = None
        self._failures: dict[K, int] = {}
        self._urgent_served = 0
        self.adds = 0
        """Keys that became ready, since the start."""
        self.retried = 0
        """Failures that were queued for a retry, since the start."""

    @property
    def depth(self) -> int:
        """Keys that are ready and wait for a worker."""
        return len(self._ready[0]) + len(self._ready[1])

    @property
    def processing(self) -> int:
        """Keys that are being worked on."""
        return len(self._processing)

    @property
    def delayed(self) -> int:
        """Keys that will be added later."""
        return len(self._delayed)

    def oldest_seconds(self) -> float:
        """How long the oldest ready key has been waiting; 0 when there is none."""
        oldest = min(itertools.chain(self._ready[0].arrivals(), self._ready[1].arrivals()), default=None)
        return 0.0 if oldest is None else self._clock.time() - oldest

    def add(self, key: K, priority: Priority = Priority.URGENT) -> None:
        """Queue `key` now. A key that waits already keeps its place, or moves up to a better priority."""
        urgent, routine = self._ready
        tenant = self._tenant_of(key)
        if key in self._processing:
            self._added_meanwhile[key] = min(priority, self._added_meanwhile.get(key, priority))
        elif urgent.has(tenant, key):
            return
        elif routine.has(tenant, key):
            if priority is Priority.URGENT:
                urgent.add(tenant, key, routine.discard(tenant, key))
        else:
            self._ready[priority].add(tenant, key, self._clock.time())
            self.adds += 1
            self._wake()

    def add_after(self, key: K, delay: float, priority: Priority = Priority.ROUTINE) -> None:
        """Queue `key` in `delay` seconds, unless it is queued for an earlier time."""
        if delay <= 0:
            self.add(key, priority)
            return
        due = self._clock.time() + delay
        known = self._delayed.get(key)
        if known is not None and known[0] <= due:
            self._delayed[key] = (known[0], min(known[1], priority))
            return
        self._delayed[key] = (due, priority)
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._set_timer()

    def add_rate_limited(self, key: K, *, at_least: float = 0.0) -> float:
        """
        Queue `key` again after a failure, not before `at_least` seconds (the server's Retry-After).

        Keeps the priority of its current pass. Returns the seconds to wait.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, backoff_seconds(self._failures[key], self._retries.base, self._retries.cap))
        self.retried += 1
        self.add_after(key, delay, self._processing.get(key, Priority.ROUTINE))
        return delay

    def forget(self, key: K) -> None:
        """`key` succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures of `key` in a row."""
        return self._failures.get(key, 0)

    def clear(self) -> None:
        """Forget all keys that wait, now or for later, and all failures. Only while no worker runs."""
        for ready in self._ready:
            ready.clear()
        self._delayed.clear()
        self._heap.clear()
        self._failures.clear()
        self._urgent_served = 0
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None

    async def get(self) -> K:
        """The next key, which the caller must give back with `done`."""
        while (found := self._next()) is None:
            await self._wait()
        priority, tenant, key = found
        self._urgent_served = self._urgent_served + 1 if priority is Priority.URGENT else 0
        self._ready[priority].take(tenant, key)
        self._processing[key] = priority
        self._working[tenant] += 1
        return key

    def done(self, key: K) -> None:
        """The pass over `key` has ended, with or without success."""
        del self._processing[key]
        tenant = self._tenant_of(key)
        self._working[tenant] -= 1
        if not self._working[tenant]:
            del self._working[tenant]
        again = self._added_meanwhile.pop(key, None)
        if again is not None:
            self.add(key, again)
        if self.depth:
            # Its tenant may have one more worker now.
            self._wake()

    def _next(self) -> tuple[Priority, Hashable, K] | None:
        """The next key, with its priority and tenant; None while no key may be processed."""
        urgent, routine = (turns.next(self._may_work) for turns in self._ready)
        if urgent is not None and not (routine is not None and self._urgent_served >= URGENT_IN_A_ROW):
            return Priority.URGENT, *urgent
        return (Priority.ROUTINE, *routine) if routine is not None else None

    def _may_work(self, tenant: Hashable) -> bool:
        return self._share is None or self._working[tenant] < self._share

    async def _wait(self) -> None:
        """Wait until something may have changed. The turn of a cancelled waiter passes to the next one."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled():
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        due = self._heap[0][0]
        if self._timer is not None:
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        self._timer = (due, self._clock.call_at(due, self._release_due))

    def _release_due(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            # A later time than the one that counts is left in the heap: removing it would cost more.
            if self._delayed.get(key, (None,))[0] == due:
                _, priority = self._delayed.pop(key)
                self.add(key, priority)
        if self._heap:
            self._set_timer()
