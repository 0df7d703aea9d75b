"""The work queue, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import pytest

from egressgateway.cluster.queue import URGENT_IN_A_ROW, Priority, Retries, WorkQueue

pytestmark = pytest.mark.asyncio


class Timer:
    """A call that is due later, unless cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time that stands still until `advance`."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.timers: list[tuple[float, int, Timer]] = []

    def time(self) -> float:
        return self.at

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self.timers, (when, len(self.timers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.at + seconds
        while self.timers and self.timers[0][0] <= end:
            self.at, _, timer = heapq.heappop(self.timers)
            if timer.callback is not None:
                timer.callback()
        self.at = end


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock)


async def take_all(queue: WorkQueue[str]) -> list[str]:
    """Take and finish what is ready."""
    taken = []
    while queue.depth:
        taken.append(key := await queue.get())
        queue.done(key)
    return taken


async def test_key_is_queued_once(queue: WorkQueue[str]) -> None:
    """Many events of one object are one reconcile, in order of the first."""
    for key in "abacab":
        queue.add(key)
    assert await take_all(queue) == ["a", "b", "c"]
    assert queue.adds == 3


async def test_key_added_while_processed_comes_again_once_after_done(queue: WorkQueue[str]) -> None:
    """No key is worked on twice at a time; what happened meanwhile is looked at afterwards."""
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0
    queue.done("a")
    assert await take_all(queue) == ["a"]


async def test_get_waits_for_a_key(queue: WorkQueue[str]) -> None:
    """Waiting workers get one key each, and a cancelled one takes none with it."""
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    queue.add("a")
    queue.add("b")
    assert sorted(await asyncio.gather(*waiting[1:])) == ["a", "b"]
    assert queue.processing == 2


async def test_edits_go_before_what_a_list_found(queue: WorkQueue[str]) -> None:
    """A thousand objects found at the start do not delay the one that somebody edits."""
    for key in "abc":
        queue.add(key, Priority.ROUTINE)
    queue.add("c")
    queue.add("new")
    queue.add("new", Priority.ROUTINE)
    assert await take_all(queue) == ["c", "new", "a", "b"]


async def test_edits_do_not_starve_the_start(queue: WorkQueue[str]) -> None:
    """Under constant edits the others get their turn."""
    queue.add("old", Priority.ROUTINE)
    for number in range(URGENT_IN_A_ROW + 5):
        queue.add(f"edit{number}")
    assert (await take_all(queue)).index("old") == URGENT_IN_A_ROW


async def test_urgency_survives_processing(queue: WorkQueue[str]) -> None:
    """A key that is edited while it is processed comes back with the edit's priority."""
    queue.add("a", Priority.ROUTINE)
    assert await queue.get() == "a"
    queue.add("a", Priority.ROUTINE)
    queue.add("a", Priority.URGENT)
    queue.add("b", Priority.ROUTINE)
    queue.done("a")
    assert await take_all(queue) == ["a", "b"]


async def test_later_key_comes_when_due_and_the_earliest_counts(queue: WorkQueue[str], clock: ManualClock) -> None:
    """Of several times for one key the earliest counts, and it comes once."""
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    queue.add_after("b", 5)
    clock.advance(4.9)
    assert queue.depth == 0
    assert queue.delayed == 2
    clock.advance(0.1)
    assert await take_all(queue) == ["b"]
    clock.advance(5)
    assert await take_all(queue) == ["a"]
    clock.advance(60)
    assert await take_all(queue) == []


async def test_later_key_due_while_processed_waits_for_done(queue: WorkQueue[str], clock: ManualClock) -> None:
    """A timer is no reason to work on a key twice at a time."""
    queue.add("a")
    await queue.get()
    queue.add_after("a", 1)
    clock.advance(2)
    assert queue.depth == 0
    queue.done("a")
    assert queue.depth == 1


async def test_later_without_delay_is_now(queue: WorkQueue[str]) -> None:
    """A delay of nothing, or of less, needs no timer."""
    queue.add_after("a", 0)
    queue.add_after("b", -1)
    assert await take_all(queue) == ["a", "b"]


async def test_failures_back_off_up_to_the_cap(clock: ManualClock) -> None:
    """The waits double with each failure in a row, within their jitter, up to the cap; success starts anew."""
    queue: WorkQueue[str] = WorkQueue(retries=Retries(base=1, cap=10), clock=clock)
    waits = [queue.add_rate_limited("a") for _ in range(7)]
    for wait, full in zip(waits, [1, 2, 4, 8, 10, 10, 10], strict=True):
        assert full / 2 <= wait <= full
    assert queue.failures("a") == 7
    assert queue.retried == 7
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.add_rate_limited("a") <= 1


async def test_failure_a_thousand_times_still_counts(queue: WorkQueue[str]) -> None:
    """An object that fails for weeks does not overflow."""
    for _ in range(2000):
        wait = queue.add_rate_limited("a")
    assert 30 <= wait <= 60


async def test_failure_honours_retry_after(queue: WorkQueue[str], clock: ManualClock) -> None:
    """A key does not come back before the server allows it."""
    assert queue.add_rate_limited("a", at_least=25) == 25
    clock.advance(24.9)
    assert queue.depth == 0
    clock.advance(0.2)
    assert queue.depth == 1


async def test_retry_keeps_the_priority(queue: WorkQueue[str], clock: ManualClock) -> None:
    """An edit that fails once is still an edit."""
    queue.add("edited")
    queue.add_rate_limited(await queue.get())
    queue.done("edited")
    queue.add("found", Priority.ROUTINE)
    clock.advance(1)
    assert await take_all(queue) == ["edited", "found"]


async def test_age_of_the_oldest_grows(queue: WorkQueue[str], clock: ManualClock) -> None:
    """The age is that of the key that waits longest, whatever its priority."""
    assert queue.oldest_seconds() == 0
    queue.add("a", Priority.ROUTINE)
    clock.advance(3)
    queue.add("b")
    clock.advance(2)
    assert queue.oldest_seconds() == 5
    queue.add("a", Priority.URGENT)
    assert queue.oldest_seconds() == 5


async def test_queue_runs_on_the_event_loop_by_default() -> None:
    """Without a clock of the test the loop's own wakes the worker."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


def namespace_of(key: str) -> str:
    return key.partition("/")[0]


async def test_tenants_take_turns(clock: ManualClock) -> None:
    """Of a hundred keys of one namespace and one of another, the one is the second to come, however late it came."""
    queue: WorkQueue[str] = WorkQueue(clock=clock, tenant_of=namespace_of)
    for number in range(100):
        queue.add(f"flood/{number}")
    queue.add("calm/1")
    assert [await queue.get(), await queue.get()] == ["flood/0", "calm/1"]


async def test_tenant_that_floods_without_end_delays_others_by_two_turns(clock: ManualClock) -> None:
    """One for its urgent keys, one for its routine ones, though each comes again as soon as it is done."""
    queue: WorkQueue[str] = WorkQueue(clock=clock, tenant_of=namespace_of)
    for number in range(100):
        queue.add(f"flood/{number}", Priority(number % 2))
    for turn in range(200):
        queue.add(f"calm/{turn}")
        for _ in range(3):
            queue.done(key := await queue.get())
            if key == f"calm/{turn}":
                break
            queue.add(key, Priority(int(key.rpartition("/")[2]) % 2))
        else:
            pytest.fail(f"three turns without calm/{turn}")


async def test_urgent_keys_of_one_tenant_come_before_routine_ones_of_others(clock: ManualClock) -> None:
    """Turns are taken within a priority: at a start, an edit waits for no list."""
    queue: WorkQueue[str] = WorkQueue(clock=clock, tenant_of=namespace_of)
    for number in range(10):
        queue.add(f"n{number}/a", Priority.ROUTINE)
    queue.add("edited/a")
    assert await queue.get() == "edited/a"


async def test_tenant_holds_no_more_workers_than_its_share(clock: ManualClock) -> None:
    """A worker is left for others at once, and a tenant's next key comes when one of its own is done."""
    queue: WorkQueue[str] = WorkQueue(clock=clock, tenant_of=namespace_of, share=2)
    for number in range(5):
        queue.add(f"flood/{number}")
    held = [await queue.get(), await queue.get()]
    third = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not third.done()
    queue.add("calm/1")
    assert await third == "calm/1"
    fourth = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not fourth.done()
    queue.done(held[0])
    assert await fourth == "flood/2"


async def test_turn_of_a_cancelled_waiter_goes_to_the_next(clock: ManualClock) -> None:
    """A worker that is stopped while it was being given a key takes nobody's turn with it."""
    queue: WorkQueue[str] = WorkQueue(clock=clock, tenant_of=namespace_of)
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a/1")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await asyncio.wait_for(second, 5) == "a/1"
