"""Workers: what becomes of a key after its reconcile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from egressgateway.cluster.leader_election import LeaderElector
from egressgateway.cluster.queue import Retries, WorkQueue
from egressgateway.cluster.request import Request
from egressgateway.cluster.result import Again, Done, Outcome, Stalled, Waiting
from egressgateway.engine.process.log import reconcile_fields
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.worker import Workers, work_while_leading
from egressgateway.errors import ClusterError, Invalid, Throttled, Unavailable
from egressgateway.refs import Key, Manifest
from egressgateway.settings import LeaseSettings
from unit.cluster.fake_api import eventually

pytestmark = pytest.mark.asyncio
KEY = Key("shop", "out")
OTHER = Key("shop", "other")


@asynccontextmanager
async def working(
    reconcile: Callable[[Key], Awaitable[Outcome]], concurrency: int = 2, retries: Retries | None = None
) -> AsyncIterator[tuple[WorkQueue[Key], Workers, Metrics]]:
    """A queue with workers on it."""
    queue: WorkQueue[Key] = WorkQueue(retries=retries or Retries(base=0.001, cap=0.004))
    metrics = Metrics()
    workers = Workers(queue, reconcile, concurrency=concurrency, metrics=metrics)
    workers.start()
    try:
        yield queue, workers, metrics
    finally:
        await workers.stop(timedelta(seconds=5))


def counted(metrics: Metrics, result: str) -> float:
    return metrics.registry.get_sample_value("egressgateway_reconcile_total", {"result": result}) or 0


async def test_done_forgets_the_key() -> None:
    """A key that is done comes no more by itself."""
    calls: list[Key] = []

    async def reconcile(key: Key) -> Outcome:
        calls.append(key)
        return Done()

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        queue.add(OTHER)
        await eventually(lambda: counted(metrics, "success") == 2)
        assert calls == [KEY, OTHER]
        assert (queue.depth, queue.delayed, queue.processing) == (0, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "result", "comes_again"),
    [
        (Again(timedelta(hours=1)), "requeue_after", True),
        (Waiting("GatewayNotReady"), "waiting", False),
        (Waiting("GatewayNotReady", timedelta(hours=1)), "waiting", True),
        (Stalled("Invalid"), "stalled", True),
    ],
)
async def test_outcome_decides_whether_the_key_comes_again(outcome: Outcome, result: str, comes_again: bool) -> None:
    """Each outcome is counted under its name, and is no failure."""

    async def reconcile(_: Key) -> Outcome:
        return outcome

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, result) == 1 and not queue.processing)
        assert queue.delayed == int(comes_again)
        assert queue.failures(KEY) == 0


async def test_again_comes_again() -> None:
    """A key that asks for another look gets it when its time has come."""
    outcomes: Iterator[Outcome] = iter([Again(timedelta(milliseconds=2)), Done()])

    async def reconcile(_: Key) -> Outcome:
        return next(outcomes)

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, "success") == 1)


async def test_failed_call_is_tried_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    """Errors of the API server back off; success forgets them. Each is one line, without a trace."""
    errors: list[ClusterError] = [Unavailable("x", "down"), Invalid("x", "bad", reason="Invalid")]

    async def reconcile(_: Key) -> Outcome:
        if errors:
            raise errors.pop(0)
        return Done()

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, "success") == 1)
        assert counted(metrics, "error") == 2
        assert queue.retried == 2
        assert queue.failures(KEY) == 0
    assert [record.exc_info for record in caplog.records] == [None, None]


async def test_failed_call_waits_as_long_as_the_server_asks() -> None:
    """Retry-After counts, when it is longer than the backoff."""

    async def reconcile(_: Key) -> Outcome:
        raise Throttled("x", "slow down", retry_after=3600)

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, "error") == 1 and not queue.processing)
        due, _ = queue._delayed[KEY]
        assert due > asyncio.get_running_loop().time() + 3500


async def test_bug_neither_ends_the_worker_nor_floods_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is logged with its trace once, retried, and other keys go on."""

    async def reconcile(key: Key) -> Outcome:
        if key == KEY:
            raise KeyError("bug")
        return Done()

    async with working(reconcile, concurrency=1) as (queue, workers, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, "error") >= 3)
        queue.add(OTHER)
        await eventually(lambda: counted(metrics, "success") == 1)
        assert workers.alive
    traces = [bool(record.exc_info) for record in caplog.records if record.levelno == logging.ERROR]
    assert traces[:3] == [True, False, False]


async def test_key_is_never_worked_on_twice_at_once() -> None:
    """However many workers there are, one object has one reconcile."""
    running: set[Key] = set()
    runs = 0

    async def reconcile(key: Key) -> Outcome:
        nonlocal runs
        assert key not in running
        running.add(key)
        await asyncio.sleep(0)
        running.discard(key)
        runs += 1
        return Done()

    async with working(reconcile, concurrency=8) as (queue, _, metrics):
        for _ in range(50):
            queue.add(KEY)
            queue.add(OTHER)
            await asyncio.sleep(0)
        await eventually(lambda: not queue.depth and not queue.processing)
        assert counted(metrics, "error") == 0
        assert counted(metrics, "success") == runs


async def test_log_lines_within_a_reconcile_know_its_object() -> None:
    """Namespace, name and an id of the reconcile are at hand, in tasks that it starts, too."""
    seen: list[dict[str, str]] = []

    async def note() -> None:
        seen.append(dict(reconcile_fields.get()))

    async def reconcile(_: Key) -> Outcome:
        await asyncio.gather(note(), note())
        return Done()

    async with working(reconcile) as (queue, _, metrics):
        queue.add(KEY)
        await eventually(lambda: counted(metrics, "success") == 1)
    assert seen[0] == seen[1]
    assert (seen[0]["namespace"], seen[0]["name"], len(seen[0]["reconcile_id"])) == ("shop", "out", 12)
    assert dict(reconcile_fields.get()) == {}


async def test_stop_lets_the_running_reconcile_finish() -> None:
    """A graceful stop waits for what runs and starts nothing new."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[Key] = []

    async def reconcile(key: Key) -> Outcome:
        begun.set()
        await go_on.wait()
        finished.append(key)
        return Done()

    async with working(reconcile, concurrency=1) as (queue, workers, _):
        queue.add(KEY)
        queue.add(OTHER)
        await begun.wait()
        stopping = asyncio.create_task(workers.stop(timedelta(seconds=5)))
        await asyncio.sleep(0)
        go_on.set()
        assert await stopping
        assert finished == [KEY]
        assert not workers.alive


async def test_stop_cancels_what_outlasts_the_grace() -> None:
    """A reconcile that hangs does not keep the process alive."""

    async def reconcile(_: Key) -> Outcome:
        await asyncio.Event().wait()
        return Done()

    async with working(reconcile) as (queue, workers, _):
        queue.add(KEY)
        await eventually(lambda: queue.processing == 1)
        assert not await workers.stop(timedelta(milliseconds=10))
        assert (queue.processing, queue.depth) == (0, 1), "the key waits for whoever works next"


async def test_workers_start_again_where_they_stopped() -> None:
    """Between two terms of leadership keys gather; nothing is lost and nothing runs."""
    done: list[Key] = []

    async def reconcile(key: Key) -> Outcome:
        done.append(key)
        return Done()

    async with working(reconcile) as (queue, workers, metrics):
        await asyncio.sleep(0)
        assert await workers.stop(timedelta(seconds=5))
        queue.add(KEY)
        await asyncio.sleep(0)
        assert done == []
        workers.start()
        await eventually(lambda: counted(metrics, "success") == 1)


async def test_workers_work_only_while_leading() -> None:
    """Elected: keys are reconciled. Lost: what hangs is cancelled and no key is taken. Elected again: it goes on."""
    started: list[Key] = []

    async def reconcile(key: Key) -> Outcome:
        started.append(key)
        if len(started) == 1:
            await asyncio.Event().wait()
        return Done()

    queue: WorkQueue[Key] = WorkQueue()
    workers = Workers(queue, reconcile, concurrency=2, metrics=Metrics())
    elector = LeaderElector(NoServer(), LeaseSettings(), "a")
    leading = asyncio.create_task(work_while_leading(elector, workers))
    queue.add(KEY)
    await asyncio.sleep(0)
    assert started == []
    elector._lead(True)
    await eventually(lambda: queue.processing == 1)
    elector._lead(False)
    await eventually(lambda: queue.processing == 0 and not workers.alive)
    queue.add(OTHER)
    elector._lead(True)
    await eventually(lambda: started == [KEY, OTHER, KEY])
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert await workers.stop(timedelta(seconds=5))


class NoServer:
    """An API server that nobody calls."""

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        raise AssertionError(request.call)
