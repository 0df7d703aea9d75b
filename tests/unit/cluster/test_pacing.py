"""Watches that follow one another too fast are held back, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
import pytest
from yarl import URL

from egressgateway.cluster.pacing import (
    LONGEST_REFUSED_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    STEADY_AFTER_SECONDS,
    RefusalPatience,
    StartLimiter,
    WatchPace,
)

WATCH = "/apis/egressgateway.dev/v1alpha1/egressgateways?watch=true&resourceVersion=1"


class Clock:
    """Time that passes while somebody sleeps in it, or by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> WatchPace:
    return WatchPace(sleep=clock.sleep, clock=lambda: clock.now)


async def send(pace: WatchPace, target: str) -> None:
    """Let a request pass the middleware; the answer, which does not matter, ends at once."""

    async def handler(request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        return cast(aiohttp.ClientResponse, request)

    request = aiohttp.ClientRequest("GET", URL(f"http://127.0.0.1{target}"), loop=asyncio.get_running_loop())
    await pace(request, handler)


async def test_first_watch_passes_at_once(pace: WatchPace, clock: Clock) -> None:
    """Nothing came before it."""
    await send(pace, WATCH)
    assert clock.slept == []


async def test_watches_that_end_at_once_wait_ever_longer(pace: WatchPace, clock: Clock) -> None:
    """Doubling with jitter, up to ten seconds: a hundred of them take a quarter of an hour."""
    for _ in range(100):
        await send(pace, WATCH)
    assert clock.slept[0] <= 0.25
    assert max(clock.slept) <= LONGEST_WAIT_SECONDS
    assert sum(clock.slept) > 60 * LONGEST_WAIT_SECONDS * 0.5


async def test_healthy_watch_begins_anew(pace: WatchPace, clock: Clock) -> None:
    """After a watch that lasted, the next one does not wait, and the one after that only shortly."""
    for _ in range(10):
        await send(pace, WATCH)
    clock.now += STEADY_AFTER_SECONDS
    clock.slept.clear()
    await send(pace, WATCH)
    await send(pace, WATCH)
    assert len(clock.slept) == 1
    assert clock.slept[0] <= 0.25


async def test_collections_do_not_wait_for_one_another(pace: WatchPace, clock: Clock) -> None:
    """Each namespace has a watch of its own when the operator serves some only."""
    for namespace in ("a", "b", "c"):
        await send(pace, f"/apis/egressgateway.dev/v1alpha1/namespaces/{namespace}/egressgateways?watch=true")
    assert clock.slept == []


async def test_lists_pass(pace: WatchPace, clock: Clock) -> None:
    """Only watches are held back."""
    for _ in range(10):
        await send(pace, "/apis/egressgateway.dev/v1alpha1/egressgateways?limit=500")
    assert clock.slept == []


async def test_turnstile_gives_turns_in_order(clock: Clock) -> None:
    """One after the other, at an even pace."""
    gate, passed = StartLimiter(sleep=clock.sleep), list[int]()

    async def come(number: int) -> None:
        await gate.admit()
        passed.append(number)

    await asyncio.gather(*(come(number) for number in range(5)))
    assert passed == list(range(5))
    assert clock.slept == [0.01] * 5


async def test_turnstile_lets_a_few_through_at_once_while_all_is_well(clock: Clock) -> None:
    """A new leader has thousands of objects to read; after one failure they come one by one."""
    gate = StartLimiter(at_once=8, sleep=clock.sleep)
    for _ in range(24):
        await gate.admit()
    assert clock.slept == [0.01] * 3
    clock.slept.clear()
    for _ in range(10):
        await gate.admit()
        gate.failed()
    assert len(clock.slept) >= 9


async def test_turnstile_slows_down_while_everything_fails(clock: Clock) -> None:
    """Hundreds of reflectors without a server make about one call a second together."""
    gate = StartLimiter(sleep=clock.sleep)
    for _ in range(100):
        await gate.admit()
        gate.failed()
    assert clock.slept[0] == 0.01
    assert sum(clock.slept[-10:]) >= 5.0
    assert max(clock.slept) <= 2.0


async def test_turnstile_is_at_full_pace_soon_after_an_outage(clock: Clock) -> None:
    """Who is let through and does not fail is proof enough."""
    gate = StartLimiter(sleep=clock.sleep)
    for _ in range(100):
        gate.failed()
    for _ in range(10):
        await gate.admit()
    assert clock.slept[-1] == 0.01
    assert sum(clock.slept) < 3.0


class Answer:
    """Of an answer what the middleware looks at."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.released = False

    def release(self) -> None:
        self.released = True


async def ask(clock: Clock, target: str, *answers: Answer) -> Answer:
    """What comes through for a request that gets these answers, one after the other."""
    left = list(answers)

    async def handler(_: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        return cast(aiohttp.ClientResponse, left.pop(0))

    request = aiohttp.ClientRequest("GET", URL(f"http://127.0.0.1{target}"), loop=asyncio.get_running_loop())
    return cast(Answer, await RefusalPatience(sleep=clock.sleep)(request, handler))


async def test_a_namespace_that_may_not_be_read_is_asked_for_until_it_may(clock: Clock) -> None:
    """kopf never sees the 403, by which it would end, and with it the watches of the other namespaces."""
    target = "/apis/egressgateway.dev/v1alpha1/namespaces/b/egressgateways?watch=true"
    refused = [Answer(403) for _ in range(20)]
    found = await ask(clock, target, *refused, good := Answer(200))
    assert found is good
    assert len(clock.slept) == 20
    assert max(clock.slept) <= LONGEST_REFUSED_WAIT_SECONDS
    assert all(each.released for each in refused)


@pytest.mark.parametrize(("target", "status"), [("/apis/x/v1/gateways", 403), ("/apis/x/v1/namespaces/b/x", 401)])
async def test_other_refusals_come_through(clock: Clock, target: str, status: int) -> None:
    """Without the right to anything there is nothing to go on with, and a 401 asks for new credentials."""
    assert (await ask(clock, target, Answer(status))).status == status
    assert clock.slept == []
