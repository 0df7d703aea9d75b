"""`egressgw run`: the operator in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys

import kopf

from egressgateway.cli.logging import configure_logging
from egressgateway.cluster.client import ApiClient
from egressgateway.engine.metrics import Metrics
from egressgateway.engine.runtime import Runtime
from egressgateway.handlers import build_registry, build_settings
from egressgateway.settings import Settings

log = logging.getLogger(__name__)

LEASE_LOST = 3
"""Exit code after a lost Lease: nothing is wrong with the program, start it again."""


def run_operator(settings: Settings) -> int:
    """
    Run until a signal or the loss of the Lease; returns the exit code.

    Raises:
        ClusterError: there is no kubeconfig, or it cannot be read.
        StartError: the port of probes and metrics is taken.
    """
    configure_logging(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    metrics = Metrics()
    # Both before kopf: what it is told in its start-up, it tries again for ever.
    client = await ApiClient.connect(settings.max_in_flight, on_request=metrics.api_request)
    try:
        runtime = Runtime(client, settings, metrics)
        await runtime.serve_probes()
        log.info("Connecting", extra={"fields": {"server": client.server}})
        await kopf.operator(
            registry=build_registry(runtime, stop),
            settings=build_settings(),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
            stop_flag=stop,
        )
    finally:
        await client.close()
    return LEASE_LOST if runtime.lost.is_set() else 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop
