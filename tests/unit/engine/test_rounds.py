"""When objects' pods are asked: each object when it is due, one round at a time, and nobody at rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from egressgateway.engine.process.rounds import Rounds
from egressgateway.refs import Key

ONE, OTHER = Key("shop", "one"), Key("shop", "other")


class Asked:
    """Rounds that last until they are let go, and the pauses of each object after its rounds."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Key] = asyncio.Queue()
        self.ended: asyncio.Queue[Key] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.pauses: dict[Key, list[float]] = {}
        self.bug: Key | None = None
        self.running = self.most = self.cancelled = 0
        self.rounds = Rounds(self.ask, self.pause, "test")

    def pause(self, key: Key) -> float | None:
        self.ended.put_nowait(key)
        left = self.pauses.get(key)
        return left.pop() if left else None

    async def ask(self, session: aiohttp.ClientSession, key: Key) -> None:
        self.begun.put_nowait(key)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if key == self.bug:
                raise ZeroDivisionError
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def begins(self) -> Key:
        return await asyncio.wait_for(self.begun.get(), 30)

    async def ends(self, times: int = 1) -> None:
        """Until so many rounds have ended that no other one follows at once."""
        for _ in range(times):
            await asyncio.wait_for(self.ended.get(), 30)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    asked = Asked()
    asked.rounds.task.start()
    yield asked
    await asked.rounds.task.stop()


async def test_round_comes_again_after_its_pause_until_there_is_none(asked: Asked) -> None:
    """At rest nothing is left that would look at the object."""
    asked.pauses[ONE] = [0.0, 0.0]
    asked.rounds.due(ONE)
    await asked.ends(3)
    assert (asked.rounds.waiting, asked.begun.qsize()) == (0, 3)


async def test_object_has_one_round_at_a_time_and_one_more_where_it_became_due(asked: Asked) -> None:
    """What changed during a round is asked after it, once, however often it changed."""
    asked.open.clear()
    asked.rounds.due(ONE)
    await asked.begins()
    for _ in range(3):
        asked.rounds.due(ONE)
    asked.rounds.due(OTHER)
    assert await asked.begins() == OTHER, "others wait for nobody"
    asked.open.set()
    assert await asked.begins() == ONE
    await asked.ends(2)
    assert asked.begun.empty()
    assert asked.most == 2


async def test_earlier_round_replaces_a_later_one(asked: Asked) -> None:
    """A change does not wait for the end of a pause, and costs no second round when that ends."""
    asked.rounds.due(ONE, 3600.0)
    asked.rounds.due(ONE)
    assert await asked.begins() == ONE
    await asked.ends()
    assert asked.rounds.waiting == 0


async def test_object_that_is_dropped_is_not_asked(asked: Asked) -> None:
    asked.rounds.due(ONE, 0.01)
    asked.rounds.drop(ONE)
    asked.rounds.due(OTHER, 0.02)
    assert await asked.begins() == OTHER
    asked.rounds.due(ONE, 3600.0)
    asked.rounds.due(OTHER, 3600.0)
    asked.rounds.drop_all()
    assert asked.rounds.waiting == 0


async def test_bug_ends_one_round_alone(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    """The object is asked again, and so are others; the trace is in the log."""
    asked.bug = ONE
    asked.pauses[ONE] = [0.0]
    asked.rounds.due(ONE)
    assert [await asked.begins(), await asked.begins()] == [ONE, ONE]
    asked.rounds.due(OTHER)
    assert await asked.begins() == OTHER
    assert "ZeroDivisionError" in caplog.text
    assert not asked.rounds.task.ended


async def test_what_is_due_before_the_start_is_asked_then() -> None:
    asked = Asked()
    asked.rounds.due(ONE)
    for _ in range(3):
        await asyncio.sleep(0)
    assert asked.rounds.waiting == 0, "its time came before the start"
    asked.rounds.task.start()
    assert await asked.begins() == ONE
    await asked.rounds.task.stop()


async def test_stop_ends_the_rounds_under_way(asked: Asked) -> None:
    asked.open.clear()
    asked.pauses[ONE] = [0.0]
    asked.rounds.due(ONE)
    await asked.begins()
    await asked.rounds.task.stop()
    assert (asked.cancelled, asked.running, asked.rounds.waiting) == (1, 0, 0)
