"""
Lists every EgressGateway at the start and from time to time.

kopf's watch tells of changes but not of objects that vanished while it was cut off (a relist after a 410 drops
nothing): without this net, a ghost's children would be made again for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.pages import list_all
from egressgateway.cluster.store import Change
from egressgateway.engine.caches import Caches
from egressgateway.errors import ClusterError
from egressgateway.refs import EGRESS_GATEWAY, Manifest
from egressgateway.settings import Settings

log = logging.getLogger(__name__)


class Resync:
    """Runs in the background from `start` to `stop`; `synced` is set after the first complete list."""

    def __init__(
        self,
        client: ApiClient,
        settings: Settings,
        caches: Caches,
        on_change: Callable[[Change], None],
        on_listed: Callable[[], None],
    ) -> None:
        """`on_change` is told what the watch had missed, `on_listed` that every object may be looked at again."""
        self._client = client
        self._settings = settings
        self._caches = caches
        self._on_change = on_change
        self._on_listed = on_listed
        self._task: asyncio.Task[None] | None = None
        self.synced = asyncio.Event()

    def start(self) -> None:
        """Begin with a list at once."""
        self._task = asyncio.create_task(self._run(), name="resync")

    async def stop(self) -> None:
        """List no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff = Backoff(base=0.5)
        while True:
            try:
                for namespace in self._settings.namespaces or (None,):
                    await self._list(namespace)
            except Exception as error:
                if not isinstance(error, ClusterError):
                    log.exception("Resync failed; it lists again")
                log.warning("EgressGateways cannot be listed", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(backoff.next(cap=30.0))
                continue
            backoff.reset()
            self.synced.set()
            self._on_listed()
            await asyncio.sleep(self._settings.resync.total_seconds())

    async def _list(self, namespace: str | None) -> None:
        self._caches.gateways.begin_list(namespace)
        listed, _ = await list_all(self._client, EGRESS_GATEWAY, namespace, self._gathering)
        for change in self._caches.replace_gateways(listed, namespace):
            self._on_change(change)

    def _gathering(self) -> Callable[[Manifest], Manifest]:
        held = self._caches.gateways.gathering()
        # Items of a list come without their own kind.
        head = {"apiVersion": EGRESS_GATEWAY.api_version, "kind": EGRESS_GATEWAY.kind}
        return lambda manifest: held({**head, **manifest})
