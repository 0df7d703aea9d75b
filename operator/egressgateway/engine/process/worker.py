"""
Workers take a key from the queue, reconcile it, and put it back when its outcome says so.

An outcome is a value; an error is either one of the API server (retried with backoff, not before the server allows) or
a bug (the same, and logged with its trace once). Neither ends a worker.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from egressgateway.cluster.leader_election import LeaderElector
from egressgateway.cluster.loop import OnePerTurn
from egressgateway.cluster.queue import Priority, WorkQueue
from egressgateway.cluster.result import Again, Done, Outcome, Stalled, Waiting, result_of
from egressgateway.engine.process.log import reconcile_fields
from egressgateway.engine.process.metrics import Metrics
from egressgateway.errors import ClusterError, Throttled, Unavailable
from egressgateway.refs import Key

log = logging.getLogger(__name__)

# Watches notice what a person changes; the slow retry is for causes that are not watched (a quota, an admission
# webhook).
STALLED_RETRY = timedelta(minutes=5)


class Workers:
    """`concurrency` tasks that empty one queue."""

    def __init__(
        self,
        queue: WorkQueue[Key],
        reconcile: Callable[[Key], Awaitable[Outcome]],
        *,
        concurrency: int,
        metrics: Metrics,
        stalled_retry: timedelta = STALLED_RETRY,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._concurrency = concurrency
        self._metrics = metrics
        self._stalled_retry = stalled_retry
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._stopping = False
        # A pass that finds nothing to do waits for nothing, and all workers may have such a one at once.
        self._turns = OnePerTurn()
        # The last failure of each key: its trace is logged when it is new, not at each retry.
        self._traced: dict[Key, str] = {}

    def start(self) -> None:
        """Start to work, for the first time or again after `stop`."""
        self._stopping = False
        # The first pass over each object makes what later ones compare with. Counted: a queue that a tenant never lets
        # run empty must not keep cyclic garbage for ever.
        self._turns.filling = self._queue.depth
        self._traced.clear()
        self._tasks = {
            asyncio.create_task(self._work(), name=f"worker {number}") for number in range(self._concurrency)
        }

    async def stop(self, grace: timedelta) -> bool:
        """
        Take no more keys, let the running reconciles finish for up to `grace`, then cancel them.

        The keys stay in the queue, those of cancelled reconciles too. Returns whether all of them finished.
        """
        self._stopping = True
        for task in self._tasks - self._busy:
            task.cancel()
        late: set[asyncio.Task[None]] = set()
        if self._busy:
            _, late = await asyncio.wait(self._busy.copy(), timeout=grace.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = set()
        return not late

    @property
    def alive(self) -> bool:
        """All workers run; False before `start` and after `stop`."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine runs in a task)
        while not self._stopping:
            key = await self._queue.get()
            self._busy.add(task)
            try:
                await self._turns.begin()
                await self._handle(key)
            except asyncio.CancelledError:
                # The pass is half done, and no event will tell a later worker: queue the key again. A next leader
                # starts with every key.
                self._queue.add(key, Priority.ROUTINE)
                raise
            finally:
                self._busy.discard(task)
                self._queue.done(key)

    async def _handle(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        token = reconcile_fields.set(
            {"namespace": key.namespace, "name": key.name, "reconcile_id": uuid.uuid4().hex[:12]}
        )
        try:
            outcome = await self._reconcile(key)
        except Exception as error:
            result = "error"
            self._report(key, error, self._retry(key, error))
        else:
            result = result_of(outcome)
            self._traced.pop(key, None)
            self._schedule(key, outcome)
        seconds = loop.time() - started
        self._metrics.reconciled(result, seconds)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("Reconciled", extra={"fields": {"result": result, "duration": round(seconds, 6)}})
        reconcile_fields.reset(token)

    def _schedule(self, key: Key, outcome: Outcome) -> None:
        self._queue.forget(key)
        match outcome:
            case Again(after=after) | Waiting(after=timedelta() as after) | Done(after=timedelta() as after):
                self._queue.add_after(key, after.total_seconds())
            case Stalled():
                self._queue.add_after(key, self._stalled_retry.total_seconds())

    def _retry(self, key: Key, error: Exception) -> float:
        told = error.retry_after if isinstance(error, Throttled | Unavailable) else None
        return self._queue.add_rate_limited(key, at_least=told or 0.0)

    def _report(self, key: Key, error: Exception, retry_seconds: float) -> None:
        fields: dict[str, Any] = {"error": str(error), "retry_in": round(retry_seconds, 3)}
        if isinstance(error, ClusterError):
            fields |= {"reason": error.reason, "failures": self._queue.failures(key)}
            log.warning("Reconcile failed; retrying", extra={"fields": fields})
            return
        signature = repr(error)
        known = self._traced.get(key) == signature
        self._traced[key] = signature
        log.error("Reconcile failed because of a bug; retrying", exc_info=not known, extra={"fields": fields})


async def work_while_leading(
    elector: LeaderElector,
    workers: Workers,
    *,
    begin: Callable[[], None] = lambda: None,
    end: Callable[[], None] = lambda: None,
) -> None:
    """
    Let the workers work whenever this replica leads, until cancelled; the caller then stops them.

    `begin` is called before the first of them works, `end` when the last of them has ended: an answer that arrives in
    the moment in which the lead is lost is still processed by its pass, and `end` comes after that.

    Passes in flight when the leadership is lost are cancelled: another replica may write from now on. A leader that
    loses the Lease takes part in the election again, so an API server that is away for longer than the Lease lasts ends
    no process.
    """
    while True:
        await elector.elected.wait()
        begin()
        workers.start()
        await elector.lost.wait()
        await workers.stop(timedelta(0))
        end()
