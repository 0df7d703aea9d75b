"""Who wins a host: the earliest claim, and after a loss of claims who steers, then the older object, then the name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.api.conditions import Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import format_instant
from egressgateway.facts import ClassFacts, Facts, GatewayFacts, Rival
from egressgateway.plan.claims import Claims, contended_names, read_claims, resolve_claims
from egressgateway.refs import Key
from egressgateway.settings import MeshSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "a.example.com"


def days(count: int) -> datetime:
    return NOW - timedelta(days=count)


def resolve(
    *rivals: Rival, claimed: datetime | None = None, created: datetime = NOW, steers: bool = False, name: str = "me"
) -> Claims:
    status = {"claims": [{"host": HOST, "claimedAt": format_instant(claimed)}]} if claimed else {}
    facts = Facts(
        now=NOW,
        gateway=GatewayFacts(Key("shop", name), "u", 1, created, None, status=status),
        class_=ClassFacts("", EgressGatewayClassSpec()),
        mesh=MeshSettings(),
        rivals=rivals,
    )
    return resolve_claims(facts, [HOST], frozenset({HOST}) if steers else frozenset())


def rival(
    claimed: datetime | None = None, *, created: datetime = NOW, steers: bool = False, name: str = "rival"
) -> Rival:
    claims = {HOST: claimed} if claimed else {}
    return Rival(Key("shop", name), created, frozenset({HOST}), claims, frozenset({HOST}) if steers else frozenset())


def test_a_name_that_nobody_else_wants_is_claimed_now() -> None:
    """The first claim has the time at which it is made; one that stands keeps its own."""
    assert resolve().by_host == {HOST: NOW}
    assert resolve(claimed=days(3)).by_host == {HOST: days(3)}


def test_the_earliest_claim_wins_over_the_older_object() -> None:
    """An old object takes nothing over by adding a host."""
    young = rival(days(1), created=days(1))
    assert resolve(young, created=days(100)).lost == {HOST: young.key}
    assert resolve(young, claimed=days(2), created=days(0)).lost == {}


@pytest.mark.parametrize(
    ("other", "mine", "wins"),
    [
        (rival(), {"steers": True}, True),
        (rival(steers=True, created=NOW), {"created": days(9)}, False),
        (rival(created=days(1)), {"created": days(2)}, True),
        (rival(created=days(2)), {"created": days(1)}, False),
        (rival(name="a"), {"name": "b"}, False),
        (rival(name="b"), {"name": "a"}, True),
        (rival(days(5)), {"steers": True, "created": days(9)}, False),
        (rival(days(5), steers=True), {"claimed": days(5)}, False),
    ],
)
def test_without_claims_who_steers_wins_then_the_older_then_the_name(
    other: Rival, mine: dict[str, Any], *, wins: bool
) -> None:
    """After a restore nobody has a claim: requests go on where they went."""
    assert (resolve(other, **mine).lost == {}) is wins


STANDINGS = st.tuples(
    st.none() | st.integers(0, 2).map(days),
    st.integers(0, 2).map(days),
    st.booleans(),
    st.sampled_from(["a", "b", "c"]),
)


@given(st.lists(STANDINGS, min_size=2, max_size=3, unique_by=lambda standing: standing[3]))
def test_exactly_one_of_all_wins(standings: list[tuple[datetime | None, datetime, bool, str]]) -> None:
    """Each object judges by itself, and all come to the same result."""
    winners = [
        name
        for claimed, created, steers, name in standings
        if not resolve(
            *(rival(at, created=since, steers=on, name=other) for at, since, on, other in standings if other != name),
            claimed=claimed,
            created=created,
            steers=steers,
            name=name,
        ).lost
    ]
    assert len(winners) == 1


def test_read_claims_ignores_what_it_cannot_read() -> None:
    """Nonsense in a status is no claim, and no crash."""
    broken = [{"host": "x"}, {"claimedAt": "y"}, {"host": "z", "claimedAt": 5}, {"host": "w", "claimedAt": "soon"}, 7]
    good = {"host": HOST, "claimedAt": "2026-01-01T00:00:00Z"}
    assert read_claims({"claims": [*broken, good]}) == {HOST: NOW}
    assert read_claims({}) == read_claims({"claims": None}) == {}


def gateway(reason: str | None, *, observed: int = 1, **spec: Any) -> dict[str, Any]:
    condition = {"type": "Accepted", "status": "False" if reason else "True", "reason": reason or "Accepted"}
    return {
        "metadata": {"name": "x", "namespace": "shop", "generation": 1},
        "spec": {"destinations": [{"name": "d", "hosts": [HOST], "aliases": ["b.example.com"]}], **spec},
        "status": {"observedGeneration": observed, "destinations": [{"name": "d", "conditions": [condition]}]},
    }


@pytest.mark.parametrize(
    "reason", [Reason.EXPIRED, Reason.HOST_NOT_ALLOWED, Reason.UNSUPPORTED_VALUE, Reason.CLASS_NOT_FOUND]
)
def test_who_is_refused_does_not_contend(reason: Reason) -> None:
    """
    A younger object got HostConflict for ever, naming an older one whose destination had expired and claimed nothing.
    """
    assert contended_names(gateway(reason)) == set()


def test_who_may_still_claim_contends() -> None:
    """The accepted, the loser that is next in line, and whoever has not been judged at this generation."""
    both = {HOST, "b.example.com"}
    assert contended_names(gateway(None)) == both
    assert contended_names(gateway(Reason.HOST_CONFLICT)) == both
    assert contended_names(gateway(Reason.EXPIRED, observed=0)) == both
    assert contended_names({"metadata": {"generation": 1}, "spec": gateway(None)["spec"]}) == both


def test_who_is_suspended_claims_nothing_new() -> None:
    """It would keep the name from everybody without ever serving it."""
    assert contended_names(gateway(None, suspend=True)) == set()
