"""What APISIX does with requests that carry our mark: it serves what is granted, and nobody else serves the rest."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import PodFacts, PodSelection, References
from egressgateway.plan.accept import accept
from egressgateway.plan.apisix.routes import MARK_HEADER
from egressgateway.plan.build import build_plan
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import render_child
from unit.plan.apisix_router import Request, rule_for
from unit.plan.world import class_of, destination, facts_of, spec_of

RENDERER = Renderer()
SELECTOR = {"app.kubernetes.io/name": "apisix"}
CLASS: dict[str, Any] = {
    "provider": "APISIX",
    "mtls": "Disabled",
    "shared": {"namespace": "ingress-apisix", "service": "apisix-gateway", "selector": SELECTOR},
}
APISIX = References(
    {ObjectRef("Service", "ingress-apisix", "apisix-gateway"): {"spec": {"ports": [{"port": 80}]}}},
    {
        PodSelection("ingress-apisix", tuple(SELECTOR.items())): (
            PodFacts("ingress-apisix", "apisix-0", "default", ready=True),
        )
    },
)
HOST = "api.example.com"
METHODS = ("GET", "POST", "DELETE")
PATHS = ("/", "/v1", "/v1/a", "/v1/a/b", "/v2")
FOREIGN: Manifest = {
    "spec": {
        "http": [
            {"name": "host", "match": {"hosts": [HOST], "paths": ["/*"]}, "upstreams": [{"name": "theirs"}]},
            {"name": "catch-all", "match": {"paths": ["/*"]}, "upstreams": [{"name": "theirs"}]},
            {"name": "page", "match": {"paths": ["/v1/a"]}, "upstreams": [{"name": "theirs"}]},
        ]
    }
}
"""Routes of other people, to whom the mark says nothing."""


def planned(spec: EgressGatewaySpec) -> tuple[Manifest, str]:
    """The one ApisixRoute for a spec, and the mark that clients' sidecars set."""
    facts = facts_of(spec, class_of(**CLASS), references=APISIX)
    plan = build_plan(facts, accept(facts))
    manifests = {child.ref.kind: render_child(RENDERER, child).manifest for child in plan.children}
    [way] = manifests["VirtualService"]["spec"]["http"]
    return manifests["ApisixRoute"], way["headers"]["request"]["set"][MARK_HEADER]


def answer(route: Manifest, request: Request) -> str:
    """Who answers: `granted` is the destination, `refused` APISIX itself with 403, `foreign` somebody else's route."""
    rule = rule_for([FOREIGN, route], request)
    if rule is None or rule in FOREIGN["spec"]["http"]:
        return "foreign" if rule else "404"
    [plugin] = rule["plugins"]
    if plugin["name"] == "fault-injection":
        assert plugin["config"]["abort"]["http_status"] == 403
        return "refused"
    assert MARK_HEADER in plugin["config"]["headers"]["remove"]
    return "granted"


ENTRIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "methods": st.lists(st.sampled_from(METHODS), min_size=1, max_size=2, unique=True),
            "paths": st.lists(st.sampled_from(["/v1", "/v1/a", "/v1/*", "/v2"]), min_size=1, max_size=2, unique=True),
        },
    ),
    min_size=1,
    max_size=3,
)


@given(entries=ENTRIES)
@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_not_granted_is_refused_and_nobody_else_serves_it(entries: list[dict[str, Any]]) -> None:
    """Whatever catch-alls others have, of the host or of every host: a marked request is ours to answer."""
    route, mark = planned(spec_of(access={"from": entries}))
    for method, path in product(METHODS, PATHS):
        granted = any(
            method in entry.get("methods", METHODS)
            and any(fnmatchcase(path, pattern) for pattern in entry.get("paths", ["*"]))
            for entry in entries
        )
        wanted = "granted" if granted else "refused"
        assert answer(route, Request(HOST, method, path, {MARK_HEADER: mark})) == wanted, (method, path)


def test_refusal_on_a_path_comes_before_routes_for_shorter_ones() -> None:
    """APISIX takes the longest path first: for a path that is granted, no route of others gets the other methods."""
    route, mark = planned(spec_of(access={"from": [{"methods": ["GET"], "paths": ["/v1/a"]}, {"paths": ["/v2"]}]}))
    between = {"spec": {"http": [{"name": "between", "match": {"hosts": [HOST], "paths": ["/v1/*", "/v1/a"]}}]}}
    for method, name in (("GET", "way-1"), ("POST", "refused")):
        rule = rule_for([between, FOREIGN, route], Request(HOST, method, "/v1/a", {MARK_HEADER: mark}))
        assert rule is not None
        assert rule["name"] == name


@pytest.mark.parametrize("headers", [{}, {MARK_HEADER: "guessed"}], ids=["without a mark", "with a wrong one"])
def test_requests_of_others_are_not_refused(headers: dict[str, str]) -> None:
    """APISIX is not ours alone: without our mark a request goes where it went before, be it not granted here."""
    route, _ = planned(spec_of(access={"from": [{"methods": ["GET"]}]}))
    assert {answer(route, Request(HOST, method, "/v2", headers)) for method in METHODS} == {"foreign"}


def test_refusal_says_where_it_comes_from_and_leads_nowhere() -> None:
    """Its answer names the object; without an upstream no request leaves by it, were the plugin not there."""
    route, mark = planned(spec_of(access={"from": [{"methods": ["GET"]}]}))
    rule = rule_for([route], Request(HOST, "POST", "/", {MARK_HEADER: mark}))
    assert rule is not None
    assert not {"upstreams", "backends"} & rule.keys()
    body = json.loads(rule["plugins"][0]["config"]["abort"]["body"])
    assert "EgressGateway shop/partners" in body["error_msg"]


def test_nothing_is_refused_where_everything_is_granted() -> None:
    """One rule takes all, and there is no other."""
    route, _ = planned(spec_of(destination()))
    assert [rule["name"] for rule in route["spec"]["http"]] == ["way-0"]
