"""
What the API server charges for the CRDs' rules.

It tells the price of a rule only when a limit is exceeded, so that these tests ask for more of the same: copies of
each rule, in a CRD that is validated and not stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from harness.cluster import Cluster
from harness.rest import ApiError

pytestmark = pytest.mark.controlplane

CRDS = [egress_gateway_crd(), egress_gateway_class_crd()]
Rules = list[dict[str, str]]


def rule_lists(schema: dict[str, Any]) -> Iterator[Rules]:
    if "x-kubernetes-validations" in schema:
        yield schema["x-kubernetes-validations"]
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if child is not None:
            yield from rule_lists(child)


def changed(crd: dict[str, Any], change: Callable[[Rules], Rules]) -> dict[str, Any]:
    """`crd` under another group, with other rules."""
    crd = json.loads(json.dumps(crd))  # not deepcopy, which keeps it that equal types share their lists of rules
    crd["spec"]["group"] = "cost.egressgateway.dev"
    crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.cost.egressgateway.dev"
    for rules in rule_lists(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
        rules[:] = change(rules)
    return crd


def copies(number: int) -> Callable[[Rules], Rules]:
    """Each rule `number` times; spaces make a copy another rule."""
    return lambda rules: [{**rule, "rule": rule["rule"] + " " * index} for rule in rules for index in range(number)]


def refusal(cluster: Cluster, crd: dict[str, Any]) -> str:
    try:
        cluster.rest.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All", crd)
    except ApiError as error:
        return error.message
    return ""


@pytest.mark.parametrize("crd", CRDS, ids=lambda crd: crd["spec"]["names"]["kind"])
def test_each_rule_costs_less_than_a_third_of_the_limit(cluster: Cluster, crd: dict[str, Any]) -> None:
    """Every rule could be three times as dear: there is room for a bound to grow."""
    thrice = changed(crd, lambda rules: [{**rule, "rule": " && ".join([f"({rule['rule']})"] * 3)} for rule in rules])
    assert refusal(cluster, thrice) == ""


@pytest.mark.parametrize("crd", CRDS, ids=lambda crd: crd["spec"]["names"]["kind"])
def test_all_rules_cost_less_than_a_tenth_of_the_limit(cluster: Cluster, crd: dict[str, Any]) -> None:
    """All rules together could stand there ten times."""
    assert refusal(cluster, changed(crd, copies(10))) == ""


def test_cost_is_measured(cluster: Cluster) -> None:
    """The two tests above can fail: with a hundred times as many destinations the API server does complain."""
    crd = changed(CRDS[0], copies(1))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["destinations"]["maxItems"] *= 100
    assert "exceeds budget" in refusal(cluster, crd)
