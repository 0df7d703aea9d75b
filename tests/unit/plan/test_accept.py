"""Findings: what they withdraw, what they keep, and that each says where and what helps."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from egressgateway.api.conditions import CATALOGUE, Reason
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.findings import Consequence, Finding
from unit.golden.cases import case_names, run_named

FINDINGS = [(name, finding) for name in case_names() for finding in run_named(name).acceptance.findings]
WITHDRAWING = {"Expired", *(reason.value for reason in Reason if reason.value.endswith("NotAllowed"))}
VERBS = "add|ask|correct|create|delete|give|install|keep|let|make|merge|name|remove|renew|replace|select|set|use"
AT = "2025-01-01T00:00:00Z"
REMEDY = re.compile(rf"; (?:{VERBS})\b")
"""A message ends in what its reader can do."""


def claimed(acceptance: Acceptance) -> set[str]:
    return set(acceptance.claims.rights.names)


@pytest.mark.parametrize(
    ("case", "finding"), FINDINGS, ids=lambda value: value if isinstance(value, str) else value.reason
)
def test_finding_names_the_place_and_the_remedy(case: str, finding: Finding) -> None:
    """
    A person can act on the message without reading anything else. What the models refuse may say what must be; what the
    gateway's pods are being asked needs nobody.
    """
    assert any(place in finding.message for place in ("spec.", "EgressGatewayClass", "namespace shop"))
    says_what_must_be = finding.reason is Reason.INVALID and "must be" in finding.message
    is_asked = finding.unknown and finding.reason is Reason.PENDING
    assert says_what_must_be or is_asked or REMEDY.search(finding.message)
    assert finding.reason in CATALOGUE


@pytest.mark.parametrize("reason", Reason)
def test_only_a_refusal_of_what_may_be_withdraws(reason: Reason) -> None:
    """`*NotAllowed` and `Expired` withdraw at once; every other reason leaves what runs (api.md)."""
    [finding] = [found for _, found in FINDINGS[:1]]
    expected = Consequence.WITHDRAW if reason.value in WITHDRAWING else Consequence.KEEP
    assert replace(finding, reason=reason).consequence is expected


def test_a_withdrawn_object_gives_its_claims_up() -> None:
    """What is not allowed any more blocks nobody else; what cannot be judged for now keeps its names."""
    claims = {"claims": [{"host": "httpbin.org", "claimedAt": AT}], "consumers": [{"namespace": "shop", "since": AT}]}

    def held(case: str) -> set[str]:
        facts = run_named(case).facts
        return claimed(accept(replace(facts, gateway=replace(facts.gateway, status=claims))))

    assert held("namespace-not-allowed-withdraws") == set()
    assert held("class-missing-keeps-everything") == {"httpbin.org"}


def test_a_claim_ends_when_its_name_leaves_an_object_that_cannot_be_judged() -> None:
    """The class is gone and the author gives a host up: it is free once nothing steers it."""
    claims = {
        "claims": [{"host": host, "claimedAt": AT} for host in ("httpbin.org", "gone.example")],
        "consumers": [{"namespace": "shop", "since": AT}],
    }
    facts = run_named("class-missing-keeps-everything").facts
    acceptance = accept(replace(facts, gateway=replace(facts.gateway, status=claims)))
    assert claimed(acceptance) == {"httpbin.org"}


def test_the_next_expiry_is_the_earliest_that_is_still_to_come() -> None:
    """Somebody must look again then."""
    facts = run_named("expired-not-counted").facts
    spec = facts.gateway.spec
    assert spec is not None
    [serving, past] = spec.destinations
    expiring = serving.model_copy(update={"expires_at": facts.now.replace(year=2027)})
    destinations = (
        past,
        expiring,
        expiring.model_copy(update={"name": "z", "expires_at": facts.now.replace(year=2028)}),
    )
    changed = replace(facts.gateway, spec=spec.model_copy(update={"destinations": destinations}))
    assert accept(replace(facts, gateway=changed)).next_look == facts.now.replace(year=2027)
    assert accept(facts).next_look is None
