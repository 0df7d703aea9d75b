"""
Kubernetes Events: what `kubectl describe` shows under an object.

Posted in the background: no reconcile fails or slows down because an Event cannot be written. The same message about
the same object is posted once within some minutes; callers record transitions only, this is a second limit.

`events.k8s.io/v1`, not the older core kind: the server checks it more strictly, and `kubectl describe` shows
age and source of both alike.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from egressgateway.cluster import request
from egressgateway.cluster.background import background
from egressgateway.cluster.client import ApiCaller
from egressgateway.errors import ClusterError, Throttled, Unavailable
from egressgateway.refs import EVENT, Manifest

log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]

CONTROLLER = "egressgateway.dev/operator"
# Limits of the API server (pkg/apis/core/validation/events.go).
LONGEST_NOTE = 1024
LONGEST_INSTANCE = 128
LONGEST_NAME = 253
# The server stores events about cluster-scoped objects here, and rejects them elsewhere.
NAMESPACE_OF_CLUSTER_SCOPED = "default"

QUEUED_AT_MOST = 1000
REMEMBERED_AT_MOST = 4096
REPEAT_AFTER = timedelta(minutes=10)
RETRY_SECONDS = 1.0


class EventRecorder:
    """Takes events from `start` to `stop` and posts them one after the other."""

    def __init__(
        self,
        client: ApiCaller,
        *,
        instance: str,
        repeat_after: timedelta = REPEAT_AFTER,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`instance` names this replica (the pod)."""
        self._client = client
        self._instance = instance[:LONGEST_INSTANCE]
        self._repeat_after = repeat_after
        self._now = now
        self._queue: asyncio.Queue[Manifest] = asyncio.Queue(QUEUED_AT_MOST)
        self._recent: OrderedDict[tuple[str, ...], datetime] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        """Events that were not posted: the queue was full, or the server rejected them."""

    def start(self) -> None:
        """Begin to post."""
        self._task = background(self._post_all(), "events")

    async def stop(self, grace: timedelta = timedelta(seconds=2)) -> None:
        """Post what is queued, for up to `grace`, and end."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._queue.join()
        except TimeoutError:
            self.dropped += self._queue.qsize()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def record(self, regarding: Manifest, type_: EventType, reason: str, action: str, note: str) -> None:
        """
        Record an event about `regarding` (an object as read from the server).

        `reason` says why in one CamelCase word of the catalogue, `action` what was done (`Reconcile`), `note` both in a
        sentence for people; it is cut at 1024 characters.
        """
        note = note if len(note) <= LONGEST_NOTE else f"{note[: LONGEST_NOTE - 1]}…"
        now = self._now()
        if self._is_repeated((regarding["metadata"].get("uid", ""), type_, reason, note), now):
            return
        event = build_event(regarding, type_, reason, action, note)
        event |= {"eventTime": _micro_time(now), "reportingInstance": self._instance}
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1

    def _is_repeated(self, words: tuple[str, ...], now: datetime) -> bool:
        before = self._recent.get(words)
        if before is not None and now - before < self._repeat_after:
            return True
        self._recent[words] = now
        self._recent.move_to_end(words)
        if len(self._recent) > REMEMBERED_AT_MOST:
            self._recent.popitem(last=False)
        return False

    async def _post_all(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._post(event)
            except ClusterError as error:
                self.dropped += 1
                # Not worth more than a line: the conditions say the same. A terminating namespace rejects all.
                log.debug("Event not posted", extra={"fields": {"reason": event["reason"], "error": str(error)}})
            except Exception:
                self.dropped += 1
                log.exception("Event not posted because of a bug", extra={"fields": {"reason": event["reason"]}})
            finally:
                self._queue.task_done()

    async def _post(self, event: Manifest) -> None:
        call = request.create_object(EVENT, event["metadata"]["namespace"], event)
        try:
            await self._client.send(call)
        except (Throttled, Unavailable) as error:
            await asyncio.sleep(error.retry_after or RETRY_SECONDS)
            await self._client.send(call)


def build_event(regarding: Manifest, type_: EventType, reason: str, action: str, note: str) -> Manifest:
    """The Event to post, except for its time and the replica's name."""
    metadata = regarding["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace")
    unique = uuid.uuid4().hex[:16]
    reference = {
        "apiVersion": regarding["apiVersion"],
        "kind": regarding["kind"],
        "name": name,
        "namespace": namespace,
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "namespace": namespace or NAMESPACE_OF_CLUSTER_SCOPED,
            "name": f"{name[: LONGEST_NAME - len(unique) - 1]}.{unique}",
        },
        "reportingController": CONTROLLER,
        "type": type_,
        "reason": reason,
        "action": action,
        "note": note,
        "regarding": {key: value for key, value in reference.items() if value},
    }


def _micro_time(now: datetime) -> str:
    """metav1.MicroTime: RFC 3339 in UTC with exactly six digits."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
