"""The catalogue of reasons holds what the contract names, and says of each who acts and what helps."""

from __future__ import annotations

import re

import pytest

from egressgateway.api.conditions import CATALOGUE, Actor, ConditionType, Reason, stalls

# The table "Status of EgressGateway" of the contract.
CONTRACT = {
    "Accepted": (
        "Invalid ClassNotFound NamespaceNotAllowed HostNotAllowed EndpointNotAllowed ConsumerNotAllowed "
        "GatewayNotAllowed FeatureNotAllowed HostConflict PortConflict Expired UnsupportedValue"
    ),
    "ResolvedRefs": (
        "SecretNotFound SecretInvalid ServiceNotFound GatewayNotFound AuthorizerNotFound ProviderUnavailable "
        "InjectionDisabled"
    ),
    "Programmed": "ApplyFailed ResourceConflict Pending",
    "Steered": "GatewayNotReady RouteConflict UnsupportedValue Pending",
    "Ready": "PartiallyReady GatewayNotReady Suspended",
}
IN_CONTRACT = [(condition, reason) for condition, reasons in CONTRACT.items() for reason in reasons.split()]


@pytest.mark.parametrize(("condition", "reason"), IN_CONTRACT)
def test_reason_of_the_contract_is_listed(condition: str, reason: str) -> None:
    """Every reason stands in the catalogue, under its condition."""
    assert ConditionType(condition) in CATALOGUE[Reason(reason)].conditions


@pytest.mark.parametrize("reason", Reason)
def test_reason_has_an_entry_that_helps(reason: Reason) -> None:
    """Whoever has to act is told in a sentence what helps; a success asks for nothing."""
    entry = CATALOGUE[reason]
    if entry.status == "True" and entry.conditions != (ConditionType.RECONCILING,):
        assert (entry.acts, entry.remedy) == (Actor.NOBODY, "")
    else:
        assert re.fullmatch(r"[A-Z].+[.]", entry.remedy)


@pytest.mark.parametrize("reason", Reason)
def test_reason_fits_a_condition_and_a_metric_label(reason: Reason) -> None:
    """A reason is one CamelCase word, as metav1.Condition wants it."""
    assert re.fullmatch("([A-Z][a-z]+)+", reason.value)


@pytest.mark.parametrize("reason", Reason)
def test_stalls_only_where_the_author_acts(reason: Reason) -> None:
    """Stalled says that waiting is in vain: it is never set for what somebody else, or time, can heal."""
    assert not stalls(reason) or CATALOGUE[reason].acts is Actor.AUTHOR


@pytest.mark.parametrize("reason", ["Invalid", "HostNotAllowed", "FeatureNotAllowed", "UnsupportedValue"])
def test_stalls_for_a_spec_that_must_change(reason: str) -> None:
    """A spec that only its author can mend is a failure to GitOps tools, not progress."""
    assert stalls(Reason(reason))


@pytest.mark.parametrize(
    "reason", ["ClassNotFound", "HostConflict", "PortConflict", "SecretNotFound", "GatewayNotReady", "Expired"]
)
def test_stalls_not_for_what_heals_by_itself(reason: str) -> None:
    """A class, a Secret, another object's claim may change at any time."""
    assert not stalls(Reason(reason))
