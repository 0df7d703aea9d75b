"""
Which key is reconciled next: client-go's work queue with controller-runtime's priorities.

- A key is queued once, however often it is added: events carry no data, only the hint to look.
- No key is worked on twice at the same time. One that is added meanwhile comes again, once, after `done`.
- A key can be added for later; of several such times the earliest counts.
- What a person just changed goes before what a start or a relist found.

It knows neither what a key means nor what a reconcile is; `worker` takes keys out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from egressgateway.cluster.backoff import backoff_seconds

K = TypeVar("K", bound=Hashable)

# After so many urgent keys in a row one that is not urgent gets its turn: constant edits must not starve a start.
URGENT_IN_A_ROW = 16


class Priority(IntEnum):
    """Who is served first: the lower number."""

    URGENT = 0
    """Somebody changed something just now."""

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


class WorkQueue(Generic[K]):
    """Keys to reconcile. For one event loop; no method but `get` waits."""

    def __init__(self, *, retries: Retries | None = None, clock: Clock | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop()
        self._retries = retries or Retries()
        # Both by key, in order of arrival, with the time of arrival.
        self._ready: tuple[dict[K, float], dict[K, float]] = ({}, {})
        self._available = asyncio.Semaphore(0)
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
        """Failures that were queued for another try, since the start."""

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
        """How long the oldest ready key has been waiting; 0 when none does."""
        arrivals = list(itertools.chain(self._ready[0].values(), self._ready[1].values()))
        return self._clock.time() - min(arrivals) if arrivals else 0.0

    def add(self, key: K, priority: Priority = Priority.URGENT) -> None:
        """Queue `key` now. One that waits already keeps its place, or moves up to a better priority."""
        if key in self._processing:
            self._added_meanwhile[key] = min(priority, self._added_meanwhile.get(key, priority))
        elif key in self._ready[Priority.URGENT]:
            return
        elif key in self._ready[Priority.ROUTINE]:
            if priority is Priority.URGENT:
                self._ready[Priority.URGENT][key] = self._ready[Priority.ROUTINE].pop(key)
        else:
            self._ready[priority][key] = self._clock.time()
            self.adds += 1
            self._available.release()

    def add_after(self, key: K, delay: float, priority: Priority = Priority.ROUTINE) -> None:
        """Queue `key` in `delay` seconds, unless it is to come earlier anyway."""
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

        Keeps the priority with which it is being worked on. Returns the seconds to wait.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, backoff_seconds(self._failures[key], self._retries.base, self._retries.cap))
        self.retried += 1
        self.add_after(key, delay, self._processing.get(key, Priority.ROUTINE))
        return delay

    def forget(self, key: K) -> None:
        """`key` succeeded: its next failure is the first again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures of `key` in a row."""
        return self._failures.get(key, 0)

    def clear(self) -> None:
        """Forget all keys that wait, now or for later, and all failures. Only while no worker runs."""
        for ready in self._ready:
            ready.clear()
        self._available = asyncio.Semaphore(0)
        self._delayed.clear()
        self._heap.clear()
        self._failures.clear()
        self._urgent_served = 0
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None

    async def get(self) -> K:
        """The next key, to be given back with `done`."""
        await self._available.acquire()
        priority = self._next_priority()
        ready = self._ready[priority]
        key = next(iter(ready))
        del ready[key]
        self._processing[key] = priority
        return key

    def done(self, key: K) -> None:
        """The work on `key` has ended, well or badly."""
        del self._processing[key]
        again = self._added_meanwhile.pop(key, None)
        if again is not None:
            self.add(key, again)

    def _next_priority(self) -> Priority:
        urgent, routine = self._ready
        if urgent and not (routine and self._urgent_served >= URGENT_IN_A_ROW):
            self._urgent_served += 1
            return Priority.URGENT
        self._urgent_served = 0
        return Priority.ROUTINE

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
            # A later time than the one that counts was left in the heap: cheaper than to take it out.
            if self._delayed.get(key, (None,))[0] == due:
                _, priority = self._delayed.pop(key)
                self.add(key, priority)
        if self._heap:
            self._set_timer()
