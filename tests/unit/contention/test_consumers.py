"""Whom an object serves: what `access` asks for, as far as the class consents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.api.conditions import Reason
from egressgateway.contention.consumers import consumers_of, namespaces_of, served_names, served_ports
from egressgateway.namespaces import EVERY_NAMESPACE, EVERYONE, export_to, overlap, union, without
from egressgateway.plan.accept import accept
from unit.plan.world import KEY, class_of, destination, facts_of, spec_of

NAMESPACES: dict[str, dict[str, str]] = {
    "shop": {"team": "shop"},
    "billing": {"team": "pay", "egress": "partners"},
    "research": {"team": "lab"},
}
ALL: dict[str, Any] = {"allowedConsumers": {"from": "All"}}
LABELLED: dict[str, Any] = {
    "allowedConsumers": {"from": "Selector", "selector": {"matchLabels": {"egress": "partners"}}}
}


def consumers(class_: dict[str, Any], *entries: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Who is served and who is denied by one destination."""
    access = {"access": {"from": list(entries)}} if entries else {}
    found = consumers_of(KEY, spec_of(**access), class_of(**class_), NAMESPACES)
    return set(found.served["api"]), set(found.denied["api"])


@pytest.mark.parametrize(
    ("class_", "entries", "served", "denied"),
    [
        ({}, [], {"shop"}, set()),
        ({}, [{}], {"shop"}, set()),
        ({}, [{"serviceAccounts": ["a"]}], {"shop"}, set()),
        ({}, [{"namespaces": ["billing"]}], set(), {"billing"}),
        ({}, [{}, {"namespaces": ["billing"]}], {"shop"}, {"billing"}),
        ({"allowedConsumers": {"from": "Same"}}, [{"namespaces": ["billing", "shop"]}], {"shop"}, {"billing"}),
        (ALL, [{"namespaces": ["billing", "unknown"]}], {"billing", "unknown"}, set()),
        (LABELLED, [{"namespaces": ["billing", "research"]}], {"billing"}, {"research"}),
        (LABELLED, [{"namespaces": ["unknown"]}], set(), {"unknown"}),
        (LABELLED, [{"namespaces": ["shop"]}], {"shop"}, set()),
        (ALL, [{"namespaceSelector": {"matchLabels": {"team": "lab"}}}], {"research"}, set()),
        (ALL, [{"namespaceSelector": {"matchLabels": {"team": "nobody"}}}], set(), set()),
        (ALL, [{"namespaceSelector": {}}], {"*"}, set()),
        (ALL, [{"namespaceSelector": {}}, {"namespaces": ["billing"]}], {"*"}, set()),
        (LABELLED, [{"namespaceSelector": {}}], {"shop", "billing"}, {"*"}),
        ({}, [{"namespaceSelector": {}}], {"shop"}, {"*"}),
        (
            LABELLED,
            [{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}],
            {"shop", "billing"},
            {"research"},
        ),
    ],
)
def test_access_lists_and_the_class_consents(
    class_: dict[str, Any], entries: list[dict[str, Any]], served: set[str], denied: set[str]
) -> None:
    """Absent: the own namespace; present: just what it lists; others only with the class's consent (api.md)."""
    assert consumers(class_, *entries) == (served, denied)


def test_each_destination_has_the_consumers_of_its_entries() -> None:
    """An entry without `destinations` is about all of them; one that nobody names is nobody's."""
    spec = spec_of(
        destination("a", "a.example.com"),
        destination("b", "b.example.com", aliases=["alias.example.com"]),
        destination("c", "c.example.com"),
        access={"from": [{"destinations": ["a"]}, {"namespaces": ["billing"], "destinations": ["a", "b"]}]},
    )
    found = consumers_of(KEY, spec, class_of(**ALL), NAMESPACES)
    assert found.served == {"a": {"shop", "billing"}, "b": {"billing"}, "c": set()}
    assert found.all == {"shop", "billing"}
    assert served_names(KEY, spec, class_of(**ALL), NAMESPACES)["alias.example.com"] == {"billing"}


def test_namespaces_of_an_entry_are_those_that_the_class_allows() -> None:
    """What an AuthorizationPolicy grants is no more than what is steered."""
    [entry] = spec_of(access={"from": [{"namespaces": ["billing", "research"]}]}).access.from_  # type: ignore[union-attr]
    assert namespaces_of(KEY, entry, class_of(**LABELLED), NAMESPACES) == {"billing"}


def test_tcp_ports_are_those_on_which_clients_name_no_host() -> None:
    """Two destinations that share one serve the consumers of both."""
    tcp, tls = {"port": 5432, "protocol": "TCP"}, {"port": 443, "protocol": "TLS"}
    spec = spec_of(
        destination("a", "a.example.com", ports=[tcp, tls]),
        destination("b", "b.example.com", ports=[tcp]),
        access={"from": [{"destinations": ["a"]}, {"namespaces": ["billing"], "destinations": ["b"]}]},
    )
    assert served_ports(KEY, spec, class_of(**ALL), NAMESPACES).tcp == {5432: {"shop", "billing"}}


@pytest.mark.parametrize(("count", "reasons"), [(512, []), (513, [Reason.INVALID])])
def test_more_consumers_than_an_object_may_have_are_refused(count: int, reasons: list[Reason]) -> None:
    """Selected and listed ones together; at the limit all is well (api.md: at most 512 in all)."""
    selected = {f"ns-{number}": {"team": "many"} for number in range(count - 1)}
    entries = [{}, {"namespaceSelector": {"matchLabels": {"team": "many"}}}]
    facts = facts_of(spec_of(access={"from": entries}), class_of(**ALL), namespaces=selected)
    assert [finding.reason for finding in accept(facts).findings] == reasons


def test_every_namespace_is_no_number() -> None:
    """`{}` counts as one, whatever the size of the cluster."""
    many: dict[str, dict[str, str]] = {f"ns-{number}": {} for number in range(600)}
    facts = facts_of(spec_of(access={"from": [{"namespaceSelector": {}}]}), class_of(**ALL), namespaces=many)
    acceptance = accept(facts)
    assert (acceptance.findings, acceptance.consumers) == ((), {"api": EVERYONE})


NAMES = st.sampled_from([*NAMESPACES, EVERY_NAMESPACE])
SETS = st.frozensets(NAMES).map(lambda found: union([found]))


def spelled(found: frozenset[str]) -> frozenset[str]:
    return frozenset(NAMESPACES) if EVERY_NAMESPACE in found else found


@given(one=SETS, other=SETS)
def test_sets_of_namespaces_mean_what_they_spell(one: frozenset[str], other: frozenset[str]) -> None:
    """Meeting, joining and taking away with `*` is the same as with every namespace written down."""
    assert spelled(overlap(one, other)) == spelled(one) & spelled(other)
    assert overlap(one, other) == overlap(other, one)
    assert spelled(union([one, other])) == spelled(one) | spelled(other)
    assert spelled(without(one, other, NAMESPACES)) == spelled(one) - spelled(other)


def test_export_to_is_in_a_stable_order_and_knows_the_own_namespace() -> None:
    """A list that changes its order is an object rewritten."""
    assert export_to(frozenset({"shop", "b", "a"}), "shop") == [".", "a", "b"]
    assert export_to(EVERYONE, "shop") == ["*"]
