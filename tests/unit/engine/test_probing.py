"""The reader of probes asks the pods that it is told to, and takes what they do not tell for unknown."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from egressgateway.cluster.turns import Turns
from egressgateway.engine.process import gateway_page, probing
from egressgateway.engine.process.probing import ProbeReader, Readings, Ways
from egressgateway.facts import PodFacts, PodSelection, Reached
from egressgateway.plan.gateway.probing import ProbedWay, Probing
from egressgateway.refs import Key

KEY, OTHER = Key("shop", "partners"), Key("shop", "other")
CLUSTER = "outbound|80||http-80.api.example.com.partners.shop.egress.internal"
PROBING = Probing(PodSelection("shop", ()), {"api": (ProbedWay(CLUSTER, "api.example.com", 80, asks=False),)}, 1)
POD = PodFacts("shop", "partners-1", "partners-egress", ready=True, address="127.0.0.1")
COUNTERS = ("membership_healthy", "membership_total", "health_check_attempt")
PAGE = "".join(f'envoy_cluster_{counter}{{cluster_name="{CLUSTER}"}} 1\n' for counter in COUNTERS)


class Envoy:
    """A page for Prometheus on loopback, with the content of the moment."""

    def __init__(self) -> None:
        self.page = PAGE
        self.encoding = "identity"
        self.asked: list[str] = []
        self._rounds: asyncio.Queue[None] = asyncio.Queue()

    async def until_asked(self, times: int) -> None:
        """Return when it was asked that often, counted from the first time."""
        for _ in range(times):
            await self._rounds.get()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.rel_url.query["filter"])
        self._rounds.put_nowait(None)
        page = self.page
        if not page:
            return web.Response(status=503)
        answer = web.StreamResponse(headers={"Content-Encoding": self.encoding})
        await answer.prepare(request)
        half = len(page) // 2
        await answer.write(page[:half].encode())
        # As over a network: the rest comes when the first half was read.
        await asyncio.sleep(0.02)
        await answer.write(page[half:].encode())
        return answer


@pytest.fixture
async def envoy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Envoy]:
    envoy = Envoy()
    app = web.Application()
    app.router.add_get("/stats/prometheus", envoy.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    target = web.TCPSite(runner, "127.0.0.1", 0)
    await target.start()
    monkeypatch.setattr(gateway_page, "PORT", runner.addresses[0][1])
    monkeypatch.setattr(probing, "_SHORTEST_PERIOD", 0.01)
    monkeypatch.setattr(probing, "_LONGEST_PERIOD", 0.01)
    yield envoy
    await runner.cleanup()


@pytest.fixture
async def reader() -> AsyncIterator[tuple[ProbeReader, asyncio.Queue[frozenset[Key]]]]:
    news: asyncio.Queue[frozenset[Key]] = asyncio.Queue()
    reader = ProbeReader(news.put_nowait)
    reader.task.start()
    yield reader, news
    await reader.task.stop()


Reader = tuple[ProbeReader, "asyncio.Queue[frozenset[Key]]"]


async def test_news_are_told_once(envoy: Envoy, reader: Reader) -> None:
    """A pod that says the same again is no news; one that stops telling is."""
    probes, news = reader
    probes.want(KEY, PROBING, (POD,))
    assert await news.get() == {KEY}
    assert probes.reached(KEY) == {"api": Reached("True", "Reachable", "reached by 1/1 gateway pods")}
    await envoy.until_asked(3)
    assert news.empty()
    envoy.page = ""
    assert await news.get() == {KEY}
    assert probes.reached(KEY)["api"].reason == "NotObserved"


async def test_pod_without_an_address_is_not_asked(envoy: Envoy, reader: Reader) -> None:
    """It is starting, or about to end."""
    probes, news = reader
    probes.want(KEY, PROBING, (PodFacts("shop", "partners-1", "partners-egress", ready=False),))
    await news.get()
    assert probes.reached(KEY)["api"].message == "there is no gateway pod to run the probes"
    assert envoy.asked == []


async def test_object_without_probes_is_forgotten(envoy: Envoy, reader: Reader) -> None:
    """Nobody is asked for it, and nothing is known of it."""
    probes, news = reader
    probes.want(KEY, PROBING, (POD,))
    await news.get()
    probes.want(KEY, None, ())
    assert probes.reached(KEY) == {}


async def test_silent_pods_of_others_delay_nobody(
    envoy: Envoy, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A hundred objects whose pods never answer, and one whose pod does: it is asked again and again.

    It was asked once in 37 seconds: each round waited for the slowest of all, and all shared sixteen places.
    """
    probes, _ = reader
    ask = probes._ask
    silence = asyncio.Event()
    silent: list[str] = []

    async def asked(session: aiohttp.ClientSession, pod: PodFacts, ways: Ways) -> Readings | None:
        if pod.address == POD.address:
            return await ask(session, pod, ways)
        silent.append(pod.address)
        if len(silent) > 200:
            # Each was asked once before: from now on all of them hang.
            await silence.wait()
        return None

    monkeypatch.setattr(probes, "_ask", asked)
    for number in range(100):
        pods = (
            PodFacts("bad", f"p-{number}-{one}", "sa", ready=True, address=f"10.0.{number}.{one}") for one in (1, 2)
        )
        probes.want(Key(f"bad-{number}", "p"), PROBING, tuple(pods))
    probes.want(KEY, PROBING, (POD,))
    await envoy.until_asked(20)
    assert probes.reached(KEY)["api"].reason == "Reachable"
    silence.set()


async def test_a_silent_pod_is_asked_less_often_until_it_is_another() -> None:
    """Every second round, then every fourth, at most every eighth; an answer ends that, and so does a new address."""
    turns = Turns()
    asked = []
    for number in range(200):
        if turns.is_due("a"):
            asked.append(number)
            turns.record_answer("a", answered=False)
        assert turns.is_due("b")
        turns.record_answer("b", answered=True)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps == [2, 4, *[8] * (len(gaps) - 2)]
    assert turns.place("a") is not turns.place("b")
    turns.forget({"a"})
    assert turns.is_due("a")
    assert turns.place("a") is turns.place("b")


async def test_a_bug_in_one_objects_round_leaves_the_others_theirs(
    envoy: Envoy, reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ended the reader, and nobody's probes were read until the process was started anew."""
    probes, _ = reader
    read = probes._read

    async def broken(session: aiohttp.ClientSession, watched: object) -> bool:
        if watched is probes._watched[OTHER]:
            raise ZeroDivisionError("a bug")
        return await read(session, watched)  # type: ignore[arg-type]  # what the reader itself hands on

    monkeypatch.setattr(probes, "_read", broken)
    probes.want(OTHER, PROBING, (POD,))
    probes.want(KEY, PROBING, (POD,))
    await envoy.until_asked(3)
    assert not probes.task.ended
    assert "ZeroDivisionError" in caplog.text


def pods(count: int, *, ready: bool = True) -> tuple[PodFacts, ...]:
    return tuple(replace(POD, name=f"p{number:03}-{ready}", ready=ready) for number in range(count))


async def test_page_that_is_longer_than_its_ways_is_not_read(envoy: Envoy, reader: Reader) -> None:
    """Four megabytes for one way are not the gateway's: they are not held, and count as not told."""
    probes, news = reader
    envoy.page = PAGE + "x" * 99 + "\n" * (4 << 20)
    probes.want(KEY, PROBING, (POD,))
    assert await news.get() == {KEY}
    assert probes.reached(KEY)["api"].reason == "NotObserved"


async def test_packed_page_is_not_unpacked(envoy: Envoy, reader: Reader) -> None:
    """A few bytes can become a gigabyte; nobody asked for such an answer."""
    probes, news = reader
    envoy.encoding = "gzip"
    probes.want(KEY, PROBING, (POD,))
    assert await news.get() == {KEY}
    assert probes.reached(KEY)["api"].reason == "NotObserved"


async def test_counters_are_read_across_pieces_and_foreign_lines(envoy: Envoy, reader: Reader) -> None:
    """A line that is cut by the network is one line, one without an end is passed over."""
    probes, news = reader
    envoy.page = "y" * 40_000 + "\n" + PAGE
    probes.want(KEY, PROBING, (POD,))
    assert await news.get() == {KEY}
    assert probes.reached(KEY)["api"].reason == "Reachable"


async def test_no_more_pods_are_asked_than_a_gateway_has(envoy: Envoy, reader: Reader) -> None:
    """Pods that only look like the gateway's do not multiply the questions; those that serve are asked first."""
    probes, news = reader
    probes.want(KEY, PROBING, (*pods(150, ready=False), *pods(5)))
    await news.get()
    message = probes.reached(KEY)["api"].message
    assert message == f"reached by {gateway_page.MOST_PODS}/{gateway_page.MOST_PODS} gateway pods"
    asked = probes._watched[KEY].pods
    assert [pod.ready for pod in asked] == [True] * 5 + [False] * (gateway_page.MOST_PODS - 5)
