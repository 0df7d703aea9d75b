"""
Lists every EgressGateway at the start and at intervals.

kopf's watch reports changes but not objects that vanished while it was cut off (a relist after a 410 drops nothing):
without the resync, the children of a deleted object would be made again for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from egressgateway.cluster.background import background
from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.errors import UNAUTHORIZED
from egressgateway.cluster.informer import OnScope
from egressgateway.cluster.pages import list_all
from egressgateway.cluster.reflector import OBJECTS_AT_ONCE
from egressgateway.cluster.store import Change
from egressgateway.engine.cache.caches import Caches
from egressgateway.errors import ClusterError, Forbidden
from egressgateway.refs import EGRESS_GATEWAY, Manifest
from egressgateway.settings import Settings

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS: Final = 30.0


class Resync:
    """
    Runs in the background from `start` to `stop`.

    `synced` is set once every namespace has been listed; of several, once the others are known to be refused.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (one place builds it)
        self,
        client: ApiClient,
        settings: Settings,
        caches: Caches,
        on_change: Callable[[Change], None],
        on_listed: Callable[[], None],
        on_scope: OnScope = lambda namespace, error: None,
    ) -> None:
        """
        `on_change` gets what the watch had missed, `on_listed` is called when every object may be enqueued. `on_scope`
        gets each namespace (None: all) with the result of its list, or the reason why it may not be listed.
        """
        self._on_scope = on_scope
        self._client = client
        self._settings = settings
        self._caches = caches
        self._on_change = on_change
        self._on_listed = on_listed
        self._task: asyncio.Task[None] | None = None
        self._listed: set[str | None] = set()
        self._refused: set[str | None] = set()
        self._errors: dict[str | None, str] = {}
        self.synced = asyncio.Event()

    def start(self) -> None:
        """Start with a list at once."""
        self._task = background(self._run(), "resync")

    async def stop(self) -> None:
        """Stop listing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """A namespace that cannot be listed is tried again soon; the others are listed again after the interval."""
        loop, backoff = asyncio.get_running_loop(), Backoff(base=0.5)
        every: tuple[str | None, ...] = self._settings.namespaces or (None,)
        period = self._settings.resync.total_seconds()
        due, failed = loop.time(), every
        while True:
            full = loop.time() >= due
            if full:
                due = loop.time() + period
            wanted = every if full else failed
            failed = tuple([namespace for namespace in wanted if not await self._try(namespace)])
            if len(failed) < len(wanted):
                self._on_listed()
            if not failed:
                backoff.reset()
            rest = max(0.0, due - loop.time())
            await asyncio.sleep(min(rest, backoff.next(cap=_LONGEST_WAIT_SECONDS)) if failed else rest)

    async def _try(self, namespace: str | None) -> bool:
        """List one namespace; whether that worked."""
        try:
            await self._list(namespace)
        except Exception as error:
            if not isinstance(error, ClusterError):
                log.exception("Resync failed; relisting")
            if self._errors.get(namespace) != str(error):
                fields = {"namespace": namespace or "", "error": str(error)}
                log.warning("EgressGateways cannot be listed", extra={"fields": fields})
            self._errors[namespace] = str(error)
            if isinstance(error, Forbidden) and error.code != UNAUTHORIZED:
                self._refused.add(namespace)
                self._on_scope(namespace, str(error))
                self._check_scopes()
            return False
        self._errors.pop(namespace, None)
        self._refused.discard(namespace)
        self._listed.add(namespace)
        self._on_scope(namespace, "")
        self._check_scopes()
        return True

    def _check_scopes(self) -> None:
        every: set[str | None] = set(self._settings.namespaces or (None,))
        if self._listed and every <= self._listed | self._refused:
            self.synced.set()

    async def _list(self, namespace: str | None) -> None:
        self._caches.gateways.begin_list(namespace)
        listed, _ = await list_all(self._client, EGRESS_GATEWAY, namespace, self._gathering)
        for number, change in enumerate(self._caches.replacing_gateways(listed, namespace), start=1):
            if change is not None:
                self._on_change(change)
            if number % OBJECTS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _gathering(self) -> Callable[[Manifest], Manifest]:
        held = self._caches.gateways.gathering()
        # Items of a list come without their own kind.
        head = {"apiVersion": EGRESS_GATEWAY.api_version, "kind": EGRESS_GATEWAY.kind}
        return lambda manifest: held({**head, **manifest})
