"""
HTTP for health checks and metrics: /healthz and /readyz for the kubelet, /metrics for Prometheus.

Healthy: the event loop runs and no task died; otherwise a restart helps. Ready: everything has been read once; until
then the answer names what is missing. A lost connection to the API server affects neither: a restart does not bring a
server back.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable

from aiohttp import web

from egressgateway.cluster.informer import Informer
from egressgateway.engine.process.metrics import CONTENT_TYPE, Metrics
from egressgateway.errors import StartError

Check = Callable[[], Iterable[str]]
"""What is wrong, one sentence each; empty when nothing is."""


class Server:
    """Serves from `start` to `stop`."""

    def __init__(  # noqa: PLR0913  (options by keyword)
        self,
        host: str,
        port: int,
        *,
        healthy: Check,
        ready: Check,
        metrics: Metrics,
        remarks: Check = lambda: (),
    ) -> None:
        """
        `port` 0 takes a free one; see `port` after `start`. `remarks`: problems of a ready replica, for people who read
        /readyz.
        """
        self._remarks = remarks
        self._host = host
        self._wanted_port = port
        self._healthy = healthy
        self._ready = ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        addresses = self._runner.addresses if self._runner else []
        return int(addresses[0][1]) if addresses else self._wanted_port

    async def start(self) -> None:
        """
        Begin to serve.

        Raises:
            StartError: the port is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._answer_healthz)
        app.router.add_get("/readyz", self._answer_readyz)
        app.router.add_get("/metrics", self._answer_metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._wanted_port).start()
        except OSError as error:
            where = f"{self._host}:{self._wanted_port}"
            why = (
                "another process already listens there"
                if error.errno == errno.EADDRINUSE
                else error.strerror or str(error)
            )
            raise StartError(f"cannot serve metrics on {where}: {why}; choose another --metrics-port") from error

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer_healthz(self, _: web.Request) -> web.Response:
        return _verdict(self._healthy())

    async def _answer_readyz(self, _: web.Request) -> web.Response:
        return _verdict(self._ready(), self._remarks())

    async def _answer_metrics(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        await response.prepare(request)
        for piece in self._metrics.pieces():
            await response.write(piece)
            # A write to a reader that keeps up does not wait, so no other task runs.
            await asyncio.sleep(0)
        await response.write_eof()
        return response


def dead_informers(informers: Iterable[Informer]) -> list[str]:
    """For /healthz: kinds whose informer does not run."""
    return [f"the informer of {each.resource.kind} does not run" for each in informers if not each.state.alive]


def missing_kinds(informers: Iterable[Informer]) -> list[str]:
    """For /readyz: kinds that have not been listed yet, with the reason if one is known."""
    missing = []
    for informer in informers:
        state = informer.state
        if not state.synced:
            because = f": {state.error}" if state.error else ""
            missing.append(f"{informer.resource.kind} has not been listed yet{because}")
    return missing


def _verdict(problems: Iterable[str], remarks: Iterable[str] = ()) -> web.Response:
    lines = list(problems)
    return web.Response(text="\n".join([*(lines or ["ok"]), *remarks]) + "\n", status=503 if lines else 200)
