"""The mesh's configuration at the HTTP seam: followed when it can be read, waited for by nobody when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from egressgateway.cluster.client import ApiClient
from egressgateway.engine.cache.mesh_watch import MeshWatch
from egressgateway.engine.cache.meshconfig import MeshCache, MeshReading
from unit.cluster.fake_api import FakeApi, eventually, refusal

pytestmark = pytest.mark.asyncio


class Watched:
    """A cache that is kept equal to the server, and how often that was news."""

    def __init__(self, client: ApiClient, revision: str = "") -> None:
        self.cache = MeshCache("istio-system", revision)
        self.news = 0
        self.watch = MeshWatch(client, self.cache, on_news=self._count, on_restart=lambda kind, why: None)

    def _count(self) -> None:
        self.news += 1


@pytest_asyncio.fixture
async def it(client: ApiClient) -> AsyncIterator[Watched]:
    watched = Watched(client)
    yield watched
    await watched.watch.stop()


def put_config(api: FakeApi, text: str, name: str = "istio") -> None:
    api.put("configmaps", "istio-system", name, data={"mesh": text})


def put_istiod(api: FakeApi, image: str, **status: int) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "discovery", "image": image}]}}}
    api.put("deployments", "istio-system", "istiod", spec=spec, status=status)


async def test_mesh_is_read_and_followed(api: FakeApi, it: Watched) -> None:
    """One object by name and the control plane by its label; a change of what they say is news, all else is not."""
    put_config(api, "trustDomain: one.example")
    put_istiod(api, "istio/pilot:1.29.0")
    it.watch.start()
    await it.watch.read()
    assert it.cache.reading().trust_domain == "one.example"
    await eventually(lambda: len(api.watches) == 2)
    before = it.news
    put_istiod(api, "istio/pilot:1.29.0", readyReplicas=1)
    put_istiod(api, "istio/pilot:1.30.3", readyReplicas=1)
    await eventually(lambda: it.cache.reading().config.context_propagation)
    assert it.news == before + 1
    put_config(api, "trustDomain: two.example")
    await eventually(lambda: it.cache.reading().trust_domain == "two.example")
    assert it.news == before + 2
    assert {(seen.path, seen.query.get("fieldSelector") or seen.query["labelSelector"]) for seen in api.seen} == {
        ("/api/v1/namespaces/istio-system/configmaps", "metadata.name=istio"),
        ("/apis/apps/v1/namespaces/istio-system/deployments", "app=istiod"),
    }


async def test_revision_is_read_where_its_configuration_is(api: FakeApi, client: ApiClient) -> None:
    """An installation with revisions only has no ConfigMap `istio`; the operator once looked for that alone."""
    put_config(api, "trustDomain: theirs.example")
    put_config(api, "trustDomain: one.example", "istio-1-30")
    watched = Watched(client, "1-30")
    watched.watch.start()
    try:
        await watched.watch.read()
        assert watched.cache.reading().trust_domain == "one.example"
        assert {seen.query.get("fieldSelector") for seen in api.seen} == {"metadata.name=istio-1-30", None}
    finally:
        await watched.watch.stop()


@pytest.mark.parametrize("forbidden", [False, True])
async def test_configuration_that_was_named_is_waited_for(
    api: FakeApi, client: ApiClient, caplog: pytest.LogCaptureFixture, *, forbidden: bool
) -> None:
    """Without it every hop would ask for identities of another trust domain; a name that was wrong is said."""

    async def refuse(request: web.Request) -> web.Response | None:
        return refusal(403, "Forbidden") if "configmaps" in request.path else None

    if forbidden:
        put_config(api, "trustDomain: one.example", "istio-1-30")
        api.intercept = refuse
    watched = Watched(client, "1-30")
    watched.watch.start()
    reading = asyncio.create_task(watched.watch.read())
    try:
        await eventually(lambda: watched.watch.missing in caplog.messages)
        assert "--mesh-revision 1-30: ConfigMap istio-system/istio-1-30 does not exist" in watched.watch.missing
        assert not reading.done()
        api.intercept = None
        put_config(api, "trustDomain: one.example", "istio-1-30")
        await reading
        assert (watched.watch.missing, watched.cache.reading().trust_domain) == ("", "one.example")
        api.delete("configmaps", "istio-system", "istio-1-30")
        await eventually(lambda: not watched.cache.has_config)
        assert (watched.watch.missing, watched.cache.reading().trust_domain) == ("", "one.example")
    finally:
        reading.cancel()
        await watched.watch.stop()


async def test_cluster_without_a_mesh_is_read(it: Watched) -> None:
    """There is nothing, and that is known."""
    it.watch.start()
    await it.watch.read()
    assert (it.cache.reading(), it.news) == (MeshReading(), 0)


async def test_missing_right_holds_nobody_up(api: FakeApi, it: Watched) -> None:
    """What cannot be read is unknown; once the right is given it is read."""

    async def refuse(request: web.Request) -> web.Response | None:
        return refusal(403, "Forbidden") if "configmaps" in request.path else None

    put_config(api, "trustDomain: one.example")
    api.intercept = refuse
    it.watch.start()
    await it.watch.read()
    assert it.cache.reading() == MeshReading()
    api.intercept = None
    await eventually(lambda: it.cache.reading().trust_domain == "one.example")
    assert it.news == 1
