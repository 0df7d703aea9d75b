"""Probes and metrics over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.informer import Informer
from egressgateway.cluster.reflector import Timing
from egressgateway.cluster.store import Store
from egressgateway.engine.process.health import Server, dead_informers, missing_kinds
from egressgateway.engine.process.metrics import Metrics
from egressgateway.errors import StartError
from egressgateway.refs import CHILD_BY_KIND, EGRESS_GATEWAY
from unit.cluster.fake_api import FakeApi, eventually, refusal

pytestmark = pytest.mark.asyncio
QUICK = Timing(first_retry=0.004, longest_retry=0.02, longest_refused_retry=0.02)


class Probed:
    """A server and what its checks say."""

    def __init__(self) -> None:
        self.unhealthy: list[str] = []
        self.unready: list[str] = []
        self.metrics = Metrics()
        self.server = Server(
            "127.0.0.1", 0, healthy=lambda: self.unhealthy, ready=lambda: self.unready, metrics=self.metrics
        )

    async def get(self, path: str) -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, response.content_type, await response.text()


@pytest_asyncio.fixture
async def probed() -> AsyncIterator[Probed]:
    it = Probed()
    await it.server.start()
    yield it
    await it.server.stop()


async def test_probes_say_ok_or_what_is_missing(probed: Probed) -> None:
    """200 when nothing is wrong, else 503 with one line per problem; the two probes are independent."""
    assert await probed.get("/healthz") == (200, "text/plain", "ok\n")
    probed.unready = ["Gateway has not been listed yet", "the Lease cannot be read"]
    expected = "Gateway has not been listed yet\nthe Lease cannot be read\n"
    assert await probed.get("/readyz") == (503, "text/plain", expected)
    assert (await probed.get("/healthz"))[0] == 200
    probed.unready = []
    assert (await probed.get("/readyz"))[0] == 200


async def test_metrics_are_served_as_prometheus_reads_them(probed: Probed) -> None:
    """The registry of this operator, in the text format."""
    probed.metrics.reconciled("success", 0.1)
    code, kind, text = await probed.get("/metrics")
    assert (code, kind) == (200, "text/plain")
    assert 'egressgateway_reconcile_total{result="success"} 1.0' in text


async def test_taken_port_is_an_error_at_the_start(probed: Probed) -> None:
    """Whoever cannot be probed must not run unnoticed."""
    second = Server("127.0.0.1", probed.server.port, healthy=list, ready=list, metrics=probed.metrics)
    with pytest.raises(StartError, match="another process already listens there; choose another --metrics-port"):
        await second.start()
    await second.stop()


async def test_informers_are_ready_once_listed_or_not_served(api: FakeApi, client: ApiClient) -> None:
    """A kind that may not be listed is named with the reason; one that is not installed holds nobody up."""
    api.unserved.add("egressgateways")
    allowed = False

    async def forbid(request: web.Request) -> web.Response | None:
        return refusal(403, "Forbidden", "no right") if "services" in request.path and not allowed else None

    api.intercept = forbid
    resources = (CHILD_BY_KIND["Service"], EGRESS_GATEWAY)
    informers = [Informer(client, resource, Store(), timing=QUICK) for resource in resources]
    assert missing_kinds(informers) == [
        "Service has not been listed yet",
        "EgressGateway has not been listed yet",
    ]
    assert len(dead_informers(informers)) == 2
    for informer in informers:
        informer.start()
    await eventually(lambda: informers[1].state.synced and informers[0].state.error)
    assert missing_kinds(informers) == ["Service has not been listed yet: list services: no right"]
    allowed = True
    await eventually(lambda: missing_kinds(informers) == [])
    assert dead_informers(informers) == []
    await informers[0].stop()
    assert dead_informers(informers) == ["the informer of Service does not run"]
    await informers[1].stop()
