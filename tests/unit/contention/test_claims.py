"""Who wins a name: the earliest claim in a namespace; after a loss of claims who steers, the older object, the name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressgateway.api.access import MAX_CONSUMER_NAMESPACES
from egressgateway.api.conditions import Reason
from egressgateway.contention.hostnames import overlaps
from egressgateway.contention.requested import unrejected
from egressgateway.contention.rights import is_recorded, read_rights, rights_fields
from egressgateway.facts import NEVER, Claimed, Rights
from egressgateway.refs import Key
from unit import objects
from unit.contention.claimants import HOST, NAMESPACES, Claimant, days
from unit.plan.world import NOW

SHOP = frozenset({"shop"})
ME = Claimant()


def contender(at: datetime | None = None, **more: Any) -> Claimant:
    """Another object that wants the same in the same namespace, with a claim of `at`."""
    status = {"claimed": {HOST: at}, "since": {"shop": at}} if at is not None else {}
    return Claimant(**{"name": "rival", "namespace": "other", **status, **more})


def test_a_name_that_nobody_else_wants_is_claimed_now() -> None:
    """The first claim has the time at which it is made; one that stands keeps its own, and so does a consumer."""
    assert ME.contend([]).rights == Rights({HOST: {"shop": NOW}})
    again = replace(ME, claimed={HOST: days(3)}, since={"shop": days(2)}).contend([])
    assert again.rights == Rights({HOST: {"shop": days(2)}})


def test_the_earliest_claim_wins_over_the_older_object() -> None:
    """An old object takes nothing over by adding a host."""
    young = contender(days(1), created=days(1))
    assert replace(ME, created=days(100)).contend([young]).lost == {HOST: {"shop": young.key}}
    assert replace(ME, claimed={HOST: days(2)}, since={"shop": days(2)}).contend([young]).lost == {}


def test_an_old_claim_takes_nothing_over_in_a_new_namespace() -> None:
    """What counts is the later of the claim and of the namespace becoming a consumer."""
    old = Claimant(claimed={HOST: days(9)}, since={"shop": days(9)}, serves={HOST: frozenset({"shop", "lab"})})
    young = Claimant("young", "lab", serves={HOST: frozenset({"lab"})}, claimed={HOST: days(1)}, since={"lab": days(1)})
    assert old.contend([young]).lost == {HOST: {"lab": young.key}}
    assert young.contend([old]).lost == {}
    assert old.contend([young]).rights == Rights({HOST: {"shop": days(9)}})


def test_a_consumer_of_old_does_not_make_a_new_claim_older() -> None:
    """The other half: the namespace was there first, the name came later."""
    wide = Claimant(claimed={HOST: days(1)}, since={"shop": days(9)})
    assert wide.contend([contender(days(2))]).lost == {HOST: {"shop": contender().key}}
    assert contender(days(2)).contend([wide]).lost == {}


def test_a_claim_counts_until_its_status_gives_it_up() -> None:
    """The name has left the spec of the rival, whose routes may still steer it: nobody takes it over meanwhile."""
    leaving = contender(days(1), serves={"b.example.com": SHOP})
    assert ME.contend([leaving]).lost == {HOST: {"shop": leaving.key}}
    assert ME.contend([replace(leaving, claimed={})]).lost == {}


SIBLING = Claimant(
    "sibling",
    serves={},
    claimed={HOST: days(1)},
    since={"shop": days(1)},
    steers={HOST: SHOP},
    lets_go=frozenset({HOST}),
)
"""An object of the same namespace, that has the name and does not ask for it any more."""


def test_what_an_object_lets_go_is_claimed_in_its_namespace_at_once() -> None:
    """Others of the namespace need not wait until its last client is withdrawn, and go by their own claims."""
    assert ME.contend([SIBLING]).rights == Rights({HOST: {"shop": NOW}})
    third = Claimant("third", created=days(3))
    assert ME.contend([SIBLING, third]).lost == {HOST: {"shop": third.key}}
    assert third.contend([SIBLING, ME]).lost == {}


def test_what_an_object_lets_go_stays_in_its_namespace() -> None:
    """Who has waited longer elsewhere gets it from neither; who has a claim of its own elsewhere keeps that."""
    waiting = contender(created=days(100))
    assert ME.contend([SIBLING, waiting]).lost == {}
    assert waiting.contend([replace(SIBLING, lets_go=frozenset()), ME]).lost == {HOST: {"shop": SIBLING.key}}
    wide = replace(ME, serves={HOST: frozenset({"shop", "lab"})})
    there = Claimant("there", "lab", serves={HOST: frozenset({"lab"})}, claimed={HOST: days(1)}, since={"lab": days(1)})
    assert wide.contend([SIBLING, there]).lost == {HOST: {"lab": there.key}}


def test_claim_that_was_taken_over_stands_behind_the_new_one() -> None:
    """While its clients are steered it keeps others away, and it gives nothing back to who asks for the name again."""
    heir = replace(ME, claimed={HOST: NOW}, since={"shop": NOW})
    assert SIBLING.contend([]).rights == Rights({HOST: {"shop": days(1)}})
    kept = SIBLING.contend([heir]).rights
    assert kept == Rights({HOST: {"shop": NOW + timedelta(seconds=1)}})
    behind = replace(SIBLING, status=rights_fields(kept))
    assert behind.contend([heir]).rights == kept
    again = replace(behind, serves=ME.serves, lets_go=frozenset())
    assert again.contend([heir]).lost == {HOST: {"shop": heir.key}}
    assert heir.contend([again]).lost == {}


def test_claim_for_everybody_stands_behind_the_new_one_where_that_is() -> None:
    """In each namespace that both are for, and in no other."""
    everybody = replace(SIBLING, since={"*": days(1)}, steers={HOST: frozenset("*")})
    heir = replace(ME, claimed={HOST: NOW}, since={"shop": NOW})
    assert everybody.contend([heir]).rights == Rights({HOST: {"*": days(1), "shop": NOW + timedelta(seconds=1)}})


def test_claim_is_not_put_behind_that_of_another_namespace() -> None:
    """A name moves within a namespace alone."""
    other = contender(NOW)
    assert SIBLING.contend([other]).rights == Rights({HOST: {"shop": days(1)}})


def test_objects_without_a_common_consumer_have_no_conflict() -> None:
    """Each serves its own clients; neither hears of the other."""
    there = Claimant("there", "lab", serves={HOST: frozenset({"lab"})})
    assert ME.contend([there]).lost == there.contend([ME]).lost == {}


def test_who_serves_everybody_contends_in_every_namespace() -> None:
    """`*` meets each namespace by itself: where it is later it loses that one alone."""
    everybody = Claimant("all", "bank", serves={HOST: frozenset("*")}, claimed={HOST: days(2)}, since={"*": days(2)})
    older, younger = contender(days(3)), contender(days(1))
    assert everybody.contend([older]).lost == {HOST: {"shop": older.key}}
    assert older.contend([everybody]).lost == {}
    assert everybody.contend([younger]).lost == {}
    assert younger.contend([everybody]).lost == {HOST: {"shop": everybody.key}}


def test_of_two_that_serve_everybody_the_earlier_has_every_namespace() -> None:
    """There is nothing to divide."""
    one, other = (
        Claimant(name, "bank", serves={HOST: frozenset("*")}, claimed={HOST: at}, since={"*": at})
        for name, at in (("one", days(2)), ("other", days(1)))
    )
    assert other.contend([one]).lost == {HOST: {"*": one.key}}
    assert other.contend([one]).rights == Rights()
    assert one.contend([other]).lost == {}


WILD = "*.example.com"


@pytest.mark.parametrize(("mine", "theirs"), [(HOST, WILD), (WILD, HOST), ("*.b.example.com", WILD)])
def test_a_wildcard_and_a_name_under_it_conflict_across_namespaces_only(mine: str, theirs: str) -> None:
    """Within one namespace the more specific name wins, which is no conflict."""
    me = Claimant(serves={mine: SHOP})
    other = Claimant("other", "lab", serves={theirs: SHOP}, claimed={theirs: days(1)}, since={"shop": days(1)})
    assert me.contend([other]).lost == {mine: {"shop": other.key}}
    assert other.contend([me]).lost == {}
    neighbour = replace(other, namespace="shop")
    assert me.contend([neighbour]).lost == neighbour.contend([me]).lost == {}


def test_wildcards_beside_each_other_do_not_conflict() -> None:
    """Neither covers the other, nor does a wildcard cover its own apex."""
    for mine, theirs in (("*.a.example.com", "*.b.example.com"), ("example.com", WILD)):
        other = Claimant("other", "lab", serves={theirs: SHOP}, claimed={theirs: days(1)}, since={"shop": days(1)})
        assert Claimant(serves={mine: SHOP}).contend([other]).lost == {}


@pytest.mark.parametrize(
    ("other", "mine", "wins"),
    [
        (contender(), {"steers": {HOST: SHOP}}, True),
        (contender(), {"steers": {HOST: frozenset({"lab"})}, "created": days(-1)}, False),
        (contender(steers={HOST: SHOP}), {"created": days(9)}, False),
        (contender(created=days(1)), {"created": days(2)}, True),
        (contender(created=days(2)), {"created": days(1)}, False),
        (contender(name="a", namespace="shop"), {"name": "b"}, False),
        (contender(name="b", namespace="shop"), {"name": "a"}, True),
        (contender(namespace="a"), {}, False),
        (contender(days(5)), {"steers": {HOST: SHOP}, "created": days(9)}, False),
        (contender(days(5), steers={HOST: SHOP}), {"claimed": {HOST: days(5)}, "since": {"shop": days(5)}}, False),
    ],
)
def test_without_claims_who_steers_wins_then_the_older_then_the_name(
    other: Claimant, mine: dict[str, Any], *, wins: bool
) -> None:
    """After a restore nobody has a claim: requests go on where they went."""
    assert (replace(ME, **mine).contend([other]).lost == {}) is wins


TIMES = st.integers(0, 2).map(days)
NAMES = st.sampled_from([HOST, "b.example.com"])
SERVED = st.just(frozenset("*")) | st.frozensets(st.sampled_from(sorted(NAMESPACES)), min_size=1)


@st.composite
def contenders(draw: st.DrawFn, names: st.SearchStrategy[str] = NAMES) -> list[Claimant]:
    """Two to four objects whose statuses may have been lost, whole or in part; each has one set of consumers."""
    found = []
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=2, max_size=4, unique=True)):
        served, wanted = draw(SERVED), draw(st.lists(names, min_size=1, max_size=2, unique=True))
        found.append(
            Claimant(
                name,
                draw(st.sampled_from(sorted(NAMESPACES))),
                created=draw(TIMES),
                serves=dict.fromkeys(wanted, served),
                claimed=draw(st.dictionaries(st.sampled_from(wanted), TIMES)),
                since=draw(st.dictionaries(st.sampled_from(sorted(served)), TIMES)),
                steers=draw(st.dictionaries(st.sampled_from(wanted), st.just(served))),
            )
        )
    return found


@given(contenders())
@settings(max_examples=150, deadline=None)
def test_of_all_that_want_a_name_in_a_namespace_exactly_one_has_it(objects: list[Claimant]) -> None:
    """Each judges by itself, and all come to the same result, in whatever order they hear of each other."""
    wanted = {place for claimant in objects for place in claimant.holds([])}
    held = [claimant.holds(objects) for claimant in objects]
    assert sorted(place for places in held for place in places) == sorted(wanted)
    assert [claimant.holds(objects[::-1]) for claimant in objects] == held
    assert [claimant.holds(objects[1:] + objects[:1]) for claimant in objects] == held


@given(contenders(st.sampled_from([HOST, WILD, "*.a.example.com"])))
@settings(max_examples=150, deadline=None)
def test_objects_of_two_namespaces_never_hold_names_that_meet(objects: list[Claimant]) -> None:
    """With wildcards, too: whatever the statuses say, a call has one object that it may go through."""
    held = [(claimant, *place) for claimant in objects for place in claimant.holds(objects)]
    for (one, name, namespace), (other, other_name, other_namespace) in combinations(held, 2):
        if one.namespace != other.namespace and namespace == other_namespace:
            assert not overlaps(name, other_name)


def test_who_widens_to_everybody_keeps_the_namespaces_that_it_had() -> None:
    """Its own clients were there first; the claim on the rest is later than another's, and takes nothing from these."""
    early: dict[str, Any] = {"claimed": {HOST: days(9)}, "since": {"shop": days(9)}}
    widened = Claimant(serves={HOST: frozenset("*")}, **early)
    other = Claimant("other", "lab", serves={HOST: frozenset("*")}, claimed={HOST: days(5)}, since={"*": days(5)})
    assert (HOST, "shop") in widened.holds([other])
    assert (HOST, "shop") not in other.holds([widened])
    assert (HOST, "bank") in other.holds([widened])


PUBLIC = Claimed("web.example.com", "istio-system/front")


def test_exposed_names_are_claimed_for_each_gateway() -> None:
    """The earlier claim on one gateway wins; on another gateway the name is free, and a destination is none."""
    older = Claimant("older", "lab", serves={}, exposes={PUBLIC: days(2)})
    younger = Claimant(serves={}, exposes={PUBLIC: days(1)})
    assert younger.contend([older]).lost_exposed == {PUBLIC: older.key}
    assert older.contend([younger]).lost_exposed == {}
    assert older.contend([younger]).rights == Rights(exposed={PUBLIC: days(2)})
    elsewhere = Claimant(serves={PUBLIC.host: SHOP}, exposes={replace(PUBLIC, gateway="shop/own"): None})
    assert elsewhere.contend([older]).lost_exposed == {}
    assert elsewhere.contend([older]).lost == {}


@pytest.mark.parametrize(("mine", "theirs"), [("web.example.com", WILD), (WILD, "web.example.com")])
def test_exposed_wildcards_conflict_with_names_under_them(mine: str, theirs: str) -> None:
    """Without claims the older object has the name, whichever is the wildcard."""
    older = Claimant("older", "lab", days(1), serves={}, exposes={Claimed(theirs, "a/b"): None})
    assert Claimant(serves={}, exposes={Claimed(mine, "a/b"): None}).contend([older]).lost_exposed == {
        Claimed(mine, "a/b"): older.key
    }


def test_a_name_that_was_claimed_elsewhere_is_new_here() -> None:
    """
    A claim for the own namespace, and service of another one by another name, are together no claim of the name there.

    So a running host was taken over: the younger object had claimed it there, and lost it when `access` was widened.
    """
    junk, intruder = "junk.example.com", Claimant("intruder", "evil", days(9), serves={HOST: frozenset({"evil"})})
    before = replace(intruder, serves={HOST: frozenset({"evil"}), junk: frozenset({"evil", "shop"})}).contend([]).rights
    status = rights_fields(before)
    assert is_recorded(before, status)
    victim = Claimant(claimed={HOST: days(1)}, since={"shop": days(1)})
    wide = {HOST: frozenset({"evil", "shop"}), junk: frozenset({"evil", "shop"})}
    claims = replace(intruder, serves=wide, status=status).contend([victim])
    assert claims.lost == {HOST: {"shop": victim.key}}
    assert claims.won[HOST] == {"evil"}
    assert victim.contend([replace(intruder, serves=wide, status=status)]).lost == {}


def test_who_serves_everybody_but_one_has_no_claim_there() -> None:
    """Were the claim on everybody one on that namespace, its holder would lose it with its own status."""
    mine = Claimant("all", "bank", serves={HOST: frozenset("*")}, claimed={HOST: days(2)}, since={"*": days(2)})
    claims = mine.contend([contender(days(3))])
    assert claims.rights.names == {HOST: {"*": days(2), "shop": NEVER}}
    assert read_rights(rights_fields(claims.rights)) == claims.rights


def test_who_serves_everybody_but_one_must_be_able_to_list_the_others() -> None:
    """Istio's `exportTo` knows every namespace, or a list: of thousands none is served, and nothing is claimed."""
    mine = Claimant("all", "bank", serves={HOST: frozenset("*")})
    many = {f"ns-{number}": dict[str, str]() for number in range(1, MAX_CONSUMER_NAMESPACES)} | {"bank": {}}
    few = mine.contend([contender(days(3))], namespaces={"shop": {}, **many})
    assert len(few.won[HOST]) == MAX_CONSUMER_NAMESPACES
    assert few.unlistable == {}
    claims = mine.contend([contender(days(3))], namespaces={"shop": {}, "one-more": {}, **many})
    assert claims.won[HOST] == frozenset()
    assert claims.lost == {HOST: {"shop": contender(days(3)).key}}
    assert claims.unlistable == {HOST: MAX_CONSUMER_NAMESPACES + 1}
    assert claims.rights.names == {}


def claimable(manifest: dict[str, Any]) -> set[str]:
    return set(unrejected(manifest, {}).names)


def gateway(reason: str | None, *, observed: int = 1, **spec: Any) -> dict[str, Any]:
    condition = {"type": "Accepted", "status": "False" if reason else "True", "reason": reason or "Accepted"}
    status = {"observedGeneration": observed, "destinations": [{"name": "d", "conditions": [condition]}]}
    wanted = {"destinations": [{"name": "d", "hosts": [HOST], "aliases": ["b.example.com"]}], **spec}
    return objects.gateway(Key("shop", "x"), wanted, status)


@pytest.mark.parametrize(
    "reason", [Reason.EXPIRED, Reason.HOST_NOT_ALLOWED, Reason.UNSUPPORTED_VALUE, Reason.CLASS_NOT_FOUND]
)
def test_who_is_refused_does_not_contend(reason: Reason) -> None:
    """
    A younger object got HostConflict for ever, naming an older one whose destination had expired and claimed nothing.
    """
    assert claimable(gateway(reason)) == set()


def test_who_may_still_claim_contends() -> None:
    """The accepted, the loser that is next in line, and whoever has not been judged at this generation."""
    both = {HOST, "b.example.com"}
    assert claimable(gateway(None)) == both
    assert claimable(gateway(Reason.HOST_CONFLICT)) == both
    assert claimable(gateway(Reason.EXPIRED, observed=0)) == both
    assert claimable({"metadata": {"namespace": "shop", "generation": 1}, "spec": gateway(None)["spec"]}) == both


def test_who_has_a_consumer_denied_contends_for_the_others() -> None:
    """Its other namespaces are served all the same."""
    assert claimable(gateway(Reason.CONSUMER_NOT_ALLOWED)) == {HOST, "b.example.com"}


def test_who_is_refused_as_a_whole_does_not_contend() -> None:
    """An object that cannot even be read has no parts that say so."""
    refused = gateway(None)
    accepted = {"type": "Accepted", "status": "False", "reason": "Invalid"}
    refused["status"] = {"observedGeneration": 1, "conditions": [accepted]}
    assert claimable(refused) == set()
    assert claimable({**refused, "metadata": {"namespace": "shop", "generation": 2}}) == {HOST, "b.example.com"}


def test_who_is_suspended_claims_nothing_new() -> None:
    """It would keep the name from everybody without ever serving it."""
    assert claimable(gateway(None, suspend=True)) == set()
