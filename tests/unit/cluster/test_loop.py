"""Long pieces of work take turns on the event loop, and leave few young objects to the collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from egressgateway.cluster.loop import OnePerTurn


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_two_pieces_begin_in_different_turns() -> None:
    turns, number, began = OnePerTurn(), 0, list[int]()

    async def work() -> None:
        await turns.begin()
        began.append(number)

    tasks = [asyncio.create_task(work()) for _ in range(5)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        number += 1
    assert len(set(began)) == len(tasks)


async def test_replacing_old_objects_leaves_no_crowd_of_young_ones() -> None:
    """Each piece frees as many objects as it makes: CPython's own trigger never fires."""
    turns, size, kept = OnePerTurn(), 300, list[list[object]]()
    for _ in range(50):
        await turns.begin()
        made: list[object] = [[] for _ in range(size)]
        kept = [*kept[-20:], made]
    assert len(gc.get_objects(generation=0)) < 10 * size


async def test_what_lives_is_visited_once_while_it_is_young() -> None:
    """Not before each piece, and not in two generations."""
    turns, seen = OnePerTurn(), list[int]()

    def note(phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            seen.append(about["generation"])

    gc.disable()
    gc.callbacks.append(note)
    try:
        for _ in range(16):
            await turns.begin()
    finally:
        gc.callbacks.remove(note)
        gc.enable()
    assert seen == [1, 1]


async def test_what_is_made_while_filling_is_not_visited_again() -> None:
    """For as many pieces as were announced, however many come."""
    turns = OnePerTurn()
    turns.filling = 9
    before = gc.get_freeze_count()
    kept = [[] for _ in range(5000)]
    for _ in range(8):
        await turns.begin()
    assert gc.get_freeze_count() - before >= len(kept)
    await turns.begin()
    assert turns.filling == 0
    after = gc.get_freeze_count()
    more = [[] for _ in range(5000)]
    for _ in range(16):
        await turns.begin()
    assert gc.get_freeze_count() <= after
    assert len(more) == 5000
