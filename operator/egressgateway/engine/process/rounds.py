"""
Rounds in which the pods of gateways are asked: one for each object when it is due, each a task of its own.

An object waits for its own pods alone, and one that is not due costs nothing: its readers say when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

import aiohttp

from egressgateway.cluster.background import Background, background
from egressgateway.engine.process.gateway_page import pages_session
from egressgateway.refs import Key

Round = Callable[[aiohttp.ClientSession, Key], Coroutine[object, object, None]]
"""Asks the pods of one object; of one that nobody wants any more, none."""

Pause = Callable[[Key], float | None]
"""Seconds from the end of an object's round to its next one; None: until it is due again."""


class Rounds:
    """Begins the rounds, one at a time for each object."""

    def __init__(self, ask: Round, pause: Pause, name: str, *, proxy: str = "") -> None:
        """`ask` makes a round, however it ends `pause` says when the next one is due; `proxy`: of `gateway_page`."""
        self._ask = ask
        self._pause = pause
        self._name = name
        self._proxy = proxy
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()
        """Objects that became due during their round."""
        self.task = Background(self._run, name)

    @property
    def waiting(self) -> int:
        """Objects that are due at some time."""
        return len(self._timers)

    def due(self, key: Key, after: float = 0.0) -> None:
        """The next round of `key` is in so many seconds, and at no other time."""
        self.drop(key)
        self._timers[key] = asyncio.get_running_loop().call_later(after, self._enqueue, key)

    def drop(self, key: Key) -> None:
        """No round of `key` is due any more; one that is under way goes on."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._again.discard(key)

    def drop_all(self) -> None:
        for key in (*self._timers, *self._again):
            self.drop(key)

    def _enqueue(self, key: Key) -> None:
        del self._timers[key]
        self._ready.put_nowait(key)

    async def _run(self) -> None:
        async with pages_session(self._proxy) as session:
            try:
                while True:
                    self._begin(session, await self._ready.get())
            finally:
                self.drop_all()
                rounds = tuple(self._running.values())
                for task in rounds:
                    task.cancel()
                await asyncio.gather(*rounds, return_exceptions=True)

    def _begin(self, session: aiohttp.ClientSession, key: Key) -> None:
        if key in self._running:
            self._again.add(key)
            return
        task = background(self._ask(session, key), f"{self._name} of {key}")
        self._running[key] = task
        task.add_done_callback(partial(self._end, key))

    def _end(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._running[key]
        if task.cancelled() or key in self._timers:
            return
        pause = 0.0 if key in self._again else self._pause(key)
        if pause is not None:
            self.due(key, pause)
