"""Events: posted in the background, once, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web

from egressgateway.cluster import events as events_module
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.events import EventRecorder
from unit.cluster.fake_api import FakeApi, eventually, refusal

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 8, 1, 12, 0, 0, 5, tzinfo=UTC)
GATEWAY = {
    "apiVersion": "egressgateway.dev/v1alpha1",
    "kind": "EgressGateway",
    "metadata": {"namespace": "shop", "name": "out", "uid": "u1", "resourceVersion": "5", "labels": {"a": "b"}},
}


@asynccontextmanager
async def recorder(client: ApiClient, **options: Any) -> AsyncIterator[EventRecorder]:
    """A recorder that posts until the end of the block."""
    recorder = EventRecorder(client, instance="pod-1", **options)
    recorder.start()
    try:
        yield recorder
    finally:
        await recorder.stop()


def posted(api: FakeApi) -> list[dict[str, Any]]:
    return [orjson.loads(seen.body) for seen in api.seen if seen.method == "POST"]


async def test_record_posts_what_describe_shows(api: FakeApi, client: ApiClient) -> None:
    """The Event is in the object's namespace, names it by uid, and holds every field that the API demands."""
    async with recorder(client, now=lambda: NOW) as it:
        it.record(GATEWAY, "Warning", "HostConflict", "Reconcile", "a.example.com is claimed by shop/other")
    [event] = posted(api)
    name = event["metadata"].pop("name")
    assert name.startswith("out.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "shop"},
        "eventTime": "2026-08-01T12:00:00.000005Z",
        "reportingController": "egressgateway.dev/operator",
        "reportingInstance": "pod-1",
        "type": "Warning",
        "reason": "HostConflict",
        "action": "Reconcile",
        "note": "a.example.com is claimed by shop/other",
        "regarding": {
            "apiVersion": "egressgateway.dev/v1alpha1",
            "kind": "EgressGateway",
            "namespace": "shop",
            "name": "out",
            "uid": "u1",
            "resourceVersion": "5",
        },
    }


async def test_record_keeps_the_limits_of_the_server(api: FakeApi, client: ApiClient) -> None:
    """A long note and a long name are cut; an object without a namespace has its events in `default`."""
    klass = {"apiVersion": "x/v1", "kind": "K", "metadata": {"name": "n" * 253, "uid": "u"}}
    async with recorder(client) as it:
        it.record(klass, "Normal", "Accepted", "Reconcile", "ü" * 2000)
    [event] = posted(api)
    assert event["metadata"]["namespace"] == "default"
    assert len(event["metadata"]["name"]) == 253
    assert len(event["note"]) == 1024
    assert event["note"].endswith("…")
    assert "namespace" not in event["regarding"]


async def test_same_words_are_posted_once_within_minutes(api: FakeApi, client: ApiClient) -> None:
    """A repetition is dropped until some minutes have passed; other words, or another object, are not."""
    now = NOW
    async with recorder(client, repeat_after=timedelta(minutes=10), now=lambda: now) as it:
        other = GATEWAY | {"metadata": GATEWAY["metadata"] | {"uid": "u2"}}  # type: ignore[operator]
        for regarding, note in [(GATEWAY, "x"), (GATEWAY, "x"), (GATEWAY, "y"), (other, "x")]:
            it.record(regarding, "Normal", "Ready", "Reconcile", note)
        now += timedelta(minutes=9)
        it.record(GATEWAY, "Normal", "Ready", "Reconcile", "x")
        now += timedelta(minutes=2)
        it.record(GATEWAY, "Normal", "Ready", "Reconcile", "x")
    assert [(event["regarding"]["uid"], event["note"]) for event in posted(api)] == [
        ("u1", "x"), ("u1", "y"), ("u2", "x"), ("u1", "x"),
    ]  # fmt: skip
    assert it.dropped == 0


async def test_memory_of_words_is_bounded(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said about objects long gone is forgotten."""
    monkeypatch.setattr(events_module, "REMEMBERED_AT_MOST", 3)
    it = EventRecorder(client, instance="pod-1")
    for number in range(10):
        it.record(GATEWAY, "Normal", "Ready", "Reconcile", str(number))
    assert len(it._recent) == 3


async def test_failed_post_is_tried_once_more(api: FakeApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One retry after a passing failure; a refusal gets none. Neither is heard of by who recorded it."""
    monkeypatch.setattr(events_module, "RETRY_SECONDS", 0.005)
    answers = iter([refusal(500), None, refusal(403, "Forbidden"), refusal(500), refusal(500)])

    async def answer(_: web.Request) -> web.Response | None:
        return next(answers)

    api.intercept = answer
    async with recorder(client) as it:
        for note in ("first", "refused", "lost"):
            it.record(GATEWAY, "Normal", "Ready", "Reconcile", note)
        await eventually(lambda: it.dropped == 2)
    assert [event["note"] for event in posted(api)] == ["first", "first", "refused", "lost", "lost"]


async def test_full_queue_drops_and_counts(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be posted, recording neither waits nor grows."""
    monkeypatch.setattr(events_module, "QUEUED_AT_MOST", 2)
    it = EventRecorder(client, instance="pod-1")
    for number in range(5):
        it.record(GATEWAY, "Normal", "Ready", "Reconcile", str(number))
    assert it.dropped == 3


async def test_stop_does_not_wait_for_ever(api: FakeApi, client: ApiClient) -> None:
    """A server that hangs does not hold up the end of the process."""

    async def hang(_: web.Request) -> web.Response | None:
        await asyncio.Event().wait()
        return None

    api.intercept = hang
    it = EventRecorder(client, instance="pod-1")
    it.start()
    it.record(GATEWAY, "Normal", "Ready", "Reconcile", "x")
    await eventually(lambda: api.seen)
    await asyncio.wait_for(it.stop(timedelta(milliseconds=10)), 5)
    assert it._task is None
