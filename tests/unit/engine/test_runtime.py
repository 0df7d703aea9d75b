"""A replica as a whole: what it does before it leads, while it leads, and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from egressgateway.cluster.clock import ServerClock
from egressgateway.cluster.leader_election import LeaderElector
from egressgateway.cluster.queue import WorkQueue
from egressgateway.cluster.request import Request
from egressgateway.cluster.result import Done, Outcome
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.runtime import Runtime
from egressgateway.engine.process.worker import Workers, work_while_leading
from egressgateway.errors import Forbidden, NotFound
from egressgateway.refs import NAMESPACE, Key, Manifest, ObjectRef
from egressgateway.settings import LeaseSettings, MeshSettings, Settings
from unit import objects
from unit.cluster.fake_api import eventually

pytestmark = pytest.mark.asyncio


def gateway(namespace: str, name: str, version: int = 1) -> Manifest:
    wanted = objects.spec(objects.destination("a", f"{name}.{namespace}.example.com"))
    return objects.gateway(Key(namespace, name), wanted, version=version)


class Api:
    """
    An API server with EgressGateways and a Lease.

    What is under a path of `refused` may not be listed, what is under one of `unknown` is not served.
    """

    server = "https://api"

    def __init__(self, *gateways: Manifest) -> None:
        self.gateways = list(gateways)
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.lease: Manifest | None = None
        self.writes: list[str] = []
        self.clock = ServerClock()

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        await asyncio.sleep(0)
        if any(part in request.path for part in self.refused):
            raise Forbidden(request.call, "User cannot do that", code=403)
        if any(part in request.path for part in self.unknown):
            raise NotFound(request.call, "the server could not find the requested resource", code=404)
        if request.resource == "leases":
            return self._answer_lease(request)
        if request.method == "GET":
            here = [each for each in self.gateways if self._is_in(request, each)]
            return {
                "metadata": {"resourceVersion": "10"},
                "items": [dict(each) for each in here] if request.resource == "egressgateways" else [],
            }
        self.writes.append(request.path)
        return None

    async def stream(self, request: Request, *, inactivity_seconds: float = 90) -> AsyncIterator[Manifest]:
        await asyncio.Event().wait()
        yield {}

    def _answer_lease(self, request: Request) -> Manifest:
        if request.method == "GET":
            if self.lease is None:
                raise NotFound(request.call, "no Lease", code=404)
            return self.lease
        self.lease = {**orjson.loads(request.body or b"{}"), "metadata": {"resourceVersion": "1"}}
        return self.lease

    @staticmethod
    def _is_in(request: Request, each: Manifest) -> bool:
        return "/namespaces/" not in request.path or f"/namespaces/{each['metadata']['namespace']}/" in request.path


@asynccontextmanager
async def running(api: Api, **settings: Any) -> AsyncIterator[Runtime]:
    """A replica that has started, with a server for its probes."""
    metrics = Metrics()
    given = {"lease": LeaseSettings(enabled=False), **settings}
    client: Any = api
    runtime = Runtime(client, Settings(metrics_host="127.0.0.1", metrics_port=0, **given), metrics)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


def is_written_to(api: Api, namespace: str) -> bool:
    return any(f"/{namespace}/" in path for path in api.writes)


def value(runtime: Runtime, name: str, **labels: str) -> float | None:
    found: float | None = runtime._metrics.registry.get_sample_value(name, labels)
    return found


def reconciled(runtime: Runtime) -> float:
    results = ("success", "requeue_after", "waiting", "stalled", "error")
    return sum(value(runtime, "egressgateway_reconcile_total", result=result) or 0 for result in results)


async def test_a_replica_that_does_not_lead_queues_nothing() -> None:
    """
    Nobody takes keys out of its queue, so none is put in: neither a key that looks overdue, nor one of a gone object.

    The alert for a stuck queue fired for ever on each standby replica, and each name of a CI namespace was kept.
    """
    lease = LeaseSettings(enabled=True)
    api = Api(gateway("shop", "partners"))
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 3600}
    api.lease = {"metadata": {"resourceVersion": "1"}, "spec": spec}
    async with running(api, lease=lease) as runtime:
        await eventually(lambda: runtime._filled)
        for number in range(200):
            found = gateway(f"ci-{number}", "x", number + 10)
            runtime.gateway_event("ADDED", found)
            later = {**found["metadata"], "resourceVersion": str(number + 1000)}
            runtime.gateway_event("DELETED", {**found, "metadata": later})
        runtime._enqueue_all()
        assert not runtime.elector.is_leader
        assert len(runtime.caches.gateways) == 1
        assert value(runtime, "egressgateway_queue_depth") == 0
        assert value(runtime, "egressgateway_queue_oldest_seconds") == 0


async def test_a_new_leader_looks_at_everything_and_a_former_one_keeps_nothing() -> None:
    """After the term neither keys, nor series, nor watches are left; a new one begins with all objects."""
    api = Api(gateway("shop", "partners"))
    async with running(api) as runtime:
        await eventually(lambda: reconciled(runtime) > 0)
        key = Key("shop", "partners")
        runtime._metrics.status(key, {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]})
        runtime.caches.references.want(key, frozenset({ObjectRef("Secret", "shop", "s")}))
        runtime._queue.add_after(key, 60.0)
        runtime.elector._lead(False)
        await eventually(lambda: not runtime._working)
        assert (runtime._queue.depth, runtime._queue.delayed) == (0, 0)
        assert b"egressgateway_status_condition{" not in runtime._metrics.render()
        assert runtime.caches.references.wanted_by(ObjectRef("Secret", "shop", "s")) == frozenset()
        before = reconciled(runtime)
        runtime.elector._lead(True)
        await eventually(lambda: reconciled(runtime) > before)


async def test_namespaces_that_a_list_brings_enqueue_those_that_select_them() -> None:
    """The watch had ended meanwhile: no event of one namespace will say so, and no lookup may come for minutes."""
    api = Api(gateway("shop", "partners"))
    api.gateways[0]["spec"]["access"] = {"from": [{"namespaceSelector": {"matchLabels": {"team": "lab"}}}]}
    async with running(api) as runtime:
        await eventually(lambda: reconciled(runtime) > 0)
        enqueued: list[Key] = []
        runtime._add = lambda key, priority: enqueued.append(key)  # type: ignore[method-assign]
        informer = next(each for each in runtime._informers if each.resource is NAMESPACE)
        names = ("a", "b")
        metadata = [{"name": name, "labels": {"team": "lab"}, "uid": name} for name in names]
        listed = [{"apiVersion": "v1", "kind": "Namespace", "metadata": each} for each in metadata]
        for change in runtime.caches.namespaces.replace(listed):
            informer._reflectors[None]._on_change(change)
        assert enqueued == []
        await asyncio.sleep(0)
        assert enqueued == [Key("shop", "partners")], "once for all of them, in the next round of the event loop"


async def test_what_an_answer_brings_in_the_moment_of_the_loss_is_not_kept() -> None:
    """
    The pass goes on in the very tick in which the lead is lost; what it wants and shows goes when it has ended.

    The former leader went on to show the object as Ready, and to watch its Secret, until it led again.
    """
    metrics, references, queue = Metrics(), ReferenceCache(), WorkQueue[Key]()
    key, secret = Key("a", "p"), ObjectRef("Secret", "a", "s")
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def reconcile(key: Key) -> Outcome:
        await answer
        references.want(key, frozenset({secret}))
        metrics.status(key, {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]})
        return Done()

    def end() -> None:
        references.release_all()
        metrics.forget_all()
        ended.set()

    ended = asyncio.Event()
    client: Any = Api()
    elector = LeaderElector(client, LeaseSettings(), "a", on_change=metrics.leads)
    workers = Workers(queue, reconcile, concurrency=1, metrics=metrics)
    leading = asyncio.create_task(work_while_leading(elector, workers, end=end))
    elector._lead(True)
    queue.add(key)
    await eventually(lambda: queue.processing == 1)
    answer.set_result(None)
    elector._lead(False)
    await ended.wait()
    leading.cancel()
    assert b"egressgateway_status_condition{" not in metrics.render()
    assert references.wanted_by(secret) == frozenset()


async def test_a_namespace_beyond_reach_does_not_keep_the_others_from_being_served() -> None:
    """
    `--namespace a --namespace b`, and b was deleted with its RoleBinding: a is served after a restart.

    Nothing was, until somebody changed the flags; b is told of where people look, and served when it is back.
    """
    for refused, served in (("b", "a"), ("a", "b")):
        api = Api(gateway("a", "p"), gateway("b", "p"))
        api.refused = {f"/namespaces/{refused}/"}
        async with running(api, namespaces=("a", "b")) as runtime:
            await eventually(partial(is_written_to, api, served))
            assert not any(f"/{refused}/" in path for path in api.writes)
            assert runtime._unready() == []
            [remark] = runtime._reach.refused.values()
            assert f"namespace {refused} is not served" in remark
            assert f"remove --namespace {refused}" in remark
            assert value(runtime, "egressgateway_namespace_served", namespace=refused) == 0
            assert value(runtime, "egressgateway_namespace_served", namespace=served) == 1


async def test_a_namespace_that_lacks_one_right_is_not_served_by_halves() -> None:
    """Its EgressGateways are known, but not what lives of them: to plan without that would be a guess."""
    api = Api(gateway("a", "p"), gateway("b", "p"))
    api.refused = {"/namespaces/b/serviceentries"}
    async with running(api, namespaces=("a", "b")) as runtime:
        await eventually(lambda: any("/a/" in path for path in api.writes))
        assert not any("/b/" in path for path in api.writes)
        [remark] = runtime._reach.refused.values()
        assert "the operator may not list ServiceEntry there" in remark


async def test_a_namespace_is_served_once_the_right_is_there() -> None:
    """Each kind is asked for again by itself; the last one that is listed opens the namespace."""
    api = Api(gateway("a", "p"), gateway("b", "p"))
    api.refused = {"/namespaces/b/"}
    async with running(api, namespaces=("a", "b")) as runtime:
        await eventually(lambda: any("/a/" in path for path in api.writes))
        api.refused.clear()
        await eventually(lambda: any("/b/" in path for path in api.writes), within_seconds=60.0)
        assert runtime._reach.refused == {}
        assert value(runtime, "egressgateway_namespace_served", namespace="b") == 1


async def test_nobody_starts_where_no_namespace_can_be_read() -> None:
    """With nothing to serve the replica says so, and does not get ready."""
    api = Api(gateway("a", "p"))
    api.refused = {"/namespaces/a/", "/namespaces/b/"}
    client: Any = api
    runtime = Runtime(client, Settings(namespaces=("a", "b"), metrics_port=0), Metrics())
    starting = asyncio.create_task(runtime.start())
    await eventually(lambda: "may not list egressgateways" in "".join(runtime._unready()))
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_replica_that_waits_for_the_meshs_configuration_does_not_stand_for_election() -> None:
    """It could not work, and would keep one from leading that can: another revision's, in the middle of an upgrade."""
    api = Api(gateway("shop", "partners"))
    settings = {"lease": LeaseSettings(enabled=True), "mesh": MeshSettings(revision="canary")}
    async with running(api, **settings) as runtime:
        await eventually(runtime._resync.synced.is_set)
        await eventually(lambda: all(each.state.synced for each in (*runtime._informers, *runtime._mesh.informers)))
        assert api.lease is None
        config = {"metadata": {"namespace": "istio-system", "name": "istio-canary", "resourceVersion": "5"}}
        change = runtime.caches.mesh.config_maps.put({**config, "data": {"mesh": "trustDomain: x"}})
        assert change is not None
        runtime._mesh._changed(change)
        await eventually(lambda: runtime.elector.is_leader)
        assert api.lease is not None


@pytest.mark.parametrize("way", ["refused", "unknown"])
async def test_a_cluster_without_apisix_is_told_of_once(caplog: pytest.LogCaptureFixture, way: str) -> None:
    """One line at info says what is missing and what that means; nothing is cut off, and nothing is amiss."""
    caplog.set_level("INFO")
    api = Api()
    setattr(api, way, {"/apis/apisix.apache.org/"})
    async with running(api) as runtime:
        await eventually(lambda: runtime._filled)
        runtime._served_changed()
        lines = [record for record in caplog.records if "APISIX" in record.getMessage()]
        assert [(record.levelname, record.__dict__["fields"]) for record in lines] == [
            ("INFO", {"kinds": ["ApisixRoute", "ApisixUpstream"]})
        ]
        assert not [record for record in caplog.records if "request failed" in record.getMessage()]
        assert runtime._unready() == []
