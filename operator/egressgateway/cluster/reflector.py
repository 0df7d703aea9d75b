"""
Keeps one scope of a store (one namespace, or all) equal to the server: list once, then watch, for ever.

What can go wrong, and what happens then:

- the watch ends, is cut or falls silent: it is resumed from the last version seen, after a backoff; silent twice in a
  row, it is listed again;
- 410, in the status or in the stream: list again; what vanished in between becomes DELETED changes;
- 404: the kind is not served (its CRD is missing). Nothing exists; ask again until it is installed;
- 403: ask again, slowly, and say so in `state.error`; when the right is back, list again;
- anything unexpected: logged with its trace, list again. A reflector ends only by being cancelled.

Every round waits for its backoff, a watch that is answered and ends at once included: no failure makes a hot loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from egressgateway.cluster import request
from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.errors import TIMEOUT, UNAUTHORIZED, error_of_status
from egressgateway.cluster.pages import LARGEST_PAGE, list_all
from egressgateway.cluster.store import Change, Store
from egressgateway.errors import (
    ClusterError,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from egressgateway.refs import Manifest, Resource

log = logging.getLogger(__name__)

Restart = Literal["ended", "expired", "stalled", "failed", "notserved", "forbidden", "crashed"]
"""Why a watch had to be restarted."""


OBJECTS_AT_ONCE: Final = 16
"""
Objects of a list before other tasks run on the event loop: the receiver of a change may look at thousands of others for
it, and a list may have thousands of objects. Those without a change count, too: each is parsed and compared.
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits of a reflector, in seconds."""

    first_retry: float = 0.25
    longest_retry: float = 10.0

    longest_refused_retry: float = 30.0
    """While the kind is not served or a right is missing: only a person can fix that."""

    doubt_retry: float = 1.0
    """Before a second check of a kind that seems to be gone."""

    steady_after: float = 20.0
    """A round that lasted so long was healthy: the next failure starts with `first_retry`."""

    server_timeout: float = 290.0
    """When the server ends a watch (client-go: 300 to 600); spread so that the kinds do not reconnect together."""

    inactivity: float = 90.0
    """
    Silence after which a connection counts as dead. Bookmarks come about each minute where etcd reports progress
    (kubeadm asks for it each 5 s); where it does not, the price is one cheap reconnect per kind and 90 s.
    """

    page_size: int = LARGEST_PAGE


@dataclass(slots=True)
class ReflectorState:
    """The state of a reflector; read by probes and metrics, changed by the reflector only."""

    listed: bool = False
    """The store is complete, or was once."""

    refused: bool = False
    """The last answer to a list was that a right is missing."""

    served: bool = True
    """False: the API server does not know the kind."""

    error: str = ""
    """The last round's failure as text; empty while it works."""

    last_heard: float | None = None
    """Loop time of the last list, event or bookmark."""

    restarts: int = 0

    @property
    def settled(self) -> bool:
        """Everything that can be known at the start is known."""
        return self.listed or not self.served


@dataclass(frozen=True, slots=True)
class Scope:
    """What is listed and watched of a kind: one namespace (None: all), by labels, by fields."""

    namespace: str | None = None
    label_selector: str | None = None
    field_selector: str | None = None


class Reflector:
    """List and watch of one scope; `run` it as a task."""

    def __init__(  # noqa: PLR0913  (what to watch, where to keep it, whom to tell)
        self,
        client: ApiClient,
        resource: Resource,
        store: Store,
        scope: Scope,
        *,
        timing: Timing,
        on_change: Callable[[Change], None],
        on_settled: Callable[[], None],
        on_restart: Callable[[Restart], None],
        admission: Callable[[], Awaitable[None]] | None = None,
        optional: bool = False,
    ) -> None:
        """
        `admission` is awaited before each round, by reflectors that are too many to start at once.

        For an `optional` kind a missing right counts as not being served: the server checks rights before it checks
        whether it knows the kind. That is not worth a warning; the creator of the informer knows what it means.
        """
        self.state = ReflectorState()
        self._client = client
        self._resource = resource
        self._store = store
        self._scope = scope
        self._admission = admission
        self._optional = optional
        self._timing = timing
        self._on_change = on_change
        self._on_settled = on_settled
        self._on_restart = on_restart
        self._backoff = Backoff(timing.first_retry)
        self._version: str | None = None
        self._absences = 0
        self._stalls = 0

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._admission is not None:
                await self._admission()
            started = loop.time()
            delay, restart = await self._round()
            if loop.time() - started >= self._timing.steady_after:
                self._backoff.reset()
            self.state.restarts += 1
            self._on_restart(restart)
            await asyncio.sleep(max(delay, self._backoff.next(self._longest_wait(restart))))

    def _longest_wait(self, restart: Restart) -> float:
        if restart == "notserved" and self.state.served:
            return self._timing.doubt_retry
        refused = restart in ("notserved", "forbidden")
        return self._timing.longest_refused_retry if refused else self._timing.longest_retry

    async def _round(self) -> tuple[float, Restart]:
        """List if necessary, then watch to the end; returns the minimum seconds to wait and why it ended."""
        try:
            if self._version is None or self._store.wants_list():
                await self._list()
            await self._watch()
        except ClusterError as error:
            return self._judge(error)
        except Exception as error:
            log.exception("Informer failed; relisting", extra={"fields": self._fields()})
            self._version = None
            self.state.error = f"{type(error).__name__}: {error}"
            return 0.0, "crashed"
        return 0.0, "ended"

    def _judge(self, error: ClusterError) -> tuple[float, Restart]:
        if isinstance(error, Expired):
            self._version = None
            return 0.0, "expired"
        if isinstance(error, NotFound):
            self._not_served(error)
            return 0.0, "notserved"
        if self._optional and isinstance(error, Forbidden) and error.code != UNAUTHORIZED:
            self._not_served(error)
            return 0.0, "notserved"
        self._remember(error)
        if isinstance(error, Forbidden) and error.code != UNAUTHORIZED:
            # Once the right is back, only a list shows that.
            self._version = None
            self.state.refused = True
            return 0.0, "forbidden"
        if isinstance(error, Invalid):
            # The server does not accept our version (for example another cluster behind the same name).
            self._version = None
        if error.reason == TIMEOUT:
            self._stalls += 1
            if self._stalls > 1:
                # Twice not a byte, not even a bookmark. A server whose etcd was restored from a backup waits for a
                # version that it will not reach for days (seen with 1.36): only a list shows what it holds.
                self._version = None
            return 0.0, "stalled"
        wait = error.retry_after if isinstance(error, Throttled | Unavailable) else None
        return wait or 0.0, "failed"

    async def _list(self) -> None:
        self._store.begin_list(self._scope.namespace)
        items, version = await list_all(
            self._client,
            self._resource,
            self._scope.namespace,
            self._gathering,
            label_selector=self._scope.label_selector,
            field_selector=self._scope.field_selector,
            largest=self._timing.page_size,
        )
        for number, change in enumerate(self._store.replacing(items, self._scope.namespace), start=1):
            if change is not None:
                self._tell(change)
            if number % OBJECTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._version = version
        self._heard()
        self._absences = 0
        self.state.served = self.state.listed = True
        self.state.refused = False
        self._on_settled()

    def _gathering(self) -> Callable[[Manifest], Manifest]:
        held = self._store.gathering()
        return lambda manifest: held(self._named(manifest))

    async def _watch(self) -> None:
        server_timeout = self._timing.server_timeout * random.uniform(0.8, 1.0)  # noqa: S311  (jitter, no secret)
        call = request.watch_objects(
            self._resource,
            self._scope.namespace,
            resource_version=self._version or "0",
            label_selector=self._scope.label_selector,
            field_selector=self._scope.field_selector,
            timeout_seconds=max(1, round(server_timeout)),
        )
        async with aclosing(self._client.stream(call, inactivity_seconds=self._timing.inactivity)) as events:
            async for event in events:
                self._heard()
                self._take(call.call, event)

    def _take(self, call: str, event: Manifest) -> None:
        kind, manifest = event["type"], event["object"]
        if kind == "ERROR":
            raise error_of_status(call, manifest)
        version = manifest["metadata"]["resourceVersion"]
        if kind == "DELETED":
            change = self._store.remove(manifest)
        elif kind != "BOOKMARK":
            change = self._store.put(self._named(manifest))
        else:
            change = None
        self._version = version
        if change is not None:
            self._tell(change)

    def _not_served(self, error: NotFound | Forbidden) -> None:
        self._version = None
        self._absences += 1
        if self._optional:
            self.state.error = str(error)
        else:
            self._remember(error)
        # A single 404 may come from a load balancer, or a server that has just started: only the second one counts.
        if self.state.listed and self._absences < 2:
            return
        self.state.served = False
        self._store.begin_list(self._scope.namespace)
        for change in self._store.replace([], self._scope.namespace):
            self._tell(change)
        self._on_settled()

    def _tell(self, change: Change) -> None:
        try:
            self._on_change(change)
        except Exception:
            # The store has it already; the other changes must not be lost with this one.
            log.exception("Handler of a change failed", extra={"fields": self._fields()})

    def _heard(self) -> None:
        self.state.last_heard = asyncio.get_running_loop().time()
        self.state.error = ""
        self._stalls = 0

    def _remember(self, error: ClusterError) -> None:
        text = str(error)
        if text != self.state.error:
            log.warning("Informer request failed", extra={"fields": self._fields() | {"error": text}})
        self.state.error = text

    def _named(self, manifest: Manifest) -> Manifest:
        """Lists of built-in kinds omit a field that every single object has: its kind."""
        manifest.setdefault("apiVersion", self._resource.api_version)
        manifest.setdefault("kind", self._resource.kind)
        return manifest

    def _fields(self) -> dict[str, str]:
        return {"kind": self._resource.kind, "namespace": self._scope.namespace or ""}
