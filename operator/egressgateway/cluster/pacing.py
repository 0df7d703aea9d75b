"""
Keeps a client from requesting watches in a hot loop: a middleware of its aiohttp session.

For a client that asks again at once when a watch ends, as kopf's does: 1,500 times a second against a server, or a
proxy, that ends each watch before its first event. Our own informers back off themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp

from egressgateway.cluster.backoff import Backoff

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 10.0
LONGEST_REFUSED_WAIT_SECONDS = 30.0
STEADY_AFTER_SECONDS = 20.0
"""A watch that lasted so long was healthy: the next one need not wait."""


class WatchPace:
    """Delays watches of a collection that follow one another too fast, with increasing delays. Other requests pass."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds."""
        self._sleep = sleep
        self._clock = clock
        self._backoffs: dict[str, Backoff] = {}
        self._started: dict[str, float] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """aiohttp's protocol for middlewares."""
        if request.url.query.get("watch") in ("true", "1"):
            await self._wait(request.url.path)
        return await handler(request)

    async def _wait(self, path: str) -> None:
        last = self._started.get(path)
        backoff = self._backoffs.setdefault(path, Backoff(FIRST_WAIT_SECONDS))
        if last is not None and self._clock() - last < STEADY_AFTER_SECONDS:
            await self._sleep(backoff.next(LONGEST_WAIT_SECONDS))
        else:
            backoff.reset()
        self._started[path] = self._clock()


class RefusalPatience:
    """
    Retries a list or watch of a namespace that may not be read, with increasing delays, instead of returning the 403.

    For a client that ends on a 403, as kopf does: all namespaces would lose their watch with the one that was deleted.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """aiohttp's protocol for middlewares."""
        backoff = Backoff(FIRST_WAIT_SECONDS)
        while True:
            answer = await handler(request)
            if answer.status != HTTPStatus.FORBIDDEN or request.method != "GET":
                return answer
            if "/namespaces/" not in request.url.path:
                return answer
            answer.release()
            await self._sleep(backoff.next(LONGEST_REFUSED_WAIT_SECONDS))


class StartLimiter:
    """
    Lets many callers that do the same thing start a few at a time, and one by one with delays while they fail.

    For reflectors by the hundred: each has a backoff of its own, but together they would still be a storm.
    """

    def __init__(
        self,
        *,
        spacing_seconds: float = 0.01,
        at_once: int = 1,
        slowest: int = 7,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`at_once` per `spacing_seconds`; while everything fails one per 2**`slowest` times as long."""
        self._spacing_seconds = spacing_seconds
        self._at_once = at_once
        self._left = 0
        self._slowest = slowest
        self._sleep = sleep
        self._slowness = 0
        self._gate = asyncio.Lock()

    async def admit(self) -> None:
        """Return when it is the caller's turn; turns are given in the order of the calls."""
        async with self._gate:
            if self._left and not self._slowness:
                self._left -= 1
                return
            # The delay is decided when the caller's turn comes, not when it queues: it must not wait for an outage that
            # is over.
            await self._sleep(self._spacing_seconds * 2**self._slowness)
            self._left = self._at_once - 1
            # Only failures are reported. A caller that started counts as a success until then.
            self._slowness = max(0, self._slowness - 1)

    def failed(self) -> None:
        """A caller that was admitted has failed."""
        self._slowness = min(self._slowest, self._slowness + 2)
