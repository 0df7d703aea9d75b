"""What controllers of others say of children, and since when they say nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.facts import ClassFacts, Facts, References
from egressgateway.live.controller_status import (
    PATIENCE,
    WRITTEN_AT,
    RouteAcceptance,
    RouteStatus,
    answers,
    next_answer_due,
    route_statuses,
)
from egressgateway.plan.providers import CONTROLLERS
from egressgateway.refs import Manifest, ObjectRef
from unit.plan.world import NOW, class_of, facts_of, spec_of

ROUTE = ObjectRef("ApisixRoute", "shop", "way")
UPSTREAM = ObjectRef("ApisixUpstream", "shop", "way")
ENTRY = ObjectRef("ServiceEntry", "shop", "way")
INGRESS_CLASS = ObjectRef("IngressClass", "", "apisix")
PROXY = ObjectRef("GatewayProxy", "ingress-apisix", "config")


def moment(seconds: float) -> str:
    """As the API server writes it, so long ago."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def child(
    ref: ObjectRef,
    *conditions: Manifest,
    generation: int = 2,
    age: float = 3600,
    written: dict[str, float] | None = None,
) -> Manifest:
    """`age` in seconds; `written`: how many seconds ago spec and status were written."""
    created = moment(age)
    labels = {"egressgateway.dev/part": "api"}
    metadata = {"name": ref.name, "labels": labels, "generation": generation, "creationTimestamp": created}
    if written is not None:
        metadata[WRITTEN_AT] = {name: moment(seconds) for name, seconds in written.items()}
    return {"kind": ref.kind, "metadata": metadata, "status": {"conditions": list(conditions)}}


def apisix_class(**apisix: str) -> EgressGatewayClassSpec:
    shared = {"namespace": "ingress-apisix", "service": "apisix", "selector": {"app": "apisix"}}
    return class_of(provider="APISIX", mtls="Disabled", shared=shared, **({"apisix": apisix} if apisix else {}))


def connected(ages: dict[ObjectRef, float]) -> References:
    """IngressClass and GatewayProxy, created so many seconds ago."""
    named = {"apiGroup": "apisix.apache.org", "kind": "GatewayProxy", "namespace": PROXY.namespace, "name": PROXY.name}
    specs = {INGRESS_CLASS: {"parameters": named}, PROXY: {}}
    return References(
        objects={
            ref: {"kind": ref.kind, "metadata": {"creationTimestamp": moment(age)}, "spec": specs[ref]}
            for ref, age in ages.items()
        }
    )


def accepted(status: str, generation: int | None = 2, **more: Any) -> Manifest:
    seen = {} if generation is None else {"observedGeneration": generation}
    return {"type": "Accepted", "status": status, **seen, **more}


def facts(*live: Manifest, unprogrammed: float | None = None) -> Facts:
    """`unprogrammed`: for so many seconds the status says that the part is not programmed."""
    status: Manifest = {}
    if unprogrammed is not None:
        condition = {"type": "Programmed", "status": "False", "lastTransitionTime": moment(unprogrammed)}
        status = {"destinations": [{"name": "api", "conditions": [condition]}]}
    known = {ObjectRef(each["kind"], "shop", each["metadata"]["name"]): each for each in live}
    return facts_of(spec_of(), status=status, live=known)


def word(found: Facts, ref: ObjectRef = ROUTE) -> RouteStatus:
    [verdict] = route_statuses(found, [ref], CONTROLLERS)
    return verdict


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([accepted("True")], RouteAcceptance.PUSHED),
        ([accepted("True", None)], RouteAcceptance.UNKNOWN),
        ([accepted("False", reason="SyncFailed", message="no")], RouteAcceptance.PUSH_FAILED),
        ([accepted("False", reason="InvalidSpec", message="no")], RouteAcceptance.REJECTED),
        ([accepted("True", 1)], RouteAcceptance.UNKNOWN),
        ([accepted("False", 1)], RouteAcceptance.UNKNOWN),
        ([accepted("Unknown")], RouteAcceptance.UNKNOWN),
        ([{"type": "Ready", "status": "True"}], RouteAcceptance.UNKNOWN),
        ([], RouteAcceptance.UNKNOWN),
    ],
    ids=[
        "taken",
        "without generation",
        "not pushed",
        "refused",
        "before",
        "refused before",
        "unknown",
        "another",
        "silent",
    ],
)
def test_word_on_the_newest_generation_counts(conditions: list[Manifest], expected: RouteAcceptance) -> None:
    """What was said of an older one is no word on this one."""
    assert word(facts(child(ROUTE, *conditions))).word is expected


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        ({"status": "True", "observedGeneration": 2}, RouteAcceptance.PUSH_FAILED),
        ({"status": "True"}, RouteAcceptance.PUSH_FAILED),
        ({"status": "True", "observedGeneration": 1}, RouteAcceptance.PUSHED),
        ({"status": "False", "observedGeneration": 2}, RouteAcceptance.PUSHED),
    ],
    ids=["now", "without generation", "before", "not"],
)
def test_route_that_is_pushed_in_part_is_not_pushed(dropped: dict[str, Any], expected: RouteAcceptance) -> None:
    """Accepted is True all the same; which of its rules APISIX has, nobody says."""
    said = accepted("True", reason="Accepted", message="fine")
    partial = {"type": "PartiallyInvalid", "reason": "UnsupportedValue", "message": "dropped rule 1", **dropped}
    found = word(facts(child(ROUTE, said, partial)))
    assert found.word is expected
    if expected is RouteAcceptance.PUSH_FAILED:
        assert found.message == "PartiallyInvalid: UnsupportedValue: dropped rule 1"


def test_part_that_is_dropped_is_news() -> None:
    """It changes the verdict; a condition that is not read does not."""
    said, other = accepted("True"), {"type": "Synced", "status": "True"}
    whole = child(ROUTE, said, {"type": "PartiallyInvalid", "status": "False"})
    assert answers(child(ROUTE, said, {"type": "PartiallyInvalid", "status": "True"}), CONTROLLERS) != answers(
        whole, CONTROLLERS
    )
    assert answers(child(ROUTE, said, other), CONTROLLERS) == answers(child(ROUTE, said), CONTROLLERS)


def test_refusal_comes_with_its_words_and_before_others() -> None:
    """A person reads the first message."""
    refused = child(UPSTREAM, accepted("False", reason="InvalidSpec", message="no such host"))
    found = list(route_statuses(facts(child(ROUTE), refused), [ROUTE, UPSTREAM], CONTROLLERS))
    assert [(each.ref, each.message) for each in found] == [(UPSTREAM, "InvalidSpec: no such host"), (ROUTE, "")]


def test_upstream_without_a_word_is_not_waited_for() -> None:
    """Some versions of the controller say nothing of it."""
    assert word(facts(child(UPSTREAM)), UPSTREAM).word is RouteAcceptance.PUSHED
    assert word(facts(child(UPSTREAM, age=5)), UPSTREAM).word is RouteAcceptance.PUSHING


def test_nobody_answers_for_other_kinds_and_for_what_does_not_live() -> None:
    """Istio's objects have no such controller."""
    assert list(route_statuses(facts(child(ENTRY)), [ENTRY, ROUTE], CONTROLLERS)) == []
    assert answers(child(ENTRY, accepted("True")), CONTROLLERS) == []
    assert answers(child(ROUTE, accepted("True")), CONTROLLERS) != answers(child(ROUTE, accepted("False")), CONTROLLERS)


@pytest.mark.parametrize(
    ("age", "unprogrammed", "overdue"),
    [(3600, PATIENCE.seconds, True), (3600, 5, False), (5, 3600, False), (3600, None, False)],
    ids=["for long", "not for long", "made just now", "programmed until now"],
)
def test_silence_is_overdue_once_object_and_status_have_waited(
    age: float, unprogrammed: float | None, overdue: bool
) -> None:
    """An object that is changed waits since its status says so; one that is made, since it was made."""
    assert word(facts(child(ROUTE, age=age), unprogrammed=unprogrammed)).overdue is overdue


def test_object_is_looked_at_again_when_a_silence_becomes_too_long() -> None:
    """Nothing else would wake it up; what is overdue, or was answered, needs no look."""
    found = facts(child(ROUTE, age=3600), unprogrammed=10)
    assert next_answer_due(found, CONTROLLERS) == NOW - timedelta(seconds=10) + PATIENCE
    assert next_answer_due(replace(found, now=NOW + PATIENCE), CONTROLLERS) is None
    assert next_answer_due(facts(child(ROUTE, accepted("True"))), CONTROLLERS) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"spec": 3000, "status": 36}, RouteAcceptance.PUSHED),
        ({"spec": 3000, "status": 35}, RouteAcceptance.PUSHING),
        ({"spec": 5, "status": 3000}, RouteAcceptance.PUSHING),
    ],
    ids=["long ago", "true again", "stale"],
)
def test_acceptance_counts_once_a_push_cannot_take_longer(written: dict[str, float], expected: RouteAcceptance) -> None:
    """The controller writes True before it pushes; what it said before the last write says nothing about that write."""
    assert word(facts(child(ROUTE, accepted("True"), written=written))).word is expected


def test_pushes_take_as_long_as_the_class_says() -> None:
    """The object is looked at again just when the answer counts."""
    found = facts(child(ROUTE, accepted("True"), written={"spec": 60, "status": 60}))
    assert next_answer_due(found, CONTROLLERS) is None
    slow = replace(found, class_=ClassFacts("apisix", apisix_class(pushTimeout="90s")))
    due = next_answer_due(slow, CONTROLLERS)
    assert due == NOW + timedelta(seconds=31)
    assert word(replace(slow, now=due - timedelta(seconds=1))).word is RouteAcceptance.PUSHING
    assert word(replace(slow, now=due)).word is RouteAcceptance.PUSHED


NEVER = (datetime.max.replace(tzinfo=UTC, microsecond=0) - NOW).total_seconds()
"""Seconds until the last moment that there is, at which nothing can have been written."""


@pytest.mark.parametrize("part", ["spec", "status"])
@pytest.mark.parametrize("ahead", [60, NEVER], ids=["a minute ahead", "at the end of time"])
def test_time_that_has_not_come_tells_nothing(part: str, ahead: float) -> None:
    """Whoever may write a route may write any time into it: that must not stop a pass, nor hold a route for ever."""
    written = {"spec": 3000.0, "status": 3000.0, part: -ahead}
    assert word(facts(child(ROUTE, accepted("True"), written=written))).word is RouteAcceptance.PUSHED
    later = accepted("True", lastTransitionTime=moment(-ahead))
    assert word(facts(child(ROUTE, later))).word is RouteAcceptance.PUSHED
    assert word(facts(child(ROUTE), unprogrammed=-ahead)).word is RouteAcceptance.UNKNOWN
    created = facts(child(ROUTE, age=-ahead), unprogrammed=-ahead)
    assert next_answer_due(created, CONTROLLERS) == NOW + PATIENCE


@pytest.mark.parametrize("written", [None, {"spec": 3000, "status": 3000}], ids=["emptied", "of the past"])
def test_time_of_the_answer_counts_too(written: dict[str, float] | None) -> None:
    """Whoever may write a route may empty its `managedFields`; the controller answers anew, and says when."""
    said = accepted("True", lastTransitionTime=moment(10))
    assert word(facts(child(ROUTE, said, written=written))).word is RouteAcceptance.PUSHING
    damaged = accepted("True", lastTransitionTime="yesterday")
    assert word(facts(child(ROUTE, damaged, written=written))).word is RouteAcceptance.PUSHED


@pytest.mark.parametrize(
    ("spec", "programmed", "expected"),
    [
        (3000, 600, RouteAcceptance.PUSHED),
        (3000, None, RouteAcceptance.PUSHING),
        (600, 3000, RouteAcceptance.PUSHING),
        (10, 5, RouteAcceptance.PUSHING),
    ],
    ids=["said again", "never programmed", "programmed before the write", "just written"],
)
def test_answer_that_is_repeated_takes_nothing_back(
    spec: float, programmed: float | None, expected: RouteAcceptance
) -> None:
    """The controller writes the same answer with a new time: what has been pushed since the last write stays so."""
    said = accepted("True", lastTransitionTime=moment(10))
    found = facts(child(ROUTE, said, written={"spec": spec, "status": 10}))
    if programmed is not None:
        condition = {"type": "Programmed", "status": "True", "lastTransitionTime": moment(programmed)}
        status = {"destinations": [{"name": "api", "conditions": [condition]}]}
        found = replace(found, gateway=replace(found.gateway, status=status))
    assert word(found).word is expected


@pytest.mark.parametrize("changed", [INGRESS_CLASS, PROXY], ids=str)
def test_routes_are_pushed_anew_when_what_connects_the_controller_changes(changed: ObjectRef) -> None:
    """A class that was deleted and is back, another Admin API: what was pushed before is there no longer."""
    ages = {INGRESS_CLASS: 3600.0, PROXY: 3600.0}
    old = facts(child(ROUTE, accepted("True"), written={"spec": 3600, "status": 3600}))
    for age, expected in ((3600.0, RouteAcceptance.PUSHED), (10.0, RouteAcceptance.PUSHING)):
        found = replace(old, class_=ClassFacts("apisix", apisix_class()), references=connected({**ages, changed: age}))
        assert word(found).word is expected


def test_answer_of_a_controller_that_is_too_old_is_named() -> None:
    """It never answers otherwise; a refusal or an answer about an older generation is no such case."""
    found = word(facts(child(ROUTE, {"type": "ResourcesAvailable", "status": "True"})))
    assert (found.word, found.unknown_conditions) == (RouteAcceptance.UNKNOWN, ("ResourcesAvailable",))
    assert word(facts(child(ROUTE, accepted("True", 1)))).unknown_conditions == ()
    many = [{"type": f"Condition{number}", "status": "True"} for number in range(100)]
    assert len(word(facts(child(ROUTE, *many))).unknown_conditions) == 3
