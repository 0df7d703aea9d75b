"""What gateways' pods say of their own proxies, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from aiohttp import web

from egressgateway.cluster.request import Request
from egressgateway.engine.process import acknowledgement, gateway_page
from egressgateway.engine.process.acknowledgement import AcknowledgementReader
from egressgateway.errors import Unavailable
from egressgateway.facts import Acknowledgement, Answers, PodSelection, Receipt
from egressgateway.refs import Key

KEY = Key("shop", "partners")
PODS = PodSelection("shop", (("egressgateway.dev/gateway", "partners"),))
API, PAY = (f"outbound|443||tls-443.{name}.example.com.partners.shop.egress.internal" for name in ("api", "pay"))
FOREIGN = "outbound|80||http-80.example.org.others.shop.egress.internal"


def pod(name: str, address: str, *, ready: bool = True) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


class Mesh:
    """
    An API server that lists the pods, and the page of each pod, by its address: None answers with an error. `secrets`
    likewise: how often the pod's proxy took each.
    """

    def __init__(self) -> None:
        self.pods = [pod("partners-0", "127.0.0.1")]
        self.pages: dict[str, list[str] | None] = {"127.0.0.1": []}
        self.secrets: dict[str, dict[str, int]] = {}
        self.lists = 0
        self._listed = asyncio.Semaphore(0)
        self.refuses = False

    async def send(self, request: Request) -> Any:
        self.lists += 1
        self._listed.release()
        if self.refuses:
            raise Unavailable("it is busy")
        return {"items": self.pods}

    async def until_listed(self, times: int) -> None:
        """Until the pods were listed so often from now on: the answers before the last list have been judged."""
        while not self._listed.locked():
            await self._listed.acquire()
        for _ in range(times):
            await asyncio.wait_for(self._listed.acquire(), 30)

    async def answer(self, request: web.Request) -> web.Response:
        address = request.host.partition(":")[0]
        clusters = self.pages[address]
        if clusters is None:
            return web.Response(status=503)
        lines = [
            *(f'envoy_cluster_membership_total{{cluster_name="{each}"}} 1' for each in clusters),
            *(
                f"envoy_sds_kubernetes_{n}_update_success{{}} {took}"
                for n, took in self.secrets.get(address, {}).items()
            ),
        ]
        return web.Response(text="\n".join(lines))


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mesh]:
    shop = Mesh()
    app = web.Application()
    app.router.add_get("/stats/prometheus", shop.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    other = web.TCPSite(runner, "127.0.0.2", port)
    await other.start()
    monkeypatch.setattr(gateway_page, "PORT", port)
    for name in ("_FIRST_WAIT", "_LONGEST_WAIT"):
        monkeypatch.setattr(acknowledgement, name, 0.01)
    yield shop
    await runner.cleanup()


class Asked:
    """A reader at work, and its news."""

    def __init__(self, shop: Mesh) -> None:
        self._news: asyncio.Queue[frozenset[Key]] = asyncio.Queue()
        self.reader = AcknowledgementReader(shop, self._news.put_nowait)

    async def news(self) -> frozenset[Key]:
        return await asyncio.wait_for(self._news.get(), 30)

    async def until(self, wanted: Acknowledgement) -> None:
        """Until the pods have said that; every change on the way must be told as news."""
        while self.reader.said(KEY) != wanted:
            assert await self.news() == {KEY}


@pytest.fixture
async def asked(shop: Mesh) -> AsyncIterator[Asked]:
    asked = Asked(shop)
    asked.reader.task.start()
    yield asked
    await asked.reader.task.stop()


async def test_section_lacks_what_a_pod_does_not_have_yet(shop: Mesh, asked: Asked) -> None:
    """A push brings it; then nobody is asked any more."""
    shop.pages["127.0.0.1"] = [API]
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API}), "pay": frozenset({PAY})})
    assert asked.reader.said(KEY) == Acknowledgement(Answers.AWAITED), "nobody has answered yet"
    await asked.until(Acknowledgement(Answers.COMPLETE, {"pay": "partners-0"}))
    shop.pages["127.0.0.1"] = [API, PAY]
    await asked.until(Acknowledgement(Answers.COMPLETE))
    lists = shop.lists
    await asyncio.sleep(0.1)
    assert shop.lists == lists


async def test_one_pod_without_it_is_enough(shop: Mesh, asked: Asked) -> None:
    """Requests reach any ready pod. One that is not ready gets none, and may lack everything."""
    shop.pods = [
        pod("partners-0", "127.0.0.1"),
        pod("partners-1", "127.0.0.2"),
        pod("partners-2", "127.0.0.3", ready=False),
    ]
    shop.pages |= {"127.0.0.1": [API], "127.0.0.2": [FOREIGN]}
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.COMPLETE, {"api": "partners-1"}))


async def test_pod_whose_proxy_keeps_no_such_counter_does_not_tell(shop: Mesh, asked: Asked) -> None:
    """Its page has nothing of any gateway, or the mesh has names of its own: what the proxy has is not known."""
    shop.pages["127.0.0.1"] = [
        "outbound|80||kubernetes.default.svc.cluster.local",
        "api.partners.shop.egress.internal_443",
    ]
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.MISSING))


async def test_one_silent_pod_beside_one_that_tells(shop: Mesh, asked: Asked) -> None:
    """It is asked a few times more; then the time decides for it, and what the other one says still counts."""
    shop.pods.append(pod("partners-1", "127.0.0.2"))
    shop.pages |= {"127.0.0.1": [FOREIGN], "127.0.0.2": None}
    asked.reader.want(KEY, PODS, 2, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.MISSING, {"api": "partners-0"}))
    shop.pages["127.0.0.1"] = [API]
    await asked.until(Acknowledgement(Answers.MISSING))


async def test_failed_list_is_no_answer(shop: Mesh, asked: Asked) -> None:
    """What was told last still holds; where nothing was, the time decides after a while."""
    shop.refuses = True
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.MISSING))
    shop.refuses = False
    shop.pages["127.0.0.1"] = [FOREIGN]
    asked.reader.want(KEY, PODS, 2, {"api": frozenset({API})})
    assert asked.reader.said(KEY) == Acknowledgement(Answers.AWAITED), "one more pod may have slept through a push"
    await asked.until(Acknowledgement(Answers.COMPLETE, {"api": "partners-0"}))
    shop.refuses = True
    await shop.until_listed(acknowledgement.MOST_SILENT_ROUNDS + 1)
    assert asked.reader.said(KEY).lacking == {"api": "partners-0"}


async def test_first_answers_are_not_waited_for_without_end(
    shop: Mesh, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' pods may take all turns."""
    monkeypatch.setattr(acknowledgement, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(acknowledgement, "MOST_SILENT_ROUNDS", 1_000_000)
    shop.pages["127.0.0.1"] = None
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.MISSING))


async def test_what_is_wanted_besides_is_judged_by_the_last_answers(shop: Mesh, asked: Asked) -> None:
    """A new way out is lacking until a pod says otherwise: it is not asked for in the same moment."""
    shop.pages["127.0.0.1"] = [API]
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.COMPLETE))
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API}), "pay": frozenset({PAY})})
    assert asked.reader.said(KEY) == Acknowledgement(Answers.COMPLETE, {"pay": "partners-0"})


async def test_pods_that_do_not_tell_are_asked_a_few_times(shop: Mesh, asked: Asked) -> None:
    """Their port may be closed to the operator. One more pod that becomes ready is asked, and so are the others."""
    shop.pages["127.0.0.1"] = None
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await shop.until_listed(acknowledgement.MOST_SILENT_ROUNDS)
    lists = shop.lists
    await asyncio.sleep(0.1)
    assert shop.lists == lists
    shop.pods.append(pod("partners-1", "127.0.0.2"))
    shop.pages |= {"127.0.0.1": [API], "127.0.0.2": [API]}
    asked.reader.want(KEY, PODS, 2, {"api": frozenset({API})})
    await asked.until(Acknowledgement(Answers.COMPLETE))


async def test_object_whose_pods_have_told_all_costs_nothing(shop: Mesh, asked: Asked) -> None:
    """However many there are, only those that lack something are looked at again."""
    shop.pages["127.0.0.1"] = [API]
    keys = [Key("shop", f"partners-{number}") for number in range(20)]
    for key in keys:
        asked.reader.want(key, PODS, 1, {"api": frozenset({API})})
    asked.reader.want(KEY, PODS, 1, {"pay": frozenset({PAY})})
    untold = {*keys, KEY}
    while untold:
        untold -= await asked.news()
    assert all(asked.reader.said(key) == Acknowledgement(Answers.COMPLETE) for key in keys)
    assert asked.reader.said(KEY).lacking
    assert asked.reader._rounds.waiting <= 1


def waits(waiting: int) -> Iterator[float]:
    """Seconds between the rounds of one of so many objects whose pods lack something."""
    wait = acknowledgement._FIRST_WAIT
    while True:
        yield wait
        wait = acknowledgement.next_wait(wait, waiting)


def rounds_within(seconds: float, waiting: int) -> int:
    moments = itertools.accumulate(waits(waiting))
    return sum(1 for _ in itertools.takewhile(lambda moment: moment <= seconds, moments))


def test_pod_that_lacks_something_for_long_is_still_asked_every_ten_seconds() -> None:
    """Its new clients wait until it has been asked. It was a minute."""
    assert max(itertools.islice(waits(1), 100)) == 10
    assert (rounds_within(10, 1), rounds_within(3600, 1)) == (4, 363)


def test_many_that_lack_something_for_long_share_the_rounds() -> None:
    """A mesh without its istiod: what that costs the API server does not grow with the number of gateways."""
    hour = rounds_within(3600, 1000) - rounds_within(600, 1000)
    assert hour * 1000 <= 20 * 3000


async def test_nobody_is_asked_for_an_object_that_wants_nothing(shop: Mesh, asked: Asked) -> None:
    asked.reader.want(KEY, PODS, 1, {"api": frozenset({API})})
    await shop.until_listed(1)
    asked.reader.want(KEY, PODS, 1, {})
    assert asked.reader.said(KEY) == Acknowledgement()


def secrets(**receipts: Receipt) -> Acknowledgement:
    """What pods say that have all ways out; `cert_cacert` stands for `cert-cacert`."""
    return Acknowledgement(Answers.COMPLETE, secrets={n.replace("_", "-"): told for n, told in receipts.items()})


WAY: Final = {"api": frozenset({API})}
PAIR: Final = frozenset({"cert", "cert-cacert"})


async def test_secret_is_received_where_every_pod_says_so(shop: Mesh, asked: Asked) -> None:
    """Then nobody is asked any more; one more pod that becomes ready is, and so are the others."""
    shop.pages["127.0.0.1"] = [API]
    shop.secrets["127.0.0.1"] = {"cert": 1, "cert_cacert": 2}
    asked.reader.want(KEY, PODS, 1, WAY, PAIR)
    assert asked.reader.said(KEY).secrets == dict.fromkeys(PAIR, Receipt.AWAITED)
    await asked.until(secrets(cert=Receipt.RECEIVED, cert_cacert=Receipt.RECEIVED))
    shop.pods.append(pod("partners-1", "127.0.0.2"))
    shop.pages["127.0.0.2"] = [API]
    shop.secrets["127.0.0.2"] = {"cert": 1}
    asked.reader.want(KEY, PODS, 2, WAY, PAIR)
    assert asked.reader.said(KEY).secrets == dict.fromkeys(PAIR, Receipt.AWAITED)
    await asked.until(secrets(cert=Receipt.RECEIVED, cert_cacert=Receipt.UNTOLD))


async def test_secret_that_a_pod_waits_for_is_lacking_after_a_while(
    shop: Mesh, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push may be under way. Later it is not there, and the pod is asked until it has it."""
    shop.pages["127.0.0.1"] = [API]
    shop.secrets["127.0.0.1"] = {"cert": 1, "cert_cacert": 0}
    asked.reader.want(KEY, PODS, 1, WAY, PAIR)
    await asked.until(secrets(cert=Receipt.RECEIVED, cert_cacert=Receipt.AWAITED))
    await shop.until_listed(acknowledgement.MOST_SILENT_ROUNDS + 2)
    assert asked.reader.said(KEY).secrets["cert-cacert"] is Receipt.AWAITED
    monkeypatch.setattr(acknowledgement, "_PATIENCE_SECONDS", 0.0)
    # An edit of another section.
    asked.reader.want(KEY, PODS, 1, {}, PAIR)
    await asked.until(secrets(cert=Receipt.RECEIVED, cert_cacert=Receipt.LACKING))
    shop.secrets["127.0.0.1"] = {"cert": 1, "cert_cacert": 1}
    await asked.until(secrets(cert=Receipt.RECEIVED, cert_cacert=Receipt.RECEIVED))


async def test_proxy_that_keeps_no_counters_of_secrets_does_not_tell(shop: Mesh, asked: Asked) -> None:
    """Its pod is older than the operator, for example; it is asked a few times."""
    shop.pages["127.0.0.1"] = [API]
    asked.reader.want(KEY, PODS, 1, WAY, frozenset({"cert"}))
    await asked.until(secrets(cert=Receipt.UNTOLD))
    lists = shop.lists
    await asyncio.sleep(0.1)
    assert shop.lists == lists


async def test_gateway_without_ways_out_tells_of_secrets(shop: Mesh, asked: Asked) -> None:
    """It exposes hosts alone; a page without either is none of a gateway."""
    asked.reader.want(KEY, PODS, 1, {}, frozenset({"cert"}))
    await asked.until(Acknowledgement(Answers.MISSING, secrets={"cert": Receipt.UNTOLD}))
    shop.secrets["127.0.0.1"] = {"cert": 1}
    asked.reader.want(KEY, PODS, 2, {}, frozenset({"cert"}))
    await asked.until(secrets(cert=Receipt.RECEIVED))


async def test_what_was_not_told_is_asked_again_later(
    shop: Mesh, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a pass that comes anyway: whoever lets the operator reach the port changes nothing that it sees."""
    shop.pages["127.0.0.1"] = None
    asked.reader.want(KEY, PODS, 1, WAY, frozenset({"cert"}))
    await asked.until(Acknowledgement(Answers.MISSING, secrets={"cert": Receipt.UNTOLD}))
    shop.pages["127.0.0.1"] = [API]
    shop.secrets["127.0.0.1"] = {"cert": 1}
    asked.reader.want(KEY, PODS, 1, WAY, frozenset({"cert"}))
    assert asked.reader._rounds.waiting == 0, "it was asked just now"
    monkeypatch.setattr(acknowledgement, "_SECOND_LOOK_SECONDS", 0.0)
    asked.reader.want(KEY, PODS, 1, WAY, frozenset({"cert"}))
    await asked.until(secrets(cert=Receipt.RECEIVED))
