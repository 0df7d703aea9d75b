"""A class on trial: what it would forbid is said, of each object and of the class, and nothing is withdrawn for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.status import MOST_TRIAL_FINDINGS, EgressGatewayClassStatus
from egressgateway.api.validation import parse_class_spec
from egressgateway.engine.cache.trials import MOST_OF_AN_OBJECT, Trials
from egressgateway.plan.checks.trial import trial_findings
from egressgateway.plan.findings import Finding
from egressgateway.refs import Key
from egressgateway.status.condition import Condition
from egressgateway.status.merge import ClassVerdict, class_status
from unit.engine.simulation import KEY, START, World
from unit.objects import destination, spec
from unit.plan.world import class_of, facts_of, spec_of

OTHER = "*.partner.com"
BAD = Finding(ConditionType.ACCEPTED, Reason.HOST_NOT_ALLOWED, "x" * 400, "api")


@pytest.fixture
def world() -> Iterator[World]:
    """One object with a host that the trials below do not allow."""
    world = World(spec(destination("api", hosts=["api.example.com"])))
    world.settle()
    yield world
    world.close()


def conditions(world: World) -> dict[str, tuple[str, str]]:
    [part] = world.status["destinations"]
    return {each["type"]: (each["status"], each["message"]) for each in part["conditions"]}


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        ({"allowedHosts": [OTHER]}, "does not allow api.example.com"),
        ({"deniedHosts": ["*.example.com"]}, "because it denies *.example.com"),
        ({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}, "namespace shop"),
    ],
)
def test_trial_of_the_first_default_class_withdraws_nothing(world: World, trial: dict[str, Any], words: str) -> None:
    """
    A first default class took running gateways away in the second in which it was applied.

    On trial it says what it would take; in force it takes that.
    """
    before = world.live
    world.set_class({"trial": trial})
    assert world.writes_of(world.settle) == []
    assert world.live == before
    assert conditions(world)["Steered"][0] == conditions(world)["Accepted"][0] == "True"
    ready = next(each for each in world.status["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True"
    told = conditions(world)["Accepted"][1] + ready["message"]
    assert "not in force yet: " in told
    assert words in told
    [affected] = world.caches.trials.of_class("standard", [KEY]) or []
    assert affected.key == KEY
    assert words in affected.findings[0].message

    world.loop.now += 1  # The simulation makes a class's version of the time.
    world.set_class(trial)
    world.settle()
    assert world.caches.trials.of_class("standard", [KEY]) in ([], None)
    assert conditions(world)["Steered"][0] == "False"
    assert not [ref for ref, found in world.live.items() if "clients" in found["metadata"]["labels"].values()]


def test_policy_in_force_stays_in_force_while_another_is_tried(world: World) -> None:
    """A trial allows nothing: what the class forbids is withdrawn, and is not said twice."""
    world.set_class({"deniedHosts": ["*.example.com"], "trial": {"deniedHosts": ["nothing.org"]}})
    world.settle()
    assert conditions(world)["Steered"][0] == "False"
    assert world.caches.trials.of_class("standard", [KEY]) in ([], None)


def test_each_field_of_a_trial_stands_for_the_classs_own() -> None:
    """Fields that it does not set stay as they are, and the trial of a trial is none."""
    found = parse_class_spec(
        {"allowedHosts": ["a.com"], "deniedFeatures": ["TCP"], "trial": {"allowedHosts": ["b.com"]}}
    )
    assert isinstance(found, EgressGatewayClassSpec)
    assert found.tried is not None
    assert (found.tried.allowed_hosts, found.tried.denied_features) == (("b.com",), found.denied_features)
    assert found.tried.tried is None
    assert class_of().tried is None


def test_what_is_forbidden_already_is_no_news_of_a_trial() -> None:
    """Only the difference between the two is what the edit would do."""
    narrow = class_of(deniedHosts=["api.com"], trial={"deniedHosts": ["api.com", "other.com"]})
    facts = facts_of(spec_of({"name": "a", "hosts": ["api.com"], "ports": [{"port": 443, "protocol": "TLS"}]}), narrow)
    assert trial_findings(facts) == ()


def test_trials_are_news_once_and_of_each_object_some() -> None:
    """A pass that finds the same as the last one costs no write to the class."""
    trials, told = Trials(), list[int]()
    trials.on_change = lambda: told.append(1)
    for _ in range(2):
        trials.put(KEY, "standard", [BAD] * 10)
    assert len(told) == 1
    [affected] = trials.of_class("standard", [KEY]) or []
    assert len(affected.findings) == MOST_OF_AN_OBJECT
    trials.forget(KEY)
    trials.forget(KEY)
    assert len(told) == 2


def test_list_waits_until_every_user_of_the_class_was_judged() -> None:
    """A new leader begins with nothing: a status that says 0, then 1, then 2 would be news to people."""
    trials, other = Trials(), Key("shop", "other")
    trials.put(KEY, "standard", [BAD])
    assert trials.of_class("standard", [KEY, other]) is None
    trials.put(other, "standard", [])
    assert [each.key for each in trials.of_class("standard", [other, KEY]) or ()] == [KEY]
    trials.put(other, "former", [])
    assert trials.of_class("standard", [KEY, other]) is None
    trials.forget_all()
    assert trials.of_class("standard", [KEY]) is None
    assert trials.of_class("standard", []) == []


def test_status_of_a_class_lists_what_its_trial_would_forbid() -> None:
    """Bounded, in the API's shape; without a trial there is nothing to say."""
    accepted = Condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is valid")
    tried = tuple((Key("shop", f"gw-{number}"), (BAD, BAD)) for number in range(100))
    status = class_status({}, ClassVerdict(accepted, "Istio", has_trial=True, tried=tried), 100, 1, START)
    assert status["trial"]["affectedGateways"] == 100
    assert len(status["trial"]["findings"]) == MOST_TRIAL_FINDINGS
    assert EgressGatewayClassStatus.model_validate(status).as_json().keys() == status.keys()
    none = class_status(status, ClassVerdict(accepted, "Istio", has_trial=True, tried=()), 1, 1, START)
    assert none["trial"]["affectedGateways"] == 0
    unknown = class_status(status, ClassVerdict(accepted, "Istio", has_trial=True), 1, 1, START)
    assert unknown["trial"] == status["trial"]
    assert "trial" not in class_status(status, ClassVerdict(accepted, "Istio"), 1, 1, START)
