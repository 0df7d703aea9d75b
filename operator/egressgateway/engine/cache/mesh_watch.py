"""Watches the mesh's configuration and its control plane; reports changes of what they say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.informer import Informer, OnRestart
from egressgateway.cluster.reflector import Restart
from egressgateway.cluster.store import Change, Store
from egressgateway.engine.cache.meshconfig import ISTIOD_SELECTOR, MeshCache
from egressgateway.refs import CHILD_BY_KIND, CONFIG_MAP, Resource

log = logging.getLogger(__name__)


class MeshWatch:
    """
    Two informers whose failure delays nothing else.

    Without a mesh, or without the right to read its configuration, its values are unknown, and the operator works all
    the same. It waits only for what it was told to read by name: with a wrong trust domain, every hop would ask for
    identities that no workload has.
    """

    def __init__(
        self,
        client: ApiClient,
        cache: MeshCache,
        *,
        on_news: Callable[[], None],
        on_restart: OnRestart,
    ) -> None:
        """`on_news`: called when every object may be affected."""
        self._client = client
        self._cache = cache
        self._on_news = on_news
        self._on_restart = on_restart
        self._known = cache.reading()
        self._configured = asyncio.Event()
        self._refused = {CONFIG_MAP.kind: asyncio.Event(), CHILD_BY_KIND["Deployment"].kind: asyncio.Event()}
        only_config = f"metadata.name={cache.config_name}"
        self.informers = (
            self._informer(CONFIG_MAP, cache.config_maps, field_selector=only_config),
            self._informer(CHILD_BY_KIND["Deployment"], cache.control_planes, label_selector=ISTIOD_SELECTOR),
        )

    def start(self) -> None:
        """Start the watches."""
        for informer in self.informers:
            informer.start()

    async def stop(self) -> None:
        """End both watches."""
        for informer in self.informers:
            await informer.stop()

    @property
    def missing(self) -> str:
        """What was to be read and never existed, with the remedy; empty when there is nothing of that kind."""
        cache = self._cache
        if not cache.revision or self._configured.is_set():
            return ""
        return (
            f"--mesh-revision {cache.revision}: ConfigMap {cache.root_namespace}/{cache.config_name} does not exist, "
            "or the operator may not read it; the operator does nothing until it can. Use the value of the label "
            "istio.io/rev on istiod's pods, not a tag; without the flag the operator reads ConfigMap istio"
        )

    async def read(self) -> None:
        """Return once both have been read, or are known to be unreadable: before that a plan may be wrong."""
        await asyncio.gather(*(self._settled(informer) for informer in self.informers))
        if self.missing:
            log.error(self.missing)
            await self._configured.wait()

    async def _settled(self, informer: Informer) -> None:
        ways = {
            asyncio.create_task(informer.synced()),
            asyncio.create_task(self._refused[informer.resource.kind].wait()),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    def _informer(
        self,
        resource: Resource,
        store: Store,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Informer:
        return Informer(
            self._client,
            resource,
            store,
            namespaces=(self._cache.root_namespace,),
            label_selector=label_selector,
            field_selector=field_selector,
            on_change=self._changed,
            on_restart=self._restarted,
        )

    def _changed(self, _: Change) -> None:
        if self._cache.has_config:
            self._configured.set()
        reading = self._cache.reading()
        if reading != self._known:
            self._known = reading
            self._on_news()

    def _restarted(self, kind: str, why: Restart) -> None:
        if why == "forbidden":
            self._refused[kind].set()
        self._on_restart(kind, why)
