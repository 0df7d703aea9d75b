"""
Two objects want one TCP port for the same clients: who has it keeps it, whatever becomes of its own spec.

A sidecar listens for TCP on every address, so that two objects on one port are a misroute that nobody sees. `Contest`
judges that after each write of a child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.refs import Key
from unit.engine import contest as contests
from unit.engine.contest import Contest

SHOP, LAB = "shop", "lab"
FIRST, SECOND = Key(SHOP, "first"), Key("platform", "second")
DB, OTHER_DB = "db.first.example:5432", "db.second.example:5432"
INVALID = {"destinations": [{"name": "d", "hosts": ["not a host"], "ports": [{"port": 5432, "protocol": "TCP"}]}]}


@pytest.fixture
def contest() -> Iterator[Contest]:
    it = Contest(SHOP, "platform", LAB)
    yield it
    it.close()


def has(contest: Contest, port: int = 5432, place: str = SHOP) -> Key | None:
    """Whose clients of a namespace have the port."""
    found = contest.ports().get((port, place), frozenset())
    assert len(found) <= 1
    return next(iter(found), None)


def is_refused(contest: Contest, key: Key, winner: Key) -> bool:
    status, message = contest.verdict(key)
    return status == "False" and f"EgressGateway {winner} in namespace" in message


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    "change",
    [{"suspend": True}, {"className": "gone"}, INVALID],
    ids=["suspended", "refused", "unreadable"],
)
def test_port_of_an_object_that_keeps_what_runs_is_nobody_elses(
    contest: Contest, change: dict[str, Any], *, restarted: bool
) -> None:
    """Its clients are still sent there; when it is gone, who waits takes over."""
    contest.create(FIRST, DB)
    contest.settle()
    contest.change(FIRST, **change)
    contest.settle()
    contest.create(SECOND, OTHER_DB, consumers=(SHOP,))
    contest.settle()
    if restarted:
        contest.stop()
        contest.start()
        contest.settle(backwards=True)
    assert has(contest) == FIRST
    assert is_refused(contest, SECOND, FIRST)

    contest.delete(FIRST)
    contest.settle()
    assert has(contest) == SECOND
    assert contest.verdict(SECOND)[0] == "True"
    assert contest.offences == []


def test_port_that_left_a_spec_is_held_until_nothing_registers_it(contest: Contest) -> None:
    """A refused edit takes nothing away, so its port is not free; the next edit frees it, and wakes who waits."""
    contest.create(FIRST, DB)
    contest.create(SECOND, "api.second.example", consumers=(SHOP,))
    contest.settle()
    contest.edit(FIRST, "db.first.example:5433")
    contest.change(FIRST, className="gone")
    contest.edit(SECOND, OTHER_DB, consumers=(SHOP,))
    contest.settle()
    assert has(contest) == FIRST
    assert is_refused(contest, SECOND, FIRST)

    contest.edit(FIRST, "db.first.example:5433")
    contest.settle()
    assert (has(contest), has(contest, 5433)) == (SECOND, FIRST)
    assert contest.offences == []


def test_port_stays_with_who_has_it_in_that_namespace(contest: Contest) -> None:
    """Who has it elsewhere, and claimed something earlier, takes nothing over by adding a consumer."""
    contest.create(SECOND, OTHER_DB, consumers=(LAB,))
    contest.settle()
    contest.create(FIRST, DB)
    contest.settle()
    contest.edit(SECOND, OTHER_DB, consumers=(LAB, SHOP))
    contest.settle()
    assert (has(contest), has(contest, place=LAB)) == (FIRST, SECOND)
    assert is_refused(contest, SECOND, FIRST)
    assert contest.verdict(FIRST)[0] == "True"
    assert contest.offences == []


def test_port_of_an_other_namespace_is_in_nobodys_way(contest: Contest) -> None:
    """Having it in one namespace is no right to it in another one."""
    contest.create(FIRST, "api.first.example")
    contest.create(SECOND, OTHER_DB, consumers=(LAB,))
    contest.settle()
    contest.stop()
    contest.edit(SECOND, OTHER_DB, consumers=(LAB, SHOP))
    contest.edit(FIRST, "api.first.example", DB)
    contest.start()
    contest.settle(backwards=True)
    assert (has(contest), has(contest, place=LAB)) == (FIRST, SECOND)
    assert is_refused(contest, SECOND, FIRST)
    assert contest.offences == []


def test_port_under_another_protocol_waits_for_who_has_it(contest: Contest) -> None:
    """TCP would take what is meant for the others' server names: having the number for those is no right to that."""
    contest.create(FIRST, "api.first.example:5432/TLS")
    contest.create(SECOND, "api.second.example:5432/TLS", consumers=(SHOP,))
    contest.settle()
    assert contest.ports("TLS")[5432, SHOP] == {FIRST, SECOND}
    contest.edit(FIRST, "api.first.example:5432")
    contest.settle()
    assert is_refused(contest, FIRST, SECOND)
    assert contest.ports("TLS")[5432, SHOP] == {FIRST, SECOND}
    contest.delete(SECOND)
    contest.settle()
    assert contest.ports("TCP")[5432, SHOP] == {FIRST}
    assert contest.offences == []


KEYS = (FIRST, SECOND, Key(LAB, "third"))
PORTS = ("5432", "5432", "5432/TLS", "5433")
CHANGES: tuple[dict[str, Any], ...] = ({}, {}, {}, {"suspend": True}, {"className": "gone"}, INVALID)
Event = tuple[str, Key, str, tuple[str, ...], dict[str, Any], bool, bool]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["put"] * 7 + ["delete", "restart", "restore"]),
        st.sampled_from(KEYS),
        st.sampled_from(PORTS),
        st.sampled_from([(SHOP,), (SHOP, LAB), (LAB,), ("*",)]),
        st.sampled_from(CHANGES),
        st.sampled_from([True, True, False]),  # whether the operator sees this event before the next one
        st.booleans(),
    ),
    min_size=4,
    max_size=10,
)


@given(EVENTS)
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_events_leave_each_tcp_port_with_one_object(events: list[Event]) -> None:
    """Whatever happens to three objects in three namespaces: TCP is never told to clients that have the port."""
    contest = Contest(SHOP, "platform", LAB)
    settled = True
    try:
        for event in events:
            before = contest.ports() if settled and event[0] in {"restart", "restore"} else {}
            play(contest, event)
            settled = event[5]
            if settled:
                contest.settle(backwards=event[6])
                after = contest.ports()
                assert {place: after.get(place) for place in before} == before
            assert contest.offences == []
        contest.settle()
        assert contest.offences == []
    finally:
        contest.close()


def play(contest: Contest, event: Event) -> None:
    what, key, port, consumers, change, *_ = event
    alive = contest.exists(key) and not contest.is_ending(key)
    host = f"db.{key.name}.example:{port}"
    if what in {"restart", "restore"}:
        contest.stop()
        if what == "restore":
            contest.wipe_status(*(each for each in KEYS if contest.exists(each)))
        contest.start()
    elif what == "put" and not contest.exists(key):
        contest.create(key, host, consumers=consumers)
    elif what == "put" and alive:
        contest.edit(key, host, consumers=consumers)
        contest.change(key, **{"suspend": False, **change})
    elif what == "delete" and alive:
        contest.delete(key)


@pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
@pytest.mark.parametrize("seen", [False, True], ids=["at-once", "one-by-one"])
def test_two_objects_that_swap_their_ports_go_on_until_one_makes_room(
    contest: Contest, *, seen: bool, backwards: bool
) -> None:
    """Whoever let go first would serve nobody until the other one moves, which may have reasons of its own to stay."""
    contest.create(FIRST, DB)
    contest.create(SECOND, "db.second.example:5433", consumers=(SHOP,))
    contest.settle()
    contest.edit(FIRST, "db.first.example:5433")
    if seen:
        contest.settle()
    contest.edit(SECOND, OTHER_DB, consumers=(SHOP,))
    contest.settle(backwards=backwards)
    assert is_refused(contest, FIRST, SECOND)
    assert is_refused(contest, SECOND, FIRST)
    assert (has(contest), has(contest, 5433)) == (FIRST, SECOND)

    contest.edit(FIRST, "db.first.example:5440")
    contest.settle(backwards=backwards)
    assert (has(contest), has(contest, 5440)) == (SECOND, FIRST)
    contest.edit(FIRST, "db.first.example:5433")
    contest.settle(backwards=backwards)
    assert (has(contest), has(contest, 5433)) == (SECOND, FIRST)
    assert contest.offences == []


def test_who_has_a_port_gets_it_elsewhere_before_who_only_asks_for_it(contest: Contest) -> None:
    """An older claim that loses where the port is taken would refuse the other where it is free, and serve nobody."""
    contest.create(SECOND, "api.second.example")
    contest.settle()
    contest.create(FIRST, DB)
    contest.settle()
    contest.edit(SECOND, "api.second.example", OTHER_DB, consumers=(SHOP, LAB))
    contest.settle()
    assert is_refused(contest, SECOND, FIRST)
    contest.edit(FIRST, DB, consumers=(SHOP, LAB))
    contest.settle()
    assert [has(contest, place=place) for place in (SHOP, LAB)] == [FIRST, FIRST]
    assert contest.verdict(FIRST)[0] == "True"
    assert contest.offences == []


def addressed(host: str, *addresses: str) -> dict[str, Any]:
    """A spec whose one host has TCP on these addresses alone."""
    ports = [{"port": 5432, "protocol": "TCP"}]
    return {"destinations": [{"name": "d", "hosts": [host], "addresses": list(addresses), "ports": ports}]}


def test_address_is_whose_claim_was_first_and_its_port_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One port on two addresses for the same clients; one address, in whatever spelling, is one object's."""
    monkeypatch.setattr(contests, "CLASS", {**contests.CLASS, "allowedCIDRs": ["192.0.2.0/24", "2001:db8::/32"]})
    contest = Contest(SHOP, "platform")
    try:
        contest.create(FIRST, "a.first.example")
        contest.change(FIRST, **addressed("a.first.example", "192.0.2.7", "2001:db8::7"))
        contest.settle()
        contest.create(SECOND, "a.second.example", consumers=(SHOP,))
        contest.change(SECOND, **addressed("a.second.example", "192.0.2.8"))
        contest.settle()
        assert [contest.verdict(key)[0] for key in (FIRST, SECOND)] == ["True", "True"]

        contest.change(SECOND, **addressed("a.second.example", "2001:db8:0::7"))
        contest.settle()
        status, message = contest.verdict(SECOND)
        assert (status, "2001:db8::7" in message, str(FIRST) in message) == ("False", True, True)
        contest.delete(FIRST)
        contest.settle()
        assert contest.verdict(SECOND)[0] == "True"
    finally:
        contest.close()
