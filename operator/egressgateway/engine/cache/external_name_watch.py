"""
Watches Services of type ExternalName, and no others: a cluster has few of them, however many others it has.

The API server selects them (field selector `spec.type`, Kubernetes 1.31). Of an older one nothing is known of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.informer import Informer, OnChange, OnRestart
from egressgateway.cluster.reflector import Restart
from egressgateway.cluster.store import Store
from egressgateway.refs import CHILD_BY_KIND

SELECTOR: Final = "spec.type=ExternalName"


class ExternalNameWatch:
    """
    An informer whose failure delays nothing else: API servers before Kubernetes 1.31 do not know the selector.
    """

    def __init__(
        self,
        client: ApiClient,
        store: Store,
        namespaces: tuple[str, ...],
        *,
        on_change: OnChange,
        on_restart: OnRestart,
    ) -> None:
        self._failed = asyncio.Event()
        self._on_restart: Callable[[str, Restart], None] = on_restart
        self.informer = Informer(
            client,
            CHILD_BY_KIND["Service"],
            store,
            namespaces=namespaces,
            field_selector=SELECTOR,
            on_change=on_change,
            on_restart=self._restarted,
        )

    async def read(self) -> None:
        """Return once they have been read, or could not be."""
        ways = {asyncio.create_task(self.informer.synced()), asyncio.create_task(self._failed.wait())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    def _restarted(self, kind: str, why: Restart) -> None:
        self._failed.set()
        self._on_restart(kind, why)
