"""Who may open a TCP connection: the handshake admits exactly the callers that the policies admit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pytest

from egressgateway.facts import Facts, MeshConfig
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.istio.callers import MAX_CALLERS
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import render_child
from unit.plan.policies import Request, passes
from unit.plan.test_access import CLASS, INGRESS, NAMESPACES, PRINCIPALS, SHARED, sni_names
from unit.plan.world import class_of, destination, facts_of, spec_of

RENDERER = Renderer()
DATABASE = destination("db", "db.example.com", ports=[{"port": 5432, "protocol": "TCP"}])
CACHE = destination("cache", "cache.example.com", ports=[{"port": 6379, "protocol": "TCP"}])
SECURE = destination("tls", "tls.example.com", ports=[{"port": 8883, "protocol": "TLS"}])

ACCESS: dict[str, list[dict[str, Any]]] = {
    "the own namespace": [],
    "namespaces": [{"namespaces": ["shop", "lab"]}],
    "accounts": [{"namespaces": ["shop", "lab"], "serviceAccounts": ["one"]}],
    "everybody": [{"namespaceSelector": {}}],
    "accounts everywhere": [{"namespaceSelector": {}, "serviceAccounts": ["one", "two"]}],
    "one destination each": [
        {"namespaces": ["lab"], "destinations": ["db"]},
        {"namespaces": ["shop"], "serviceAccounts": ["two"], "destinations": ["cache"]},
    ],
    "nobody for one": [{"namespaces": ["lab"], "destinations": ["cache"]}],
}


def planned(facts: Facts, kind: str) -> list[Manifest]:
    plan = build_plan(facts, accept(facts))
    return [render_child(RENDERER, child).manifest for child in plan.children if child.ref.kind == kind]


def filters(facts: Facts) -> list[Manifest]:
    return [found for found in planned(facts, "EnvoyFilter") if "callers" in found["metadata"]["name"]]


def matchers_by_name(facts: Facts) -> dict[str, list[Mapping[str, str]]]:
    """Of each server name the matchers, one of which has to match a caller's URI."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for patch in (patch for each in filters(facts) for patch in each["spec"]["configPatches"]):
        value = patch["patch"]["value"]["transport_socket"]["typed_config"]
        context = value["common_tls_context"]["combined_validation_context"]["default_validation_context"]
        names = context["match_typed_subject_alt_names"]
        assert {each["san_type"] for each in names} == {"URI"}
        found[patch["match"]["listener"]["filterChain"]["sni"]] = [each["matcher"] for each in names]
    return found


def admits(matchers: Sequence[Mapping[str, Any]], uri: str) -> bool:
    """As Envoy's `StringMatcher`: a regular expression has to match the whole."""
    return any(
        uri == each.get("exact")
        or ("prefix" in each and uri.startswith(each["prefix"]))
        or ("safe_regex" in each and re.fullmatch(each["safe_regex"]["regex"], uri) is not None)
        for each in matchers
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("access", ACCESS)
def test_handshake_admits_whom_the_policies_admit(access: str, shared: bool) -> None:
    more = {"access": {"from": ACCESS[access]}} if ACCESS[access] else {}
    class_spec = class_of(**CLASS, **(SHARED if shared else {}))
    facts = facts_of(spec_of(DATABASE, CACHE, **more), class_spec, namespaces=NAMESPACES, references=INGRESS)
    served = accept(facts).consumers
    policies, matchers, names = planned(facts, "AuthorizationPolicy"), matchers_by_name(facts), sni_names(facts)
    for principal, name in product(PRINCIPALS, sorted(served)):
        told = passes(policies, Request(principal, names[name]))
        assert admits(matchers[names[name]], f"spiffe://{principal}") is told, (principal, name)


def test_aliases_of_the_trust_domain_are_the_same_callers() -> None:
    """Istio reads principals of the mesh's trust domain so; another domain with the same end is another one."""
    spec = spec_of(DATABASE, access={"from": [{"namespaceSelector": {}, "serviceAccounts": ["one"]}]})
    config = MeshConfig(trust_domain_aliases=("old.local",))
    facts = facts_of(spec, class_of(**CLASS), namespaces=NAMESPACES, mesh_config=config)
    [matchers] = matchers_by_name(facts).values()
    uris = [f"spiffe://{domain}/ns/lab/sa/one" for domain in ("cluster.local", "old.local", "oldXlocal", "elsewhere")]
    assert [admits(matchers, uri) for uri in uris] == [True, True, False, False]


def test_clients_that_speak_first_are_judged_by_the_policy_alone() -> None:
    """A filter that names them too would grow with hosts times callers."""
    assert filters(facts_of(spec_of(destination(), SECURE))) == []


def test_without_mutual_tls_nobody_is_named() -> None:
    assert filters(facts_of(spec_of(DATABASE), class_of(mtls="Disabled"))) == []


def told(facts: Facts) -> list[str]:
    return [each.message for each in accept(facts).advisories if "speaks first" in each.message]


def test_too_many_callers_are_left_to_the_policy_and_that_is_said() -> None:
    """The filter is one object, which has a size."""
    accounts = [f"account-{number}" for number in range(16)]
    places: dict[str, dict[str, str]] = {f"ns-{number}": {} for number in range(MAX_CALLERS // len(accounts) // 2 + 1)}
    entries = [
        {"namespaces": sorted(places)[start : start + 100], "serviceAccounts": accounts}
        for start in range(0, len(places), 100)
    ]
    facts = facts_of(spec_of(DATABASE, CACHE, access={"from": entries}), class_of(**CLASS), namespaces=places)
    message, _ = told(facts)
    assert str(MAX_CALLERS) in message
    assert filters(facts) == []
    few = facts_of(spec_of(DATABASE, access={"from": [{"namespaces": ["ns-1"]}]}), class_of(**CLASS), namespaces=places)
    assert told(few) == []
    assert len(filters(few)) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_hop_on_its_way_out_keeps_its_callers(shared: bool) -> None:
    """Its server stays in the Gateway until clients have been told; until then others must not be let in."""
    class_spec = class_of(**CLASS, **(SHARED if shared else {}))
    before = facts_of(spec_of(DATABASE, CACHE), class_spec, namespaces=NAMESPACES, references=INGRESS)
    rendered = [render_child(RENDERER, child).manifest for child in build_plan(before, accept(before)).children]
    live = {ObjectRef(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]): each for each in rendered}
    after = facts_of(
        spec_of(DATABASE), class_spec, namespaces=NAMESPACES, references=INGRESS, live=live, clients_pushed=False
    )
    assert matchers_by_name(after) == matchers_by_name(before)
