"""Whoever relies on a destination hears of its end a day before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import parse_spec
from egressgateway.cluster.result import Done
from egressgateway.engine.reconcile.expiry import expiring, next_notice
from unit.engine.simulation import START, World
from unit.objects import destination, spec

END = START + timedelta(days=3)


def spec_of(**ends: datetime | None) -> dict[str, Any]:
    """A destination for each name, that ends then."""
    return spec(
        *(
            destination(name, **({} if end is None else {"expiresAt": format_instant(end)}))
            for name, end in ends.items()
        )
    )


def parsed(**ends: datetime | None) -> EgressGatewaySpec:
    found = parse_spec(spec_of(**ends))
    assert isinstance(found, EgressGatewaySpec)
    return found


@pytest.fixture
def world() -> Iterator[World]:
    """One destination that ends in three days, served."""
    world = World(spec_of(x=END))
    world.settle()
    yield world
    world.close()


def announced(world: World) -> list[str]:
    return [note for _, reason, note in world.told if reason == "ExpiresSoon"]


@pytest.mark.parametrize(
    ("before_end", "found"),
    [(timedelta(days=2), []), (timedelta(days=1), ["x"]), (timedelta(seconds=1), ["x"]), (timedelta(0), [])],
    ids=["two-days", "a-day", "a-second", "over"],
)
def test_the_last_day_is_announced(before_end: timedelta, found: list[str]) -> None:
    """From a day before the end to the end itself; what has no end is never announced."""
    spec = parsed(x=END, y=None)
    assert [destination.name for destination, _ in expiring(spec, END - before_end)] == found


def test_the_next_notice_is_the_earliest_to_come() -> None:
    """Each destination has its own; none is left when all were given."""
    spec = parsed(x=END, y=END + timedelta(days=2), z=None)
    assert next_notice(spec, START) == END - timedelta(days=1)
    assert next_notice(spec, END) == END + timedelta(days=1)
    assert next_notice(spec, END + timedelta(days=2)) is None


def test_the_end_is_announced_once_and_in_time(world: World) -> None:
    """The operator asks to be woken up for it, and says it once, however often it looks."""
    outcome = world.reconcile()
    assert announced(world) == []
    assert outcome == Done(END - timedelta(days=1) - world.now)
    world.loop.now += outcome.after.total_seconds() if isinstance(outcome, Done) and outcome.after else 0
    for _ in range(3):
        world.reconcile()
        world.loop.now += 60
    [note] = announced(world)
    assert "destination x expires at 2026-01-04T00:00:00Z" in note


def test_an_end_that_was_put_off_is_announced_anew(world: World) -> None:
    """Another end, another warning."""
    world.loop.now += timedelta(days=2, hours=1).total_seconds()
    world.settle()
    world.edit(spec_of(x=END + timedelta(hours=1)))
    world.settle()
    assert len(announced(world)) == 2
