"""`DESTINATIONS` and `n/m parts serve` count the sections that clients use, as the golden cases have them."""

from __future__ import annotations

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.status.condition import Condition, serves
from unit.golden.cases import case_names, run_named


def steered(status: str) -> tuple[Condition, ...]:
    return (
        Condition(ConditionType.ACCEPTED, "False", Reason.CONSUMER_NOT_ALLOWED, "one of two namespaces"),
        Condition(ConditionType.PROGRAMMED, "False", Reason.PENDING, "not every object is in place yet"),
        Condition(ConditionType.STEERED, status, Reason.PENDING, ""),
        Condition(ConditionType.REACHABLE, "False", Reason.CONNECT_FAILED, "the external side"),
    )


@pytest.mark.parametrize(("status", "expected"), [("True", True), ("Unknown", True), ("False", False)])
def test_a_section_serves_while_its_clients_are_sent_through_the_gateway(status: str, expected: bool) -> None:
    """Unknown: on the previous route, which serves them."""
    assert serves(steered(status)) is expected


@pytest.mark.parametrize("name", case_names())
def test_the_count_of_destinations_is_that_of_their_conditions(name: str) -> None:
    """Whoever counts by hand comes to the same number; expired destinations are wanted by nobody."""
    status = run_named(name).status
    parts = [
        {each["type"]: each for each in part["conditions"]}
        for part in status.get("destinations", ())
        if not any(each["reason"] == "Expired" for each in part["conditions"])
    ]
    serving = sum(part["Steered"]["status"] != "False" for part in parts)
    assert status["summary"]["destinations"] == f"{serving}/{len(parts)}"
