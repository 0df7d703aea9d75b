"""Leader election: candidates over one Lease, on clocks that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from egressgateway.cluster.errors import error_of
from egressgateway.cluster.leader_election import LeaderElector, Observed, claimed, released
from egressgateway.cluster.request import Request
from egressgateway.errors import Unavailable
from egressgateway.settings import LeaseSettings

pytestmark = pytest.mark.asyncio

SETTINGS = LeaseSettings(namespace="egress", name="operator")
NOW = datetime(2026, 8, 1, 12, 0, 0, 5, tzinfo=UTC)


class ManualClock:
    """Time of one machine, or of several that agree; it stands still until `advance`."""

    def __init__(self) -> None:
        self.at = 50.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self.at

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.at)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.at + seconds, future))
        await future

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in steps that each leave room for everything that they set off."""
        for _ in range(round(seconds / step)):
            self.at += step
            due = [future for when, future in self.sleepers if when <= self.at]
            self.sleepers = [(when, future) for when, future in self.sleepers if when > self.at]
            for future in due:
                if not future.done():
                    future.set_result(None)
            await settle()


class LeaseServer:
    """Holds one Lease and its optimistic lock; answers at once, unless told otherwise."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.writes = 0
        self.cut_off: set[str] = set()
        """Candidates that get no answer at all: their calls hang."""
        self.failing = False

    def client(self, name: str) -> LeaseClient:
        return LeaseClient(self, name)

    def answer(self, request: Request) -> dict[str, Any] | None:
        if self.failing:
            raise Unavailable(request.call, "down")
        sent: dict[str, Any] = orjson.loads(request.body) if request.body else {}
        if request.method == "POST":
            if self.lease is not None:
                raise error_of(request.call, 409, {}, b"")
            return self._store(sent)
        if self.lease is None:
            raise error_of(request.call, 404, {}, b"")
        if request.method == "PUT":
            if sent["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                raise error_of(request.call, 409, {}, b"")
            return self._store(sent)
        return self.lease

    def _store(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        self.lease = lease | {"metadata": lease["metadata"] | {"resourceVersion": str(self.version)}}
        return self.lease


class LeaseClient:
    """One candidate's way to the server."""

    def __init__(self, server: LeaseServer, name: str) -> None:
        self.server = server
        self.name = name

    async def send(self, request: Request, *, urgent: bool = False) -> dict[str, Any] | None:
        assert urgent, "a renewal must not queue behind other calls"
        await asyncio.sleep(0)
        if self.name in self.server.cut_off:
            await asyncio.Event().wait()
        return self.server.answer(request)


async def settle() -> None:
    """Let every task run until it waits for the clock."""
    for _ in range(30):
        await asyncio.sleep(0)


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def candidates(server: LeaseServer, clock: ManualClock, *names: str) -> AsyncIterator[list[LeaderElector]]:
    """Electors that stand from the start, the first one first."""
    async with AsyncExitStack() as stack:
        electors = []
        for name in names:
            elector = LeaderElector(server.client(name), SETTINGS, name, clock=clock)
            electors.append(await stack.enter_async_context(elector))
            await settle()
        yield electors


def holder(server: LeaseServer) -> str:
    """Name of the candidate in the Lease."""
    assert server.lease is not None
    return str(server.lease["spec"]["holderIdentity"]).partition("_")[0]


async def test_first_candidate_creates_the_lease(server: LeaseServer, clock: ManualClock) -> None:
    """Without a Lease the first one writes it and leads; the package's own elector dies here (measured)."""
    async with candidates(server, clock, "a") as [a]:
        assert a.is_leader
        assert server.lease is not None
        assert server.lease["spec"] == {
            "holderIdentity": a.identity,
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-08-01T12:00:50.000005Z",
            "renewTime": "2026-08-01T12:00:50.000005Z",
            "leaseTransitions": 0,
        }


async def test_second_candidate_waits_while_the_first_renews(server: LeaseServer, clock: ManualClock) -> None:
    """For as long as the leader renews there is one leader."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(120)
        assert (a.is_leader, b.is_leader) == (True, False)
        assert b.leader == a.identity
        assert server.writes >= 120 / 2.5, "renewed each retry period"
        assert not a.lost.is_set()


async def test_same_name_twice_is_two_candidates(server: LeaseServer, clock: ManualClock) -> None:
    """A restarted pod does not take its predecessor's Lease for its own."""
    async with candidates(server, clock, "pod", "pod") as [first, second]:
        await clock.advance(30)
        assert first.identity != second.identity
        assert (first.is_leader, second.is_leader) == (True, False)


async def test_released_lease_is_taken_at_once(server: LeaseServer, clock: ManualClock) -> None:
    """A leader that stops properly costs its successor no more than one look."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await a.stop()
        assert not a.is_leader
        assert holder(server) == ""
        await clock.advance(5)
        assert b.is_leader
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1


async def test_killed_leader_is_followed_after_its_duration(server: LeaseServer, clock: ManualClock) -> None:
    """Without renewals the next one takes over, after the whole duration and not earlier."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(7)
        assert a._task is not None
        a._task.cancel()  # as a kill: no renewal, no release
        last = server.lease
        await clock.advance(13)
        assert not b.is_leader
        # Each of b's two looks, at the last renewal and at its expiry, may come 4.4 s late by jitter.
        await clock.advance(11)
        assert b.is_leader
        assert server.lease is not None
        assert last is not None
        assert server.lease["spec"]["leaseTransitions"] == last["spec"]["leaseTransitions"] + 1


async def test_leader_that_cannot_renew_stops_before_another_starts(server: LeaseServer, clock: ManualClock) -> None:
    """A leader whose calls hang gives up within the renew deadline; at no moment do two lead."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(7)
        server.cut_off.add("a")
        stopped = started = None
        for tick in range(120):
            await clock.advance(0.25)
            assert not (a.is_leader and b.is_leader)
            stopped = tick if stopped is None and not a.is_leader else stopped
            started = tick if started is None and b.is_leader else started
        assert stopped is not None
        assert started is not None
        assert stopped <= 10 / 0.25
        assert started > stopped + 2 / 0.25, "room for what was in flight"
        assert a.lost.is_set()
        server.cut_off.clear()
        await clock.advance(60)
        assert (a.is_leader, b.is_leader) == (False, True), "who lost stands again, and waits like everybody"


async def test_short_outage_costs_no_leadership(server: LeaseServer, clock: ManualClock) -> None:
    """A server that is away for less than the deadline changes nothing."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(5)
        server.failing = True
        await clock.advance(6)
        assert a.is_leader
        assert "down" in a.error
        server.failing = False
        await clock.advance(30)
        assert (a.is_leader, b.is_leader) == (True, False)
        assert a.error == ""


async def test_long_outage_ends_leadership_and_begins_anew(server: LeaseServer, clock: ManualClock) -> None:
    """A server that is away for longer ends it; once it is back one leads again."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(5)
        server.failing = True
        await clock.advance(30)
        assert (a.is_leader, b.is_leader) == (False, False)
        server.failing = False
        await clock.advance(25)
        assert [a.is_leader, b.is_leader].count(True) == 1
        assert holder(server) == ("a" if a.is_leader else "b")
        assert a.lost.is_set() != a.is_leader


async def test_stolen_lease_ends_leadership_at_once(server: LeaseServer, clock: ManualClock) -> None:
    """Somebody else's valid name in the Lease is believed, without waiting for a deadline."""
    async with candidates(server, clock, "a") as [a]:
        assert server.lease is not None
        spec = server.lease["spec"] | {"holderIdentity": "thief"}
        server._store(server.lease | {"spec": spec})
        await clock.advance(5)
        assert not a.is_leader
        assert a.lost.is_set()


async def test_deleted_lease_is_written_again(server: LeaseServer, clock: ManualClock) -> None:
    """Deleting the Lease by hand takes the leadership from nobody."""
    async with candidates(server, clock, "a", "b") as [a, b]:
        await clock.advance(5)
        server.lease = None
        # The follower may be the first to look; whoever creates it leads, the other does not.
        await clock.advance(20)
        assert [a.is_leader, b.is_leader].count(True) == 1
        assert holder(server) == ("a" if a.is_leader else "b")


async def test_two_at_once_elect_one(server: LeaseServer, clock: ManualClock) -> None:
    """Two that see a free Lease at the same moment: the optimistic lock decides."""
    electors = [LeaderElector(server.client(name), SETTINGS, name, clock=clock) for name in "abc"]
    for elector in electors:
        elector.start()
    await clock.advance(10)
    assert [elector.is_leader for elector in electors].count(True) == 1
    for elector in electors:
        await elector.stop()


async def test_foreign_clock_is_not_compared(server: LeaseServer, clock: ManualClock) -> None:
    """A leader whose wall clock is years behind keeps the Lease: only the time since it last changed counts."""
    spec = {"holderIdentity": "old", "leaseDurationSeconds": 15, "renewTime": "1999-01-01T00:00:00.000000Z"}
    server._store({"metadata": {"namespace": "egress", "name": "operator"}, "spec": spec})
    async with candidates(server, clock, "a") as [a]:
        await clock.advance(14)
        assert not a.is_leader
        await clock.advance(8)
        assert a.is_leader


async def test_without_election_everybody_leads() -> None:
    """A single replica needs no Lease, and writes none."""
    changes: list[bool] = []
    server = LeaseServer()
    settings = replace(SETTINGS, enabled=False)
    async with LeaderElector(server.client("a"), settings, "a", on_change=changes.append) as elector:
        await asyncio.wait_for(elector.elected.wait(), 5)
    assert changes == [True, False]
    assert server.writes == 0


async def test_claim_of_an_own_lease_keeps_its_history() -> None:
    """A renewal changes only the time of renewal."""
    first = claimed(None, "me", SETTINGS, NOW)
    later = claimed(first, "me", SETTINGS, NOW + timedelta(seconds=2))
    assert later == first | {"spec": first["spec"] | {"renewTime": "2026-08-01T12:00:02.000005Z"}}


async def test_claim_rounds_a_fraction_of_a_second_up() -> None:
    """The Lease holds whole seconds, at least one; others must never count fewer than we do."""
    settings = replace(SETTINGS, duration=timedelta(seconds=1.2))
    assert claimed(None, "me", settings, NOW)["spec"]["leaseDurationSeconds"] == 2


async def test_released_lease_is_free_for_all() -> None:
    """Nobody holds a Lease without a name."""
    lease = released(claimed(None, "me", SETTINGS, NOW), SETTINGS, NOW)
    assert not Observed(lease, at=0).is_held_by_other("you", now=0)
