"""Somebody else changes a child for ever: repairs are few, never end, and are told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from egressgateway.cluster.result import Done, Waiting
from egressgateway.engine.reconcile.drift_backoff import (
    FIRST_WAIT_SECONDS,
    FREE_REPAIRS,
    LONGEST_WAIT_SECONDS,
    OVER_AFTER_SECONDS,
    DriftBackoff,
    last_foreign_manager,
)
from egressgateway.refs import Manifest, ObjectRef
from unit.engine.simulation import World

CHILD = ObjectRef("NetworkPolicy", "shop", "partners-egress")
SPEC = {"destinations": [{"name": "x", "hosts": ["a.example.com"], "ports": [{"port": 80, "protocol": "HTTP"}]}]}


@pytest.fixture
def world() -> Iterator[World]:
    """One destination, served."""
    world = World(SPEC)
    world.settle()
    yield world
    world.close()


def open_wide(found: Manifest) -> None:
    """What the other controller wants."""
    found["spec"]["egress"] = [{}]
    entry = {"manager": "policy-bot", "operation": "Update", "time": "2026-01-01T00:00:00Z"}
    found["metadata"]["managedFields"] = [entry]


def rewrite(world: World, change: Callable[[Manifest], None] = open_wide) -> int:
    """The other controller acts, and the operator looks; returns how often it wrote."""
    world.tamper(CHILD, change)
    return len(world.writes_of(world.reconcile))


def condition(world: World, type_: str) -> Manifest:
    [found] = [each for each in world.status["conditions"] if each["type"] == type_]
    return dict(found)


def test_a_few_edits_by_hand_are_repaired_at_once(world: World) -> None:
    """People edit and controllers settle: that is no fight, and there is nothing to tell."""
    assert [rewrite(world) for _ in range(FREE_REPAIRS)] == [1] * FREE_REPAIRS
    assert world.told[1:] == []


def test_edits_far_apart_are_never_a_fight(world: World) -> None:
    """An edit each minute is no hot loop."""
    for _ in range(4 * FREE_REPAIRS):
        world.loop.now += 61
        assert rewrite(world) == 1


def test_an_endless_fight_costs_few_writes_and_never_ends(world: World) -> None:
    """
    A controller that rewrites a child every five seconds for an hour has its way most of the time, and not for good.

    The repairs were as many as the rewrites, so two controllers made a hot loop.
    """
    writes = []
    for second in range(0, 3600, 5):
        world.loop.now += 5
        if rewrite(world):
            writes.append(second)
    assert len(writes) < FREE_REPAIRS + 20
    assert writes[-1] > 3600 - LONGEST_WAIT_SECONDS - 10
    gaps = [after - before for before, after in pairwise(writes)]
    assert gaps[FREE_REPAIRS] >= FIRST_WAIT_SECONDS
    assert max(gaps) <= LONGEST_WAIT_SECONDS + 5


def test_a_fight_is_told_once_with_the_name_of_the_other_side(world: World) -> None:
    """An event names the field manager; the conditions say that the child is not in place, and why."""
    for _ in range(2 * FREE_REPAIRS):
        rewrite(world)
    [(type_, _, note)] = [each for each in world.told if each[1] == "RepairBackOff"]
    assert type_ == "Warning"
    assert "policy-bot" in note
    assert str(CHILD) in note
    found = condition(world, "Programmed")
    assert (found["status"], found["reason"]) == ("False", "Pending")
    assert "policy-bot" in found["message"]


def test_the_next_repair_is_asked_for_by_time(world: World) -> None:
    """Nobody else wakes the operator up when the other side rests."""
    for _ in range(FREE_REPAIRS + 1):
        rewrite(world)
    outcome = world.outcomes[-1]
    assert isinstance(outcome, Waiting)
    assert outcome.after is not None
    world.loop.now += outcome.after.total_seconds()
    assert len(world.writes_of(world.reconcile)) == 1
    assert condition(world, "Programmed")["status"] == "True"
    assert isinstance(world.reconcile(), Done)


def test_a_deleted_child_is_fought_over_alike(world: World) -> None:
    """A controller that deletes a child each time it is made: the same bounds."""
    writes = 0
    for _ in range(60):
        world.loop.now += 1
        if CHILD in world.live:
            world.remove(CHILD)
        writes += len(world.writes_of(world.reconcile))
    assert FREE_REPAIRS < writes <= FREE_REPAIRS + 3


def test_the_author_is_not_kept_waiting_by_a_fight(world: World) -> None:
    """An edit of the spec is written at once, although the child is fought over."""
    for _ in range(2 * FREE_REPAIRS):
        rewrite(world)
    world.edit({"destinations": [{**SPEC["destinations"][0], "ports": [{"port": 8080, "protocol": "HTTP"}]}]})
    assert ("apply", CHILD) in world.writes_of(world.reconcile)


def test_other_children_are_repaired_during_a_fight(world: World) -> None:
    """Only the child that is fought over waits."""
    for _ in range(2 * FREE_REPAIRS):
        rewrite(world)
    other = ObjectRef("Gateway", "shop", "partners-egress")
    world.remove(other)
    assert world.writes_of(world.reconcile) == [("apply", other)]


def test_a_fight_that_ended_long_ago_is_forgotten() -> None:
    """After a rest the first repairs are free again."""
    drift_backoff = DriftBackoff()
    assert [drift_backoff.count(CHILD, float(at)) for at in range(FREE_REPAIRS)] == [False] * (FREE_REPAIRS - 1) + [
        True
    ]
    assert drift_backoff.wait_seconds(CHILD, FREE_REPAIRS) > 0
    assert not drift_backoff.count(CHILD, OVER_AFTER_SECONDS + 100)


@pytest.mark.parametrize(
    ("entries", "manager"),
    [
        ([], ""),
        ([{"manager": "own", "time": "2026-01-01T00:00:03Z"}], ""),
        ([{"manager": "status-writer", "subresource": "status", "time": "2026-01-01T00:00:03Z"}], ""),
        ([{"manager": "a", "time": "2026-01-01T00:00:01Z"}, {"manager": "b", "time": "2026-01-01T00:00:02Z"}], "b"),
    ],
    ids=["none", "own", "status", "newest"],
)
def test_the_other_side_is_who_wrote_last(entries: list[Manifest], manager: str) -> None:
    """By the server's own record; the operator and writers of the status are not meant."""
    assert last_foreign_manager({"metadata": {"managedFields": entries}}, "own") == manager
