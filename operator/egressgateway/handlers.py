"""
kopf wiring: the process, its signals, its credentials, and the watch of EgressGateways.

kopf writes nothing here. Its one handler passes each event on, and the engine works by levels: kopf's own retries,
progress annotations and patches would be writes of their own, and a failed one is lost (notes "operator-engine" §A).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from typing import Any

import aiohttp
import kopf

from egressgateway.cluster.credentials import Credentials
from egressgateway.cluster.documents import ShallowResponse, shallow_watches
from egressgateway.cluster.pacing import RefusalPatience, WatchPace
from egressgateway.cluster.servername import ServerName
from egressgateway.engine.process.runtime import Runtime
from egressgateway.refs import EGRESS_GATEWAY, GROUP

log = logging.getLogger(__name__)


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf's copy of the last handled spec: not stored, as the engine compares with the live children."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


class _NoProgress(kopf.ProgressStorage):
    """kopf's handler progress: not stored, as the work queue retries."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is stored."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing was stored."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class _EndlessBackoff(Collection[float]):
    """kopf's waits between retries: endless. A server that is away for an hour must not end the operator."""

    _WAITS = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0)

    def __iter__(self) -> Iterator[float]:
        yield from self._WAITS
        while True:
            yield 10.0

    def __len__(self) -> int:
        return len(self._WAITS)

    def __contains__(self, wait: object) -> bool:
        return wait in (*self._WAITS, 10.0)


def build_settings() -> kopf.OperatorSettings:
    """kopf's settings: no write of its own, no limit that starves a queue, no end because of an outage."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    # kopf removes a finalizer of this name from every object it sees; ours has another.
    settings.persistence.finalizer = f"unused.{GROUP}/kopf"
    settings.networking.error_backoffs = _EndlessBackoff()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 290
    # Objects of a page, each of which may have 1.5 MiB: it is read and parsed as a whole.
    settings.watching.chunk_size = 16
    # kopf holds the last event of each object for so long, in seconds.
    settings.queueing.idle_timeout = 0.5
    return settings


def build_registry(runtime: Runtime, stop: asyncio.Event) -> kopf.OperatorRegistry:
    """One explicit registry, that starts, feeds and stops `runtime`. `stop` is kopf's own flag: set, it ends."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return await _session(await Credentials.load())

    @kopf.on.startup(registry=registry)
    async def start(**_: Any) -> None:
        # kopf starts to look for kinds and to watch only when this returns: the API server serves ours by then.
        await runtime.start()
        log.info("Started")

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await runtime.stop()
        # For tasks that still run kopf waits five seconds, so for its own that waits for `stop`.
        stop.set()
        log.info("Stopped")

    @kopf.on.event(EGRESS_GATEWAY.group, EGRESS_GATEWAY.version, EGRESS_GATEWAY.plural, registry=registry)
    async def egress_gateway(event: kopf.RawEvent, **_: Any) -> None:
        runtime.gateway_event(event["type"], dict(event["object"]))
        # kopf keeps the event for a while, and nothing reads these.
        metadata: Any = event["object"]["metadata"]
        for unread in ("annotations", "managedFields"):
            metadata.pop(unread, None)

    return registry


async def _session(credentials: Credentials) -> kopf.AiohttpSession:
    """
    A session for kopf with the credentials that the engine writes with: watches and writes use one cluster, and exec
    plugins work for both. It paces the watches, and retries in a namespace that it may not read; kopf closes it, and
    asks again after a 401.
    """
    endpoint, authorization = credentials.endpoint, await credentials.authorization()
    name = (ServerName(endpoint.tls_server_name),) if endpoint.tls_server_name else ()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=endpoint.tls or True),
        headers={"Authorization": authorization} if authorization else {},
        proxy=endpoint.proxy,
        middlewares=(*name, RefusalPatience(), WatchPace(), shallow_watches),
        response_class=ShallowResponse,
    )
    return kopf.AiohttpSession(aiohttp_session=session, server=endpoint.server)
