"""What the schema cannot know of a host: the cluster's namespaces and domain, public suffixes, the class's consent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from apicases.forbidden import MORE_RESERVED, RESERVED_NAMES
from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.scalars import format_instant
from egressgateway.api.validation import parse_spec
from egressgateway.facts import Facts, GatewayFacts
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.checks.suffixes import is_public_suffix
from egressgateway.plan.findings import Consequence, Finding
from egressgateway.settings import MeshSettings
from unit.plan.world import KEY, NOW, class_of, destination, facts_of, spec_of

WILD: dict[str, Any] = {"wildcard": {"strategy": "DynamicResolution"}}
NAMESPACES: dict[str, dict[str, str]] = {name: {} for name in ("prod", "default", "istio-system", "corp", "dev", "com")}
BEFORE, AFTER = NOW - timedelta(days=1), NOW + timedelta(days=1)


def asked_for(host: str) -> dict[str, Any]:
    return destination(host=host, **(WILD if host.startswith("*.") else {}))


def facts(*destinations: dict[str, Any], claimed: Mapping[str, datetime] | None = None, **more: Any) -> Facts:
    """In a cluster with `NAMESPACES`, of an object that has `claimed` names."""
    class_ = class_of(**more.pop("class_", {}))
    claims = [{"host": host, "claimedAt": format_instant(at)} for host, at in (claimed or {}).items()]
    namespaces = more.pop("namespaces", NAMESPACES)
    return facts_of(spec_of(*destinations), class_, namespaces=namespaces, status={"claims": claims}, **more)


def accepted(*destinations: dict[str, Any], **more: Any) -> Acceptance:
    return accept(facts(*destinations, **more))


def findings(*destinations: dict[str, Any], **more: Any) -> list[Finding]:
    """Those about what was asked for, without those about Secrets."""
    found = accepted(*destinations, **more).findings
    return [finding for finding in found if finding.condition is ConditionType.ACCEPTED]


@pytest.mark.parametrize(
    ("host", "means"),
    [
        ("payments.prod", "Service payments of namespace prod"),
        ("kubernetes.default", "Service kubernetes of namespace default"),
        ("istiod.istio-system", "Service istiod of namespace istio-system"),
        ("db.corp", "Service db of namespace corp"),
        ("db-0.db.corp", "Service db of namespace corp"),
        ("any.db.corp", "Service db of namespace corp"),
        ("*.db.corp", "Service db of namespace corp"),
        ("api.dev", "Service api of namespace dev"),
        ("web-0.web.dev", "Service web of namespace dev"),
        ("10-1-2-3.web.dev", "Service web of namespace dev"),
        ("*.web.dev", "Service web of namespace dev"),
        ("example.com", "Service example of namespace com"),
    ],
)
def test_what_pods_take_for_a_service_is_no_external_host(host: str, means: str) -> None:
    """Search paths and Istio's routes lead there; whoever had the name would have the Service's calls."""
    (finding,) = findings(asked_for(host))
    assert (finding.reason, finding.section) == (Reason.INVALID, "api")
    assert finding.consequence is Consequence.WITHDRAW
    assert (
        f"spec.destinations[0].hosts: {host} is not an external host: pods and Istio resolve it to {means};"
        in finding.message
    )
    assert "list exactly this name in a class's allowedHosts" in finding.message


@pytest.mark.parametrize(
    "host",
    [
        "api.partner.dev",
        "api.partner.com",
        "api.example.org",
        "prod.example.org",
        "payments.prod.example.org",
        "payments.production",
        "a.b.db.corp",
        "*.b.db.corp",
        "*.eu.partner.dev",
        "db.lan",
    ],
)
def test_what_no_search_path_leads_to_is_external(host: str) -> None:
    """A namespace named like a top-level domain takes no more than names that Services and pods of it could have."""
    assert findings(asked_for(host)) == []


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("aliases", destination(aliases=["payments.prod"])),
        ("endpoints[0].address", destination(endpoints=[{"address": "payments.prod"}])),
        (
            "wildcard.server",
            destination(host="*.example.org", wildcard={"strategy": "SingleServer", "server": "payments.prod"}),
        ),
    ],
)
def test_every_field_that_is_looked_up_is_checked(field: str, asked: dict[str, Any]) -> None:
    """By clients or by the gateway: its resolver has the search paths of a pod, too."""
    (finding,) = findings(asked)
    assert finding.reason is Reason.INVALID
    assert finding.message.startswith(f"spec.destinations[0].{field}: payments.prod is not an external host: ")


def test_a_bad_host_takes_out_its_destination_alone() -> None:
    """The others are served."""
    found = accepted(destination(), destination(name="bad", host="payments.prod"))
    assert [each.name for each in found.served] == ["api"]


def test_a_running_exit_is_not_taken_away_by_making_a_namespace() -> None:
    """Who claimed the name before the namespace was there keeps it, and is told."""
    found = accepted(asked_for("db.corp"), claimed={"db.corp": NOW}, namespaces_created={"corp": AFTER})
    assert found.findings == ()
    (notice,) = [notice for notice in found.advisories if notice.section == "api"]
    assert "db.corp also means Service db of namespace corp to pods" in notice.message


@pytest.mark.parametrize("created", [{"corp": BEFORE}, {"corp": NOW}, {}])
def test_a_claim_that_is_younger_than_the_namespace_ends(created: dict[str, datetime]) -> None:
    """What was accepted by an older version and takes a Service's name is withdrawn."""
    found = accepted(asked_for("db.corp"), claimed={"db.corp": NOW}, namespaces_created=created)
    assert [finding.consequence for finding in found.findings] == [Consequence.WITHDRAW]
    assert found.claims.rights.names == {}


def test_an_old_claim_keeps_no_other_name() -> None:
    """An endpoint that is put beside an old host later is judged by itself, and only what runs already stays."""
    asked = destination(host="db.corp", endpoints=[{"address": "vault.corp"}])
    (finding,) = findings(asked, claimed={"db.corp": NOW, "vault.corp": NOW}, namespaces_created={"corp": AFTER})
    assert "endpoints[0].address: vault.corp" in finding.message
    assert finding.consequence is Consequence.KEEP


@pytest.mark.parametrize(
    ("listed", "refused"),
    [(["db.corp"], False), (["*.corp"], True), (["*"], True), (["*.corp", "db.corp"], False)],
)
def test_an_admin_may_say_that_a_doubtful_name_is_external(listed: list[str], *, refused: bool) -> None:
    """By listing the very name: a pattern over it was not meant for it."""
    assert bool(findings(asked_for("db.corp"), class_={"allowedHosts": listed})) is refused


@pytest.mark.parametrize("host", ["web.shop.corp.internal", "corp.internal", "*.corp.internal"])
def test_a_name_of_the_clusters_domain_is_withdrawn(host: str) -> None:
    """It is a Service of the cluster, whatever the domain's name (api.md `hosts[]`)."""
    (finding,) = findings(asked_for(host), mesh=MeshSettings(cluster_domain="corp.internal"))
    assert (finding.reason, finding.consequence) == (Reason.INVALID, Consequence.WITHDRAW)


@pytest.mark.parametrize("host", MORE_RESERVED)
def test_what_the_schema_has_no_room_for_is_refused_and_withdrawn(host: str) -> None:
    """Its rules have a budget; the list is the same."""
    (finding,) = findings(asked_for(host), class_={"allowedHosts": [host]})
    assert (finding.reason, finding.consequence) == (Reason.INVALID, Consequence.WITHDRAW)
    assert f"{host} must not be a name of a cloud's metadata service" in finding.message


@pytest.mark.parametrize("host", ["co.uk", "*.co.uk", "*.gov.uk", "com.au", "*.any.kawasaki.jp", "*.in-addr.arpa"])
def test_a_public_suffix_is_nobodys_host(host: str) -> None:
    """Everybody may register names under it; what runs already stays until its author has moved."""
    (finding,) = findings(asked_for(host), namespaces={})
    assert (finding.reason, finding.consequence) == (Reason.INVALID, Consequence.KEEP)
    assert f"{host} must not be a public suffix" in finding.message
    assert findings(asked_for(host), namespaces={}, class_={"allowedHosts": [host, "*"]}) == []


@pytest.mark.parametrize(
    "host", ["*.github.io", "*.s3.amazonaws.com", "*.example.co.uk", "www.gov.uk", "*.corp.lan", "*.b.example"]
)
def test_a_companys_suffix_and_an_unknown_one_are_hosts(host: str) -> None:
    """The list's private section is of services that egress rules name; private networks have domains of their own."""
    assert findings(asked_for(host), namespaces={}) == []


@pytest.mark.parametrize(("listed", "refused"), [(None, True), (["*"], True), (["*.co.uk"], False)])
def test_a_public_suffix_is_not_exposed(listed: list[str] | None, *, refused: bool) -> None:
    """On a gateway that others use, it would take every name under it."""
    exposed = {"name": "web", "hosts": ["*.co.uk"], "backend": {"service": {"name": "web", "port": 80}}}
    class_ = class_of(**({"allowedExposedHosts": listed} if listed else {}))
    found = accept(facts_of(spec_of(expose=[exposed]), class_)).of_section("expose.web")
    assert any("must not be a public suffix" in finding.message for finding in found) is refused


def test_top_level_domains_are_known_offline() -> None:
    """The list comes with its package."""
    assert all(map(is_public_suffix, ("com", "dev", "app", "co.uk", "xn--p1ai")))
    assert not any(map(is_public_suffix, ("corp", "internal", "local", "example", "github.io", "example.com")))


def with_tls(**fields: Any) -> dict[str, Any]:
    tls = {"mode": "Simple", **fields}
    return destination(ports=[{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}])


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_a_server_name_of_the_cluster_is_refused_and_withdrawn(name: str) -> None:
    """A gateway between clusters routes by it; a private name picks a way through a gateway."""
    (finding,) = findings(with_tls(sni=name))
    assert (finding.reason, finding.consequence) == (Reason.INVALID, Consequence.WITHDRAW)
    assert finding.message.startswith(f"spec.destinations[0].ports[0].tls.sni: {name} ")


@pytest.mark.parametrize("name", [*RESERVED_NAMES, "Web.Shop.SVC.cluster.local", "web.shop.svc."])
def test_a_certificate_for_a_name_of_the_cluster_is_not_believed(name: str) -> None:
    """It takes nothing from anybody, so that what runs stays."""
    (finding,) = findings(with_tls(subjectAltNames=["api.example.com", name]))
    assert (finding.reason, finding.consequence) == (Reason.INVALID, Consequence.KEEP)
    assert finding.message.startswith("spec.destinations[0].ports[0].tls.subjectAltNames: ")


@pytest.mark.parametrize("name", ["payments.prod", "gateway", "co.uk"])
def test_a_server_name_is_never_looked_up(name: str) -> None:
    """So that a namespace or a public suffix says nothing about it."""
    assert findings(with_tls(sni=name, subjectAltNames=[name])) == []


PARTNER = {"allowedHosts": ["api.example.com", "*.partner.com"]}


@pytest.mark.parametrize(
    ("class_", "fields", "allowed"),
    [
        ({"deniedHosts": ["evil.com"]}, {"sni": "evil.com"}, False),
        ({"deniedHosts": ["*.evil.com"]}, {"subjectAltNames": ["www.evil.com"]}, False),
        ({"deniedHosts": ["evil.com"]}, {"subjectAltNames": ["EVIL.com"]}, False),
        ({"deniedHosts": ["www.evil.com"]}, {"subjectAltNames": ["*.evil.com"]}, False),
        (PARTNER, {"sni": "evil.com"}, False),
        (PARTNER, {"subjectAltNames": ["evil.com"]}, False),
        (PARTNER, {"sni": "api.example.com", "subjectAltNames": ["api.example.com"]}, True),
        (PARTNER, {"sni": "www.partner.com", "subjectAltNames": ["*.partner.com"]}, True),
        (PARTNER, {"subjectAltNames": ["spiffe://evil.com/ns/a/sa/b"]}, True),
        ({}, {"sni": "cdn.example.net", "subjectAltNames": ["cdn.example.net"]}, True),
    ],
)
def test_the_class_decides_about_names_in_handshakes(
    class_: dict[str, Any], fields: dict[str, Any], *, allowed: bool
) -> None:
    """Behind one address of a CDN there are many servers: else an allowed host would lead to every other one there."""
    found = findings(with_tls(**fields), class_=class_)
    assert [finding.reason for finding in found] == ([] if allowed else [Reason.HOST_NOT_ALLOWED])


def test_a_stored_object_with_a_name_of_the_cluster_is_withdrawn() -> None:
    """Its spec cannot be read any more, so that none of it can be planned; the name is not to stay taken."""
    raw = {"destinations": [destination(host="x.egress.internal")]}
    errors = parse_spec(raw)
    assert isinstance(errors, tuple)
    gateway = GatewayFacts(KEY, "u", 1, NOW, None, errors)
    found = accept(facts_of(spec_of(), gateway=gateway))
    assert [finding.consequence for finding in found.findings] == [Consequence.WITHDRAW]
    assert not found.keep_all


def test_a_stored_object_with_another_mistake_stays() -> None:
    """What the schema learned to refuse for its author's sake takes no working way from anybody."""
    errors = parse_spec({"destinations": [destination(host="a_b.example.com")]})
    assert isinstance(errors, tuple)
    gateway = GatewayFacts(KEY, "u", 1, NOW, None, errors)
    assert accept(facts_of(spec_of(), gateway=gateway)).keep_all
