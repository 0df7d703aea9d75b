"""A recipe works, and not only parses: the operator accepts its object with its class, and plans every part of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from docs.pages import DOCS, Block, blocks, objects
from egressgateway.api.conditions import ConditionType
from unit.golden.cases import parse_case, run

OBJECTS = [block for block in blocks(DOCS / "recipes.md") if block.language == "yaml"]


def case_of(block: Block) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The EgressGateway of a recipe and its class, each if there is one."""
    found = {each["kind"]: each for each in objects(block)}
    return found.get("EgressGateway"), found.get("EgressGatewayClass")


@pytest.mark.parametrize("block", OBJECTS, ids=str)
def test_recipe_is_accepted_and_planned(block: Block) -> None:
    """No finding but of what lies outside of the object: Secrets, Services, authorizers."""
    gateway, class_ = case_of(block)
    spec = {"destinations": [{"name": "a", "hosts": ["api.bank.example"], "ports": [{"port": 80, "protocol": "HTTP"}]}]}
    plain = {"metadata": {"name": "any", "namespace": "payments"}, "spec": spec}
    case = {"gateway": gateway or plain, "namespaces": {"billing": {"egress.example/partners": "true"}}}
    result = run(parse_case(yaml.safe_dump({**case, "class": class_} if class_ else case)))
    assert [each for each in result.acceptance.findings if each.condition != ConditionType.RESOLVED_REFS] == []
    # What is not found is waited for; if it is the gateway itself, that is about every part.
    waiting = {each.section for each in result.acceptance.findings}
    wanted = {each["name"] for each in case["gateway"]["spec"].get("destinations", ())}
    assert "" in waiting or wanted - waiting <= {each.section for each in result.plan.children}


def test_recipes_are_found() -> None:
    """There is something to try."""
    assert len(OBJECTS) > 10
