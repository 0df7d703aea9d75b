"""Argo CD's buttons for an EgressGateway do to the object what they say, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from egressgateway.api.objects import parse_gateway
from egressgateway.engine.reconcile.reconcile_request import request_of
from gitops.states import gateway_states
from gitops.tools import CUSTOMIZATIONS, run_lua

ACTIONS = CUSTOMIZATIONS / "EgressGateway" / "actions"
NAMES = sorted(path.parent.name for path in ACTIONS.glob("*/action.lua"))


def act(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """The object after a button was pressed."""
    changed: dict[str, Any] = run_lua((ACTIONS / name / "action.lua").read_text(), manifest)
    return changed


@pytest.fixture
def ready() -> dict[str, Any]:
    return copy.deepcopy(gateway_states()["ready"])


def test_buttons_fit_the_state(ready: dict[str, Any]) -> None:
    """What is suspended can be resumed, what is not can be suspended or looked at."""
    discovery = (ACTIONS / "discovery.lua").read_text()
    offered = run_lua(discovery, ready)
    assert sorted(offered) == NAMES
    assert {name for name, each in offered.items() if not each["disabled"]} == {"reconcile", "suspend"}
    offered = run_lua(discovery, act("suspend", ready))
    assert {name for name, each in offered.items() if not each["disabled"]} == {"resume"}


def test_suspend_and_resume_leave_no_trace(ready: dict[str, Any]) -> None:
    """Git has no `suspend`: an object that was resumed is as it was, so that nothing is out of sync."""
    suspended = act("suspend", ready)
    assert suspended["spec"] == {**ready["spec"], "suspend": True}
    assert act("resume", suspended) == ready


def test_reconcile_asks_as_the_operator_understands(ready: dict[str, Any]) -> None:
    """The annotation is the one that the operator obeys, with a value that is new each second."""
    asked = act("reconcile", ready)
    assert request_of(asked).endswith("Z")
    assert asked["spec"] == ready["spec"]


@pytest.mark.parametrize("name", NAMES)
def test_result_is_valid(name: str, ready: dict[str, Any]) -> None:
    """The API server would take what a button makes of the object."""
    assert parse_gateway(act(name, ready)).errors == ()
