"""Looks at the cluster: which children there are, what became of them, when and in which order. Writes nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from egressgateway.names import LABEL_STAGE
from egressgateway.refs import CHILD_RESOURCES, Resource
from harness.kubeconfig import Access
from harness.rest import Object
from harness.wait import eventually
from harness.watch import Event, follow

Action = Literal["created", "changed", "deleted"]

KINDS = [resource for resource in CHILD_RESOURCES if not resource.kind.startswith("Apisix")]
"""Kinds of children that the demo's cluster serves."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to a child. `seconds` on a clock of the recorder's; `fields` are those that changed."""

    seconds: float
    version: int
    action: Action
    kind: str
    name: str
    stage: str
    fields: tuple[str, ...] = ()


class Recorder:
    """
    Writes down every change of the children in a namespace while a `with` block runs.

    Only what the operator decides counts: spec and existence. A status is somebody else's.
    """

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._namespace = namespace
        self._known: dict[tuple[str, str], Object] = {}
        self._changes: list[Change] = []
        self._listed: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._recording = False

    @property
    def changes(self) -> list[Change]:
        """
        What happened so far, in the order of the API server's versions.

        Each kind has its own watch, so changes may come in another order than the one in which they happened.
        """
        return sorted(self._changes, key=lambda change: change.version)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: len(self._listed) == len(KINDS), what="a list of each kind of child")
        self._recording = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._follow_all())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    async def _follow_all(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context() or True, limit=0)
        async with (
            aiohttp.ClientSession(self._access.server, connector=connector, headers=self._access.headers()) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for resource in KINDS:
                tasks.create_task(self._follow(session, resource))

    async def _follow(self, session: aiohttp.ClientSession, resource: Resource) -> None:
        async with aclosing(follow(session, resource.path(self._namespace))) as events:  # type: ignore[type-var]
            async for event in events:
                if event.type == "RESET":
                    self._listed.add(resource.kind)
                else:
                    self._take(resource.kind, event)

    def _take(self, kind: str, event: Event) -> None:
        metadata = event.object["metadata"]
        key = (kind, metadata["name"])
        before = self._known.get(key)
        if event.type == "DELETED":
            self._known.pop(key, None)
        else:
            self._known[key] = event.object
        labels = metadata.get("labels") or {}
        if LABEL_STAGE not in labels or not self._recording:
            return
        found = _judge(event, before)
        if found:
            version = int(metadata["resourceVersion"])
            change = Change(time.monotonic(), version, found[0], kind, metadata["name"], labels[LABEL_STAGE], found[1])
            self._changes.append(change)


def _judge(event: Event, before: Object | None) -> tuple[Action, tuple[str, ...]] | None:
    if event.type == "DELETED":
        return "deleted", ()
    if before is None:
        return "created", ()
    fields = changed_fields(before.get("spec"), event.object.get("spec"))
    return ("changed", fields) if fields else None


def changed_fields(before: Any, after: Any) -> tuple[str, ...]:
    """What differs between two specs, one line a value: `+` came, `-` went. Items of a list have no number."""
    old, new = set(_leaves(before, "")), set(_leaves(after, ""))
    return (*(f"+ {leaf}" for leaf in sorted(new - old)), *(f"- {leaf}" for leaf in sorted(old - new)))


def _leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list) and value:
        for each in value:
            yield from _leaves(each, f"{path}[]")
    else:
        yield f"{path}: {value}"


def seconds_until(check: Callable[[], object], what: str) -> float:
    """
    Wait for a fact; returns how long it took.

    Raises:
        TimeoutError: it did not come true in time.
    """
    started = time.monotonic()
    eventually(check, what=what)
    return time.monotonic() - started


def conditions_of(gateway: Object) -> Iterator[tuple[str, Object]]:
    """Every condition of an EgressGateway with whose it is: the object's, then each destination's."""
    status = gateway.get("status") or {}
    yield from (("the object", each) for each in status.get("conditions") or ())
    for destination in status.get("destinations") or ():
        yield from ((destination["name"], each) for each in destination["conditions"])
