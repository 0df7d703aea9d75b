"""A bug of ours leaves its trace in the log, whatever else fails with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from egressgateway.cluster.background import background
from egressgateway.cluster.events import EventRecorder
from egressgateway.cluster.queue import WorkQueue
from egressgateway.cluster.request import Request
from egressgateway.cluster.store import Store
from egressgateway.engine.process.classes import ClassStatusWriter
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.worker import Workers
from egressgateway.engine.reconcile import reconciler as story
from egressgateway.errors import Invalid
from egressgateway.refs import Key, Manifest
from unit.cluster.fake_api import eventually
from unit.engine.simulation import KEY, World

SPEC = {"destinations": [{"name": "a", "hosts": ["a.example.com"], "ports": [{"port": 80, "protocol": "HTTP"}]}]}


def traces(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Types of the exceptions whose trace was logged."""
    infos = [record.exc_info for record in caplog.records if record.exc_info]
    return [info[0].__name__ for info in infos if info[0] is not None]


def fails(*_: object) -> None:
    raise ZeroDivisionError("a bug")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An object that was served; from now on every pass meets a bug."""
    world = World(SPEC)
    world.settle()
    monkeypatch.setattr(story, "accept", fails)
    world.edit({**SPEC, "description": "changed"})
    yield world
    world.close()


def work_once(world: World) -> None:
    """A worker takes the key once."""

    async def work() -> None:
        queue: WorkQueue[Key] = WorkQueue(clock=asyncio.get_running_loop())
        queue.add(KEY)
        workers = Workers(queue, world.reconciler.reconcile, concurrency=1, metrics=Metrics())
        workers.start()
        while queue.retried == 0:  # noqa: ASYNC110  (the clock of this loop stands still)
            await asyncio.sleep(0)
        await workers.stop(timedelta(0))

    world.loop.run_until_complete(work())


def test_a_bug_is_told_in_the_status_and_its_trace_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The baseline: the status says InternalError, the log where."""
    work_once(world)
    assert traces(caplog) == ["ZeroDivisionError"]
    assert "InternalError" in {each["reason"] for each in world.status["conditions"]}


@pytest.mark.parametrize("second", [Invalid("patch", "too long", code=422), RuntimeError("another bug")])
def test_a_trace_is_logged_although_the_status_cannot_be_written(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, second: Exception
) -> None:
    """
    The second failure does not hide the first.

    Only the refused write was logged, as a failure that time may heal, and where the bug was nobody could see.
    """

    async def refuse(*_: object) -> None:
        raise second

    monkeypatch.setattr(world.reconciler._owner, "write_status", refuse)
    work_once(world)
    assert "ZeroDivisionError" in traces(caplog)
    assert any(str(second) in record.getMessage() + str(record.__dict__) for record in caplog.records)


@pytest.mark.asyncio
async def test_a_task_in_the_background_that_ends_by_a_bug_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits it, so nobody would ever be told; one that is cancelled says nothing."""

    async def work() -> None:
        fails()

    async def wait() -> None:
        await asyncio.Event().wait()

    task, other = background(work(), "some work"), background(wait(), "other work")
    await eventually(task.done)
    other.cancel()
    await asyncio.gather(task, other, return_exceptions=True)
    assert traces(caplog) == ["ZeroDivisionError"]
    assert [record.__dict__["fields"] for record in caplog.records] == [{"task": "some work"}]


class Broken:
    """A client with a bug."""

    def __init__(self) -> None:
        self.calls = 0

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        self.calls += 1
        raise ZeroDivisionError("a bug")


@pytest.mark.asyncio
async def test_a_bug_while_posting_an_event_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    """It was a line at debug level, like an event that the server refuses. The next event is posted all the same."""
    client = Broken()
    events = EventRecorder(client, instance="pod")
    events.start()
    regarding: Manifest = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "namespace": "a", "uid": "u"}}
    for note in ("one", "two"):
        events.record(regarding, "Normal", "Ready", "Reconcile", note)
    await eventually(lambda: client.calls == 2)
    await events.stop()
    assert traces(caplog) == ["ZeroDivisionError"] * 2


@pytest.mark.asyncio
async def test_a_bug_in_the_status_of_classes_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The task ended, and classes kept the status that they had until the process was started anew."""
    classes, client = Store(), Broken()
    metadata = {"name": "x", "uid": "u", "generation": 1, "resourceVersion": "1"}
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    classes.put({"metadata": metadata | created, "spec": {}})
    writer = ClassStatusWriter(client, classes, [], may_write=lambda: True, spacing_seconds=0.001)
    writer.start()
    writer.look()
    await eventually(lambda: client.calls >= 2)
    await writer.stop()
    assert "ZeroDivisionError" in traces(caplog)
