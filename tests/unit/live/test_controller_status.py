"""What controllers of others say of children, and since when they say nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.facts import Facts
from egressgateway.live.controller_status import (
    PATIENCE,
    RouteAcceptance,
    RouteStatus,
    answers,
    next_answer_due,
    route_statuses,
)
from egressgateway.plan.providers import CONTROLLERS
from egressgateway.refs import Manifest, ObjectRef
from unit.plan.world import NOW, facts_of, spec_of

ROUTE = ObjectRef("ApisixRoute", "shop", "way")
UPSTREAM = ObjectRef("ApisixUpstream", "shop", "way")
ENTRY = ObjectRef("ServiceEntry", "shop", "way")


def child(ref: ObjectRef, *conditions: Manifest, generation: int = 2, age: float = 0) -> Manifest:
    created = (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"egressgateway.dev/part": "api"}
    metadata = {"name": ref.name, "labels": labels, "generation": generation, "creationTimestamp": created}
    return {"kind": ref.kind, "metadata": metadata, "status": {"conditions": list(conditions)}}


def accepted(status: str, generation: int | None = 2, **more: Any) -> Manifest:
    seen = {} if generation is None else {"observedGeneration": generation}
    return {"type": "Accepted", "status": status, **seen, **more}


def facts(*live: Manifest, unprogrammed: float | None = None) -> Facts:
    """`unprogrammed`: for so many seconds the status says that the part is not programmed."""
    status: Manifest = {}
    if unprogrammed is not None:
        since = (NOW - timedelta(seconds=unprogrammed)).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": "Programmed", "status": "False", "lastTransitionTime": since}
        status = {"destinations": [{"name": "api", "conditions": [condition]}]}
    known = {ObjectRef(each["kind"], "shop", each["metadata"]["name"]): each for each in live}
    return facts_of(spec_of(), status=status, live=known)


def word(found: Facts, ref: ObjectRef = ROUTE) -> RouteStatus:
    [verdict] = route_statuses(found, [ref], CONTROLLERS)
    return verdict


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([accepted("True")], RouteAcceptance.ACCEPTED),
        ([accepted("True", None)], RouteAcceptance.ACCEPTED),
        ([accepted("False", reason="SyncFailed", message="no")], RouteAcceptance.REJECTED),
        ([accepted("True", 1)], RouteAcceptance.UNKNOWN),
        ([accepted("False", 1)], RouteAcceptance.UNKNOWN),
        ([accepted("Unknown")], RouteAcceptance.UNKNOWN),
        ([{"type": "Ready", "status": "True"}], RouteAcceptance.UNKNOWN),
        ([], RouteAcceptance.UNKNOWN),
    ],
    ids=["taken", "without generation", "refused", "before", "refused before", "unknown", "another", "silent"],
)
def test_word_on_the_newest_generation_counts(conditions: list[Manifest], expected: RouteAcceptance) -> None:
    """What was said of an older one is no word on this one."""
    assert word(facts(child(ROUTE, *conditions))).word is expected


def test_refusal_comes_with_its_words_and_before_others() -> None:
    """A person reads the first message."""
    refused = child(UPSTREAM, accepted("False", reason="InvalidSpec", message="no such host"))
    found = list(route_statuses(facts(child(ROUTE), refused), [ROUTE, UPSTREAM], CONTROLLERS))
    assert [(each.ref, each.message) for each in found] == [(UPSTREAM, "InvalidSpec: no such host"), (ROUTE, "")]


def test_upstream_without_a_word_is_not_waited_for() -> None:
    """Some versions of the controller say nothing of it."""
    assert word(facts(child(UPSTREAM)), UPSTREAM).word is RouteAcceptance.ACCEPTED


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
