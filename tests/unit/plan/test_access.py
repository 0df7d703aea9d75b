"""Who may use the gateway: a shared gateway denies exactly what a dedicated one does not allow."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressgateway.api.conditions import Reason
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import Facts, PodFacts, PodSelection, References
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.gateway.hops import build_hops
from egressgateway.plan.gateway.target import target_of
from egressgateway.refs import ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import render_child
from unit.plan.policies import Request, passes
from unit.plan.world import class_of, destination, facts_of, spec_of

RENDERER = Renderer()
NAMESPACES: dict[str, dict[str, str]] = {"shop": {}, "lab": {}, "edge": {}}
ACCOUNTS = ("one", "two", "ingress")
PRINCIPALS = [
    f"{domain}/ns/{namespace}/sa/{account}"
    for domain, namespace, account in product(("cluster.local", "elsewhere.org"), NAMESPACES, ACCOUNTS)
]
METHODS, PATHS = ("GET", "POST"), ("/v1", "/v1/x", "/v2")
DESTINATIONS = (destination("a", "a.example.com"), destination("b", "b.example.com"))
FRONT = ObjectRef("Gateway", "edge", "front")
INGRESS = References(
    {
        FRONT: {"spec": {"selector": {"a": "b"}}},
        ObjectRef("Service", "edge", "egress"): {"spec": {"ports": [{"port": 443}]}},
    },
    {
        PodSelection("", (("a", "b"),)): (PodFacts("edge", "p", "ingress", ready=True),),
        PodSelection("edge", (("istio", "egress"),)): (PodFacts("edge", "e", "egress", ready=True),),
    },
)
CLASS: dict[str, Any] = {"allowedConsumers": {"from": "All"}, "allowedGateways": ["edge/front"]}
SHARED = {"shared": {"namespace": "edge", "service": "egress", "selector": {"istio": "egress"}}}
Asked = tuple[str, str, str, str]
"""Principal, destination, method, path."""


def allowed(spec: EgressGatewaySpec, *, shared: bool) -> set[Asked]:
    """Requests that the policies of one gateway let pass, of a small universe, as Istio evaluates them."""
    facts = facts_of(spec, class_of(**CLASS, **(SHARED if shared else {})), namespaces=NAMESPACES, references=INGRESS)
    acceptance = accept(facts)
    assert {finding.reason for finding in acceptance.findings} <= {Reason.NO_CONSUMERS}
    plan = build_plan(facts, acceptance)
    policies = [
        render_child(RENDERER, child).manifest for child in plan.children if child.ref.kind == "AuthorizationPolicy"
    ]
    names = sni_names(facts)
    return {
        (principal, name, method, path)
        for principal, name, method, path in product(PRINCIPALS, names, METHODS, PATHS)
        if passes(policies, Request(principal, names[name], method, path, target_of(facts).hop_port))
    }


def sni_names(facts: Facts) -> dict[str, str]:
    assert facts.gateway.spec is not None
    return {
        hop.destination: hop.sni for hop in build_hops(facts.key, facts.gateway.spec.destinations, target_of(facts))
    }


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={"methods": st.just(["GET"]), "paths": st.sampled_from([["/v1"], ["/v1/*"], ["/v1", "/v2"]])},
)
CHAIN = {
    "name": "web",
    "hosts": ["web.example.com"],
    "gatewayRef": {"name": "front", "namespace": "edge"},
    "backend": {"destination": {"name": "a", "port": 80}},
}


def _anybody(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"namespaceSelector": {}}
    return {"namespaces": draw(st.lists(st.sampled_from(sorted(NAMESPACES)), min_size=1, max_size=3, unique=True))}


@st.composite
def specs(draw: st.DrawFn, *, apart: bool) -> EgressGatewaySpec:
    """Accesses that a shared gateway takes: one entry with conditions a destination. `apart`: no client in two."""
    entries: list[dict[str, Any]] = []
    for namespace in list(NAMESPACES)[: draw(st.integers(1, 3))]:
        who = {"namespaces": [namespace]} if apart else _anybody(draw)
        accounts = draw(st.just({}) | st.builds(lambda name: {"serviceAccounts": [name]}, st.sampled_from(ACCOUNTS)))
        which = draw(st.sampled_from([{}, {"destinations": ["a"]}, {"destinations": ["b"]}]))
        entries.append({**who, **accounts, **which, **(draw(CONDITIONS) if not entries else {})})
    chain = {} if apart or not draw(st.booleans()) else {"expose": [CHAIN]}
    return spec_of(*DESTINATIONS, access={"from": entries}, **chain)


def _listed(spec: EgressGatewaySpec) -> Iterator[Asked]:
    """What `access` says, read with api.md in hand: one entry must match, with all of its fields."""
    assert spec.access is not None
    for request in product(PRINCIPALS, ("a", "b"), METHODS, PATHS):
        principal, name, method, path = request
        domain, _, namespace, _, account = principal.split("/")
        for entry in spec.access.from_:
            if (
                domain == "cluster.local"
                and (entry.namespace_selector is not None or namespace in (entry.namespaces or ("shop",)))
                and (not entry.service_accounts or account in entry.service_accounts)
                and (not entry.destinations or name in entry.destinations)
                and (not entry.methods or method in entry.methods)
                and (not entry.paths or any(fnmatchcase(path, pattern) for pattern in entry.paths))
            ):
                yield request
    for exposed in spec.expose:
        assert exposed.backend.destination is not None
        yield from product(["cluster.local/ns/edge/sa/ingress"], [exposed.backend.destination.name], METHODS, PATHS)


@given(spec=specs(apart=False))
@settings(max_examples=80, deadline=None)
def test_a_dedicated_gateway_lets_pass_what_access_lists(spec: EgressGatewaySpec) -> None:
    """And what a chain lets in; nothing else."""
    assert allowed(spec, shared=False) == set(_listed(spec))


@given(spec=specs(apart=True))
@settings(max_examples=80, deadline=None)
def test_a_shared_gateway_denies_the_rest(spec: EgressGatewaySpec) -> None:
    """It cannot say what is allowed without forbidding others' traffic: the denials are the exact opposite."""
    assert allowed(spec, shared=True) == set(_listed(spec))


@given(spec=specs(apart=False))
@settings(max_examples=80, deadline=None)
def test_a_shared_gateway_denies_no_client_what_another_entry_grants(spec: EgressGatewaySpec) -> None:
    """One entry must match, whatever the others say of the same client."""
    assert allowed(spec, shared=True) == set(_listed(spec))


@pytest.mark.parametrize("target", [8443, "https", None])
def test_a_shared_gateway_denies_methods_on_every_port(target: int | str | None) -> None:
    """The Service's port may lead to another one tomorrow, and another Service to yet another of the same pods."""
    service = {"spec": {"ports": [{"port": 443, **({"targetPort": target} if target else {})}]}}
    objects = {**INGRESS.objects, ObjectRef("Service", "edge", "egress"): service}
    spec = spec_of(
        *DESTINATIONS, access={"from": [{"methods": ["GET"], "destinations": ["a"]}, {"destinations": ["b"]}]}
    )
    references = References(objects, INGRESS.pods)
    facts = facts_of(spec, class_of(**CLASS, **SHARED), namespaces=NAMESPACES, references=references)
    plan = build_plan(facts, accept(facts))
    policies = [
        render_child(RENDERER, each).manifest for each in plan.children if each.ref.kind == "AuthorizationPolicy"
    ]
    names, client = sni_names(facts), "cluster.local/ns/shop/sa/one"
    for port in (443, 8443, 9443):
        assert passes(policies, Request(client, names["a"], "GET", port=port))
        assert not passes(policies, Request(client, names["a"], "POST", port=port))
        assert passes(policies, Request(client, names["b"], "POST", port=port))


@pytest.mark.parametrize("shared", [False, True])
def test_a_shared_gateway_says_nothing_about_names_of_others(shared: bool) -> None:
    """A request for another object's server name passes our denials, and no allowance of ours."""
    spec = spec_of(*DESTINATIONS)
    facts = facts_of(spec, class_of(**(SHARED if shared else {})), namespaces=NAMESPACES, references=INGRESS)
    plan = build_plan(facts, accept(facts))
    [policy] = [
        render_child(RENDERER, found).manifest for found in plan.children if found.ref.kind == "AuthorizationPolicy"
    ]
    foreign = Request("cluster.local/ns/lab/sa/one", "http-80.x.example.com.theirs.lab.egress.internal")
    assert passes([policy], foreign) is shared
