"""The oracle that judges every status write of the other tiers: it sees what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from harness.conditions import transition_violations, violations
from unit.golden.cases import run_named

STEADY: dict[str, Any] = {"metadata": {"generation": 1}, "status": run_named("steady-state").status}
WAITING: dict[str, Any] = {"metadata": {"generation": 1}, "status": run_named("one-http-host").status}


def condition(gateway: dict[str, Any], type_: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in gateway["status"]["conditions"] if each["type"] == type_)
    return found


def without(gateway: dict[str, Any], type_: str) -> None:
    gateway["status"]["conditions"].remove(condition(gateway, type_))


def also(gateway: dict[str, Any], type_: str, **more: Any) -> None:
    added = {**condition(gateway, "Ready"), "type": type_, "status": "True", "reason": "Progressing", **more}
    gateway["status"]["conditions"].append(added)


def test_a_right_status_has_no_violations() -> None:
    """The states between which the tests below differ by one thing."""
    assert violations(STEADY) == violations(WAITING) == []


@pytest.mark.parametrize(
    ("gateway", "change"),
    [
        (STEADY, lambda it: without(it, "Ready")),
        (STEADY, lambda it: without(it, "Accepted")),
        (STEADY, lambda it: also(it, "Reconciling")),
        (STEADY, lambda it: also(it, "Stalled", reason="Invalid")),
        (STEADY, lambda it: also(it, "Healthy")),
        (STEADY, lambda it: it["status"].update(observedGeneration=2)),
        (STEADY, lambda it: it["metadata"].update(generation=2)),
        (STEADY, lambda it: condition(it, "Accepted").update(observedGeneration=0)),
        (STEADY, lambda it: condition(it, "Ready").update(reason="AllFine")),
        (STEADY, lambda it: condition(it, "Ready").update(message="x" * 513)),
        (STEADY, lambda it: condition(it, "Ready").update(lastTransitionTime="yesterday")),
        (STEADY, lambda it: condition(it, "Ready").update(reason="GatewayNotReady")),
        (STEADY, lambda it: it["status"]["destinations"][0]["conditions"].pop()),
        (WAITING, lambda it: without(it, "Reconciling")),
        (WAITING, lambda it: also(it, "Stalled", reason="Invalid")),
        (WAITING, lambda it: condition(it, "Reconciling").update(status="False")),
    ],
)
def test_a_wrong_status_is_seen(gateway: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    """One thing is wrong: it is said."""
    broken = deepcopy(gateway)
    change(broken)
    assert violations(broken) != []


def test_a_time_that_moves_without_its_status_is_seen() -> None:
    """Every resync would be a write."""
    moved = deepcopy(STEADY)
    condition(moved, "Ready").update(lastTransitionTime="2027-01-01T00:00:00Z")
    assert transition_violations(STEADY, moved) != []
    assert transition_violations(STEADY, STEADY) == []
    assert transition_violations({}, STEADY) == []
