"""`egressgw run`: the operator in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any

import kopf

from egressgateway.cli.logging import configure_logging
from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiClient
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.runtime import Runtime
from egressgateway.errors import EgressGatewayError
from egressgateway.handlers import build_registry, build_settings
from egressgateway.settings import Settings

log = logging.getLogger(__name__)

_STEADY_AFTER_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 10.0


def run_operator(settings: Settings) -> int:
    """
    Run until a signal; returns the exit code.

    Raises:
        ClusterError: there is no kubeconfig, or it cannot be read.
        StartError: the port of probes and metrics is taken.
    """
    configure_logging(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.get_loop().set_exception_handler(report_loop_error)
        return runner.run(_run(settings))


def report_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """
    Log what went wrong in no task of ours. That the generator of a watch could not be closed is no error.

    kopf leaves that of its own watch to the end of the event loop, when the connection below it is gone.
    """
    if "asyncgen" in context:
        log.debug("Generator could not be closed", extra={"fields": {"error": str(context.get("exception"))}})
    else:
        loop.default_exception_handler(context)


async def _run(settings: Settings) -> int:
    """
    Run, and start again when kopf gives up.

    It does so when its watch gets an answer that it does not expect: 404 or 410, an error event, half a line. None of
    them is a reason to end: a restarted process comes back later, and knows less.
    """
    backoff = Backoff(base=1.0)
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await _run_once(settings)
        except EgressGatewayError:
            raise
        except Exception as error:
            if asyncio.get_running_loop().time() - began > _STEADY_AFTER_SECONDS:
                backoff.reset()
            pause = backoff.next(cap=_LONGEST_PAUSE_SECONDS)
            fields = {"error": f"{type(error).__name__}: {error}", "in_seconds": round(pause, 1)}
            log.exception("kopf stopped; restarting", extra={"fields": fields})
            if not await _is_told_to_end(pause):
                continue
        return 0


async def _run_once(settings: Settings) -> None:
    stop = asyncio.Event()
    metrics = Metrics()
    # Both before kopf: it retries for ever what fails in its start-up.
    client = await ApiClient.connect(settings.max_in_flight, on_request=metrics.api_request)
    runtime = Runtime(client, settings, metrics)
    try:
        await runtime.serve_probes()
        log.info("Connecting", extra={"fields": {"server": client.server}})
        await kopf.operator(
            registry=build_registry(runtime, stop),
            settings=build_settings(),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
            # Unused; but without it kopf looks for the user's name, and in a container the user has none.
            identity=_identity(settings),
            stop_flag=stop,
        )
    finally:
        # kopf's own end does it as well, unless it gave up before it began: then the port would be taken next time.
        await runtime.server.stop()
        await client.close()


def _identity(settings: Settings) -> Any:
    """In the type that kopf requires: a string of a type that is private to kopf."""
    return settings.identity


async def _is_told_to_end(seconds: float) -> bool:
    """Wait for so long, unless a signal comes: kopf, which normally handles signals, does not run."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        return False
    return True


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop
