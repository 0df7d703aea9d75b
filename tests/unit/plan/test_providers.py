"""A provider is asked through one protocol: what it says is heard, and a new one needs no more than its line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.gateway_class import ProviderName
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import Consumers
from egressgateway.facts import Facts, References
from egressgateway.names import LABEL_PART, LABEL_STAGE
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.build import build_plan
from egressgateway.plan.capabilities.model import Capabilities, refused
from egressgateway.plan.context import PlanContext, context_of
from egressgateway.plan.findings import Advisory, Notice
from egressgateway.plan.ir import Plan
from egressgateway.plan.provider import Provider, Requirement
from egressgateway.plan.providers import PROVIDERS, provider_of
from egressgateway.plan.routing.children import shared_child
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage
from egressgateway.status.summarize import Observed, summarize
from unit.plan.world import class_of, destination, facts_of, spec_of

SHARED = {"namespace": "edge", "service": "gateway", "selector": {"app": "gateway"}}
CLASS = class_of(provider="APISIX", shared=SHARED, mtls="Disabled", allowedConsumers={"from": "All"})
SERVED = References({ObjectRef("Service", "edge", "gateway"): {"spec": {"ports": [{"port": 80}, {"port": 443}]}}})


class Tunnel(Provider):
    """A data plane that the project does not know."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities({"destinations.expiresAt": refused("tunnels never end")}, {})

    def requirements(self, spec: EgressGatewaySpec | None) -> Sequence[Requirement]:
        return (Requirement(frozenset({"Telemetry"}), "install tunnels"),)

    def plan(self, context: PlanContext, acceptance: Acceptance) -> Plan:
        names = {"served": [found.name for found in acceptance.served]}
        return Plan((shared_child(context.owner, "tunnel", "Service", Stage.FOUNDATION, names),))

    def limits_of_destination(self, context: PlanContext, destination: Destination, field: str) -> Iterable[str]:
        return [f"{field}: too wide for {context.class_name}"] if destination.name == "wide" else ()

    def excluded_namespaces(self, context: PlanContext) -> frozenset[str]:
        return frozenset({"elsewhere"})

    def excluded_message(self, context: PlanContext) -> str:
        return "no tunnel leads from there"

    def advisories(self, context: PlanContext, consumers: Consumers) -> Iterable[Advisory]:
        return [Advisory(f"a tunnel for {len(consumers.all)} namespaces", notice=Notice.UNCHECKED)]


@pytest.fixture(autouse=True)
def tunnel(monkeypatch: pytest.MonkeyPatch) -> Tunnel:
    """The provider of every class with `provider: APISIX`."""
    found = Tunnel()
    monkeypatch.setitem(cast("dict[ProviderName, Provider]", PROVIDERS), ProviderName.APISIX, found)
    return found


def facts(*destinations: Manifest, **rest: Any) -> Facts:
    """An object whose class is the tunnel's."""
    access = {"from": [{"namespaces": ["shop", "elsewhere"]}]}
    return facts_of(spec_of(*destinations, access=access), CLASS, references=SERVED, **rest)


def test_its_plan_is_the_plan() -> None:
    """Of what is accepted."""
    found = facts(destination("a"))
    [child] = build_plan(found, accept(found)).children
    assert (child.ref.name, child.values["served"]) == ("tunnel", ["a"])


def test_its_limits_and_its_table_refuse() -> None:
    """One destination, for its own sake; a field, by its row."""
    late = destination("late", "late.example.com", expiresAt="2999-01-01T00:00:00Z")
    findings = accept(facts(destination("wide"), late)).findings
    told = [(found.section, found.message) for found in findings if found.reason is Reason.UNSUPPORTED_VALUE]
    assert ("wide", "spec.destinations[0]: too wide for EgressGatewayClass standard") in told
    assert [part for part, message in told if "tunnels never end" in message] == ["late"]


def test_namespaces_that_it_excludes_are_not_served() -> None:
    """The others are, and the status says why."""
    acceptance = accept(facts(destination("a")))
    assert acceptance.consumers == {"a": frozenset({"shop"})}
    assert "spec.access.from: no tunnel leads from there" in [found.message for found in acceptance.findings]


def test_its_advisories_are_told() -> None:
    """With the namespaces that were asked for."""
    assert "a tunnel for 2 namespaces" in [each.message for each in accept(facts(destination("a"))).advisories]


def test_kinds_that_it_requires_must_be_served() -> None:
    """With its own remedy; kinds that it does not write may be missing."""
    [missing] = accept(facts(destination("a"), unserved=frozenset({"Telemetry", "Gateway"}))).of_object
    assert missing.reason is Reason.PROVIDER_UNAVAILABLE
    assert "does not serve Telemetry to the operator; install tunnels" in missing.message


def test_what_it_knows_against_what_runs_is_the_status(tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a part that was taken out, and whose clients are still steered."""
    monkeypatch.setattr(tunnel, "why_unserved", lambda *_, **__: "the tunnel fell in")
    entry = {
        "kind": "ServiceEntry",
        "metadata": {
            "namespace": "shop",
            "name": "wide",
            "labels": {LABEL_STAGE: Stage.CLIENTS.label, LABEL_PART: "wide"},
        },
        "spec": {"hosts": [], "exportTo": ["."]},
    }
    found = facts(destination("wide"), live={ObjectRef("ServiceEntry", "shop", "wide"): entry})
    acceptance = accept(found)
    [(_, conditions)] = summarize(found, acceptance, build_plan(found, acceptance), Observed()).sections
    assert [each.message for each in conditions if each.type is ConditionType.STEERED] == ["the tunnel fell in"]


def test_the_provider_of_a_class_that_cannot_be_read_is_that_of_the_built_in_one() -> None:
    """Whatever runs is not looked at by the rules of another one."""
    assert provider_of(None) is PROVIDERS[ProviderName.ISTIO]


def test_there_is_a_context_once_spec_and_class_can_be_read() -> None:
    """And none before, so that nobody below has to ask."""
    whole = facts(destination("a"))
    found = context_of(whole)
    assert found is not None
    assert (found.spec, found.class_spec) == (whole.gateway.spec, whole.class_.spec)
    assert context_of(replace(whole, gateway=replace(whole.gateway, spec=None))) is None
    assert context_of(replace(whole, class_=replace(whole.class_, spec=None))) is None
