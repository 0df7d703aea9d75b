"""Whoever relies on a destination hears of its end a day before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from egressgateway.api.scalars import format_instant
from egressgateway.api.status import MOST_EXPIRATIONS
from egressgateway.api.validation import parse_spec
from egressgateway.cluster.result import Done
from egressgateway.facts import References
from egressgateway.status.expirations import Expiration, expirations_field, expirations_of, notices_between
from unit.engine.simulation import START, World
from unit.objects import destination, spec
from unit.plan.test_references import CA, CLIENT, certificate, secret
from unit.plan.world import facts_of

END = START + timedelta(days=3)


def spec_of(**ends: datetime | None) -> dict[str, Any]:
    """A destination for each name, that ends then."""
    return spec(
        *(
            destination(name, **({} if end is None else {"expiresAt": format_instant(end)}))
            for name, end in ends.items()
        )
    )


@pytest.fixture
def world() -> Iterator[World]:
    """One destination that ends in three days, served."""
    world = World(spec_of(x=END))
    world.settle()
    yield world
    world.close()


def announced(world: World) -> list[str]:
    return [note for _, reason, note in world.told if reason == "ExpiresSoon"]


DESTINATION = (("destination", "x"),)


@pytest.mark.parametrize(
    ("before_end", "notice"),
    [
        (timedelta(days=31), None),
        (timedelta(days=30), 30),
        (timedelta(days=8), 30),
        (timedelta(days=7), 7),
        (timedelta(days=1), 1),
        (timedelta(seconds=1), 1),
        (timedelta(0), None),
    ],
)
def test_notices_are_due_a_month_a_week_and_a_day_before(before_end: timedelta, notice: int | None) -> None:
    """The last one that is due counts, and the next one is known."""
    end = Expiration(END, DESTINATION)
    assert end.notice(END - before_end) == notice
    following = {30: 7, 7: 1, 1: None}.get(notice or 0, 30) if before_end else None
    expected = None if following is None else END - timedelta(days=following)
    assert end.next_notice(END - before_end) == expected


@pytest.mark.parametrize(("lifetime", "notices"), [(730, (30, 7, 1)), (90, (7, 1)), (21, (1,)), (3, ())], ids=str)
def test_certificate_is_not_announced_while_a_third_of_its_life_is_left(
    lifetime: int, notices: tuple[int, ...]
) -> None:
    """What renews it by itself has not begun by then."""
    pem = certificate(END, timedelta(days=lifetime))
    facts = facts_of(references=References({CLIENT: secret(tls_crt=pem)}))
    [found] = expirations_of(facts)
    assert (found.at, dict(found.subject), found.notices) == (END, {"secret": "client", "key": "tls.crt"}, notices)


def test_chain_ends_with_its_first_and_authorities_with_their_last() -> None:
    """An old root beside the new one is how authorities are changed."""
    early, late = certificate(END), certificate(END + timedelta(days=9))
    facts = facts_of(references=References({CLIENT: secret(tls_crt=late + early, ca_crt=early + late), CA: None}))
    assert [(each.at, dict(each.subject)["key"]) for each in expirations_of(facts)] == [
        (END, "tls.crt"),
        (END + timedelta(days=9), "ca.crt"),
    ]
    assert expirations_of(facts_of(references=References({CLIENT: secret(tls_crt=b"no", ca_crt=b"")}))) == ()


def test_status_lists_the_first_ends_only() -> None:
    """Of a hundred destinations with an end the status names some."""
    ends = {f"d{number}": START + timedelta(days=40 + number) for number in range(20)}
    listed = expirations_field(facts_of(parse_spec(spec_of(**ends)), now=START))  # type: ignore[arg-type]  # it is valid
    assert [each["destination"] for each in listed] == [f"d{number}" for number in range(MOST_EXPIRATIONS)]
    assert all("notice" not in each for each in listed)


def entry(notice: int | None, **subject: str) -> dict[str, Any]:
    found = {"at": "2026-02-01T00:00:00Z", **(subject or {"secret": "client", "key": "tls.crt"})}
    return {"expirations": [found if notice is None else {**found, "notice": notice}]}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, entry(None), 0),
        (entry(None), entry(30), 1),
        (entry(30), entry(30), 0),
        (entry(30), entry(7), 1),
        (entry(1), entry(1), 0),
        ({}, entry(7), 1),
        ({}, entry(7, destination="x"), 0),
        ({}, entry(1, destination="x"), 1),
        (entry(30, destination="x"), entry(7, destination="x"), 1),
        (entry(7), {}, 0),
    ],
    ids=[
        "far away",
        "a month before",
        "told",
        "a week before",
        "a day before, told",
        "a certificate that is new here",
        "an end that was just written",
        "an end that was just written for tomorrow",
        "a destination",
        "renewed",
    ],
)
def test_each_notice_is_given_once(old: dict[str, Any], new: dict[str, Any], told: int) -> None:
    """By the status: another process gives none again."""
    assert len(list(notices_between(old, new))) == told


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
    assert world.status["expirations"] == [{"at": "2026-01-04T00:00:00Z", "destination": "x", "notice": 1}]
    world.restart()
    world.settle()
    assert len(announced(world)) == 1, "another process reads what was announced in the status"


def test_an_end_that_was_put_off_is_announced_anew(world: World) -> None:
    """Another end, another warning."""
    world.loop.now += timedelta(days=2, hours=1).total_seconds()
    world.settle()
    world.edit(spec_of(x=END + timedelta(hours=1)))
    world.settle()
    assert len(announced(world)) == 2
