"""What a spec multiplies is bounded: by a refusal with both numbers, before anything dear is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egressgateway.api.conditions import Reason
from egressgateway.api.selector import LabelRequirement, LabelSelector, SelectorOperator
from egressgateway.contention.consumers import consumers_of
from egressgateway.namespaces import NamespaceLabels
from egressgateway.plan.accept import accept
from egressgateway.plan.checks.bounds import MAX_BYTES, MAX_EXPORTS, MAX_IDENTITIES, too_large
from unit import objects
from unit.plan.world import KEY, class_of, facts_of, spec_of

ALL: dict[str, Any] = {"allowedConsumers": {"from": "All"}}
SHARED: dict[str, Any] = {
    **ALL,
    "shared": {"namespace": "gateways", "service": "egress", "selector": {"app": "egress"}},
}


def destinations(count: int, ports: int = 1) -> list[dict[str, Any]]:
    listed = [{"port": 8000 + number, "protocol": "HTTP"} for number in range(ports)]
    return [objects.destination(f"d{number}", ports=listed) for number in range(count)]


def named(count: int) -> list[dict[str, Any]]:
    """Entries of `access` that name so many namespaces."""
    names = [f"n{number}" for number in range(count)]
    return [{"namespaces": names[start : start + 128]} for start in range(0, count, 128)]


def refusals(class_: dict[str, Any], wanted: list[dict[str, Any]], *entries: dict[str, Any]) -> list[str]:
    facts = facts_of(spec_of(*wanted, access={"from": list(entries)}), class_of(**class_))
    return [finding.message for finding in accept(facts).of_object if finding.reason is Reason.INVALID]


def test_pairs_of_ways_and_namespaces_are_bounded() -> None:
    """64 destinations of four ports for 64 namespaces are the most; for 65 the message has both numbers."""
    assert refusals(ALL, destinations(64, 4), *named(64)) == []
    (message,) = refusals(ALL, destinations(64, 4), *named(65))
    assert str(64 * 4 * 65) in message
    assert str(MAX_EXPORTS) in message
    assert message.startswith("spec.access.from: ")


def test_everybody_is_one_namespace() -> None:
    """Every namespace stands as one star in what is exported."""
    assert refusals(ALL, destinations(64, 8), {"namespaceSelector": {}}) == []


def test_everybody_behind_a_shared_gateway_is_bounded() -> None:
    """Each namespace needs a DestinationRule there: one object would write ten thousand of them."""
    spec = spec_of(*destinations(1), access={"from": [{"namespaceSelector": {}}]})
    few, many = ({f"n{number}": dict[str, str]() for number in range(count)} for count in (512, 513))
    for class_, namespaces, refused in ((SHARED, few, False), (SHARED, many, True), (ALL, many, False)):
        facts = replace(facts_of(spec, class_of(**class_)), namespaces=namespaces)
        messages = [finding.message for finding in accept(facts).of_object]
        assert any("DestinationRule" in message and "513" in message for message in messages) is refused


@pytest.mark.parametrize(("class_", "count"), [(ALL, 1), (SHARED, 2)])
def test_identities_are_bounded(class_: dict[str, Any], count: int) -> None:
    """With a shared gateway each way lists them anew, so that half of the accounts are too many for two ways."""
    accounts = [f"a{number}" for number in range(16)]
    fits = [{**entry, "serviceAccounts": accounts} for entry in named(512 // count)]
    assert refusals(class_, destinations(count), *fits) == []
    (message,) = refusals(class_, destinations(count), *fits, {"namespaces": ["n0"]})
    assert str(MAX_IDENTITIES) in message
    assert str(MAX_IDENTITIES + count) in message


def test_accounts_of_everybody_are_few_however_large_the_cluster() -> None:
    """The policy of a dedicated gateway lists no namespace for them."""
    spec = spec_of(*destinations(1), access={"from": [{"namespaceSelector": {}, "serviceAccounts": ["pay"]}]})
    namespaces = {f"n{number}": dict[str, str]() for number in range(MAX_IDENTITIES + 1)}
    assert accept(replace(facts_of(spec, class_of(**ALL)), namespaces=namespaces)).of_object == ()


def test_what_runs_is_kept_when_a_bound_is_exceeded() -> None:
    """Labels of namespaces are others' to change: that a selector means too many takes nothing away."""
    facts = facts_of(spec_of(*destinations(64, 8), access={"from": named(64)}), class_of(**ALL))
    assert accept(facts).keep_all


class CountedSelector(LabelSelector):
    """A selector that counts what it is asked."""

    def matches(self, labels: Any) -> bool:
        asked.append(labels)
        return super().matches(labels)


asked: list[Any] = []


def test_each_selector_is_asked_once_about_each_namespace() -> None:
    """Not for each destination, nor by each part of a pass, nor by the next pass."""
    asked.clear()
    namespaces = NamespaceLabels({f"n{number}": {"team": "a"} for number in range(10)})
    spec = spec_of(*destinations(64), access={"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]})
    assert spec.access is not None
    selector = CountedSelector.model_construct(match_labels={"team": "a"}, match_expressions=())
    entry = spec.access.from_[0].model_copy(update={"namespace_selector": selector})
    spec = spec.model_copy(update={"access": spec.access.model_copy(update={"from_": (entry,)})})
    for _ in range(3):
        served = consumers_of(KEY, spec, class_of(**ALL), namespaces).served
        assert served["d63"] == frozenset(namespaces)
    assert len(asked) == len(namespaces)


def test_selections_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills the memory by asking for ever new selectors; what was forgotten is found again."""
    monkeypatch.setattr("egressgateway.namespaces.MOST_REMEMBERED_SELECTIONS", 128)
    namespaces = NamespaceLabels({"a": {"x": "1"}, "b": {"x": "2"}})
    for number in range(1000):
        assert namespaces.selected_by(LabelSelector(match_labels={"x": str(number % 500)})) == {
            1: frozenset({"a"}),
            2: frozenset({"b"}),
        }.get(number % 500, frozenset())
    assert len(namespaces._selected) <= 128
    monkeypatch.setattr("egressgateway.namespaces.MOST_REMEMBERED_NAMES", 3)
    for number in range(10):
        everything = LabelRequirement(key=f"no-{number}", operator=SelectorOperator.DOES_NOT_EXIST)
        assert namespaces.selected_by(LabelSelector(match_expressions=(everything,))) == {"a", "b"}
    assert len(namespaces._selected) == 1


def test_object_that_cannot_be_stored_is_said_with_both_numbers() -> None:
    """A size below the server's limit is nothing to speak of."""
    assert too_large("Gateway a/b", MAX_BYTES) == ""
    assert f"{MAX_BYTES + 1} bytes" in too_large("Gateway a/b", MAX_BYTES + 1)


def test_object_without_its_body_says_so_and_keeps_what_runs() -> None:
    """A namespace whose EgressGateways take too much memory is told, and told who can raise the limit."""
    facts = facts_of(spec_of())
    facts = replace(facts, gateway=replace(facts.gateway, spec=None, left_out=True))
    acceptance = accept(facts)
    assert [finding.reason for finding in acceptance.of_object] == [Reason.INVALID]
    assert "--namespace-memory-mib" in acceptance.of_object[0].message
    assert acceptance.keep_all


def test_namespace_that_is_short_of_memory_is_told() -> None:
    """Its objects are served all the same; what counts as empty is counted."""
    acceptance = accept(facts_of(spec_of(), left_out=990))
    assert acceptance.served
    assert any("990 VirtualServices" in notice.message for notice in acceptance.advisories)
