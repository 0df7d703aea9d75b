"""References at the HTTP seam: watched while wanted, one by one, without a private key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.reflector import Timing
from egressgateway.engine.cache.reference_watch import MOST_LINGERING, ReferenceWatch
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.facts import PodSelection
from egressgateway.refs import Key, ObjectRef
from unit.cluster.fake_api import FakeApi, eventually, refusal

pytestmark = pytest.mark.asyncio
ME = Key("shop", "me")
SECRET, SERVICE = ObjectRef("Secret", "shop", "client"), ObjectRef("Service", "shop", "web")
GATEWAY = ObjectRef("Gateway", "ingress", "public")
PODS = PodSelection("istio-egress", (("app", "egress"), ("istio", "egress")))
EVERYWHERE = PodSelection("", (("istio", "ingress"),))
QUICK = Timing(first_retry=0.004, longest_retry=0.02, longest_refused_retry=0.02)


class Watched:
    """A cache that is kept equal to the server, and the keys that were told."""

    def __init__(self, client: ApiClient, linger_seconds: float, look_after_seconds: float = 0.02) -> None:
        self.cache = ReferenceCache()
        self.told: list[Key] = []
        self.watch = ReferenceWatch(
            client,
            self.cache,
            self.told.extend,
            timing=QUICK,
            linger_seconds=linger_seconds,
            look_after_seconds=look_after_seconds,
        )
        self.watch.start()

    def object(self, ref: ObjectRef) -> object:
        """The object, `missing`, or `unread`."""
        return self.cache.read([ref]).objects.get(ref, "unread") or "missing"


@pytest_asyncio.fixture
async def it(client: ApiClient) -> AsyncIterator[Watched]:
    watched = Watched(client, 0.02)
    yield watched
    await watched.watch.stop()


async def test_wanted_object_is_read_by_name_and_followed(api: FakeApi, it: Watched) -> None:
    """Its coming, its change and its end are news; others in the namespace are not even asked for."""
    api.put("services", "shop", "other")
    it.cache.want(ME, {SERVICE})
    assert it.object(SERVICE) == "unread"
    await eventually(lambda: it.object(SERVICE) == "missing" and api.watches)
    assert it.told == [ME]
    api.put("services", "shop", "other", spec={})
    api.put("services", "shop", "web", spec={"ports": []})
    await eventually(lambda: len(it.told) == 2)
    assert it.cache.read([SERVICE]).objects[SERVICE]["spec"] == {"ports": []}  # type: ignore[index]
    api.delete("services", "shop", "web")
    await eventually(lambda: it.object(SERVICE) == "missing")
    assert len(it.told) == 3
    assert {(seen.path, seen.query["fieldSelector"]) for seen in api.seen} == {
        ("/api/v1/namespaces/shop/services", "metadata.name=web")
    }


async def test_private_key_is_never_kept(api: FakeApi, it: Watched) -> None:
    """Not in the cache, not in the store behind it: from a list and from a watch."""
    key, certificate = (base64.b64encode(text).decode() for text in (b"private", b"certificate"))
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": key}
    api.put("secrets", "shop", "client", data={"tls.key": key}, metadata={"annotations": annotations})
    it.cache.want(ME, {SECRET})
    await eventually(lambda: it.told and api.watches)
    assert key not in str(vars(it.watch._watched[SECRET].store))
    api.put("secrets", "shop", "client", data={"tls.key": key, "tls.crt": certificate})
    await eventually(lambda: len(it.told) == 2)
    assert it.cache.read([SECRET]).objects[SECRET]["data"] == {  # type: ignore[index]
        "tls.key": "",
        "tls.crt": certificate,
    }
    assert key not in str(vars(it.watch._watched[SECRET].store)) + str(vars(it.cache))


async def test_pods_are_selected_by_labels(api: FakeApi, it: Watched) -> None:
    """In one namespace, or in all."""
    condition = {"type": "Ready", "status": "True"}
    for namespace in ("istio-egress", "istio-ingress"):
        api.put("pods", namespace, "p", spec={"serviceAccountName": "sa"}, status={"conditions": [condition]})
    it.cache.want(ME, {PODS, EVERYWHERE})
    await eventually(lambda: len(it.cache.read([], [PODS, EVERYWHERE]).pods) == 2)
    found = it.cache.read([], [PODS, EVERYWHERE]).pods
    assert [(pod.namespace, pod.service_account, pod.ready) for pod in found[PODS]] == [("istio-egress", "sa", True)]
    assert [pod.namespace for pod in found[EVERYWHERE]] == ["istio-egress", "istio-ingress"]
    asked = {(seen.path, seen.query["labelSelector"]) for seen in api.seen}
    assert asked == {
        ("/api/v1/namespaces/istio-egress/pods", "app=egress,istio=egress"),
        ("/api/v1/pods", "istio=ingress"),
    }


async def test_pods_that_do_not_start_in_time_are_looked_at(api: FakeApi, it: Watched) -> None:
    """From then on, until nobody looks any more."""
    it.cache.look(ME, PODS)
    assert it.watch.watched == frozenset()
    await eventually(lambda: api.watches)
    assert it.watch.watched == {PODS}
    it.cache.look(ME, None)
    await eventually(lambda: not it.watch.watched)


async def test_pods_that_start_in_time_are_not_asked_for(api: FakeApi, client: ApiClient) -> None:
    """A rollout without a problem costs no watch; pods that somebody wants are read at once, looked at or not."""
    it = Watched(client, linger_seconds=0, look_after_seconds=3600)
    it.cache.look(ME, PODS)
    it.cache.look(ME, None)
    assert not it.watch._looks_due
    it.cache.look(ME, PODS)
    assert it.watch.watched == frozenset()
    it.cache.want(ME, {PODS})
    assert it.watch.watched == {PODS}
    assert not it.watch._looks_due
    it.cache.want(ME, frozenset())
    assert it.watch.watched == {PODS}, "still looked at"
    await it.watch.stop()


async def test_looks_that_are_due_end_with_the_watch(client: ApiClient) -> None:
    """Nothing begins after the end."""
    it = Watched(client, linger_seconds=0, look_after_seconds=3600)
    it.cache.look(ME, PODS)
    [due] = it.watch._looks_due.values()
    await it.watch.stop()
    assert due.cancelled()


async def test_kind_that_is_not_served_is_missing(api: FakeApi, it: Watched) -> None:
    """Without Istio's CRDs there is no such Gateway."""
    api.unserved.add("gateways")
    it.cache.want(ME, {GATEWAY})
    await eventually(lambda: it.object(GATEWAY) == "missing")


async def test_missing_right_is_told_and_heals(api: FakeApi, it: Watched) -> None:
    """Also one that is taken away later: then nothing is known any more."""
    refused: list[bool] = [True]

    async def intercept(_: web.Request) -> web.Response | None:
        return refusal(403, "Forbidden", "cannot list secrets") if refused else None

    api.put("secrets", "shop", "client", data={})
    api.intercept = intercept
    it.cache.want(ME, {SECRET})
    await eventually(lambda: it.cache.read([SECRET]).unreadable)
    refused.clear()
    await eventually(lambda: it.object(SECRET) != "unread" and api.watches)
    assert not it.cache.read([SECRET]).unreadable
    refused.append(True)
    api.end_watches()
    await eventually(lambda: it.cache.read([SECRET]).unreadable)
    assert it.object(SECRET) == "unread"
    refused.clear()
    await eventually(lambda: it.object(SECRET) != "unread")
    assert it.told == [ME] * 4


async def test_server_in_trouble_takes_nothing_away(api: FakeApi, it: Watched) -> None:
    """What was read stays, while the watch is cut and comes back."""
    api.put("services", "shop", "web")
    it.cache.want(ME, {SERVICE})
    await eventually(lambda: api.watches)
    failures: list[int] = []

    async def fail(_: web.Request) -> web.Response | None:
        failures.append(1)
        return refusal(500)

    api.intercept = fail
    api.end_watches("reset")
    await eventually(lambda: len(failures) > 2)
    assert it.object(SERVICE) not in ("unread", "missing")
    api.put("services", "shop", "web", spec={"x": 1})
    api.intercept = None
    await eventually(lambda: len(it.told) == 2)


async def test_unwanted_object_is_forgotten_after_a_while(api: FakeApi, it: Watched) -> None:
    """And read anew when somebody wants it again."""
    it.cache.want(ME, {SERVICE})
    await eventually(lambda: it.object(SERVICE) == "missing" and api.watches)
    it.cache.want(ME, frozenset())
    assert it.watch.watched == {SERVICE}
    await eventually(lambda: not it.watch.watched)
    assert it.object(SERVICE) == "unread"
    await eventually(lambda: not api.watches)
    it.cache.want(ME, {SERVICE})
    await eventually(lambda: it.object(SERVICE) == "missing")


async def test_object_that_is_wanted_again_in_time_is_not_read_anew(api: FakeApi, client: ApiClient) -> None:
    """An edit that is taken back, another leader: the watch goes on."""
    it = Watched(client, linger_seconds=3600)
    it.cache.want(ME, {SERVICE})
    await eventually(lambda: api.watches)
    it.cache.want(ME, frozenset())
    it.cache.want(ME, {SERVICE})
    assert it.watch._watched[SERVICE].ending is None
    assert it.object(SERVICE) == "missing"
    assert api.count("GET") == 1
    await it.watch.stop()


async def test_many_objects_do_not_come_at_once(api: FakeApi, it: Watched) -> None:
    """Hundreds of reflectors begin one after the other; all of them arrive."""
    open_at_once: list[int] = []
    now = 0

    async def count(_: web.Request) -> None:
        nonlocal now
        now += 1
        open_at_once.append(now)
        await asyncio.sleep(0)
        now -= 1

    api.intercept = count
    refs = {ObjectRef("Service", "shop", f"s{number}") for number in range(40)}
    it.cache.want(ME, refs)
    await eventually(lambda: len(it.cache.read(refs).objects) == len(refs))
    assert max(open_at_once) < len(refs) / 2


async def test_watches_that_linger_are_bounded(api: FakeApi, client: ApiClient) -> None:
    """Who names other objects in each edit does not leave a watch behind for each of them."""
    watched = Watched(client, 60)
    for number in range(MOST_LINGERING + 20):
        watched.cache.want(ME, {ObjectRef("Service", "shop", f"s{number}")})
    assert len(watched.watch.watched) == MOST_LINGERING + 1
    await watched.watch.stop()


async def test_object_that_is_too_large_is_not_held(api: FakeApi, it: Watched) -> None:
    """Megabytes in what a spec names are nobody's to read: it counts as unreadable, and others are read."""
    api.put("services", "shop", "web", metadata={"annotations": {"x": "y" * 1_000_000}})
    large = ObjectRef("Secret", "shop", "large")
    api.put("secrets", "shop", "large", data={f"k{number}": "" for number in range(200_000)})
    it.cache.want(ME, {SERVICE, large})
    await eventually(lambda: len(it.told) == 2)
    known = it.cache.read([SERVICE, large])
    assert known.unreadable == {large}
    assert len(str(known.objects[SERVICE])) < 1_000
