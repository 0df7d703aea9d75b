"""What a class lets objects do: hosts, addresses, gateways, features, namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.plan.accept import accept
from egressgateway.plan.findings import Consequence
from egressgateway.settings import MeshSettings
from unit.plan.world import class_of, destination, facts_of, spec_of


def reasons(class_: dict[str, Any], *destinations: dict[str, Any], **fields: Any) -> dict[str, set[Reason]]:
    """Reasons by part; findings about references are another test's."""
    found: dict[str, set[Reason]] = {}
    for finding in accept(facts_of(spec_of(*destinations, **fields), class_of(**class_))).findings:
        if finding.condition is ConditionType.ACCEPTED:
            found.setdefault(finding.section, set()).add(finding.reason)
    return found


def endpoint(address: str) -> dict[str, Any]:
    return destination(endpoints=[{"address": address}])


REFUSED = {"api": {Reason.ENDPOINT_NOT_ALLOWED}}


@pytest.mark.parametrize(
    ("class_", "address", "expected"),
    [
        ({}, "192.0.2.1", REFUSED),
        ({"allowedCIDRs": []}, "192.0.2.1", REFUSED),
        ({"allowedCIDRs": ["192.0.2.0/24"]}, "192.0.2.1", {}),
        ({"allowedCIDRs": ["192.0.2.77/24"]}, "192.0.2.1", {}),
        ({"allowedCIDRs": ["192.0.2.0/24"]}, "192.0.3.1", REFUSED),
        ({"allowedCIDRs": ["0.0.0.0/0"]}, "2001:db8::1", REFUSED),
        ({"allowedCIDRs": ["2001:db8::/32"]}, "2001:db8::1", {}),
        ({"allowedCIDRs": ["2001:db8::/32"]}, "2001:0db8:0000:0000:0000:0000:0000:0001", {}),
        ({"allowedCIDRs": ["0.0.0.0/0", "::/0"]}, "169.254.169.254", REFUSED),
        ({"allowedCIDRs": ["0.0.0.0/0", "::/0"]}, "168.63.129.16", REFUSED),
        ({"allowedCIDRs": ["fd00:ec2::/32"]}, "fd00:ec2::254", REFUSED),
        ({"allowedCIDRs": ["0.0.0.0/0", "::/0"]}, "::1", REFUSED),
        ({"allowedCIDRs": ["0.0.0.0/0", "::/0"]}, "0.0.0.0", REFUSED),
        ({}, "real.example.org", {}),
        ({"allowedHosts": ["api.example.com"]}, "real.example.org", REFUSED),
        ({"deniedHosts": ["*.example.org"]}, "real.example.org", REFUSED),
        ({"allowedHosts": ["api.example.com", "*.example.org"]}, "real.example.org", {}),
    ],
)
def test_endpoints_need_the_consent_of_the_class(
    class_: dict[str, Any], address: str, expected: dict[str, set[Reason]]
) -> None:
    """By IP in a network that it allows, by name as any other host."""
    assert reasons(class_, endpoint(address)) == expected


WILD: dict[str, Any] = {"wildcard": {"strategy": "DynamicResolution"}}


@pytest.mark.parametrize(
    ("class_", "asked", "allowed"),
    [
        ({"allowedHosts": ["*.example.com"]}, destination(), True),
        ({"allowedHosts": []}, destination(), False),
        ({"allowedHosts": ["example.com"]}, destination(), False),
        ({"deniedHosts": ["api.example.com"]}, destination(), False),
        ({"allowedHosts": ["api.example.com"]}, destination(aliases=["b.example.com"]), False),
        ({"allowedHosts": ["api.example.com", "b.example.com"]}, destination(aliases=["b.example.com"]), True),
        ({"allowedHosts": ["*.example.com"]}, destination(host="*.example.com", **WILD), True),
        ({"allowedHosts": ["api.example.com"]}, destination(host="*.example.com", **WILD), False),
        ({"deniedHosts": ["admin.example.com"]}, destination(host="*.example.com", **WILD), False),
        (
            {"allowedHosts": ["*.example.com"]},
            destination(host="*.example.com", wildcard={"strategy": "SingleServer", "server": "www.other.org"}),
            False,
        ),
    ],
)
def test_hosts_aliases_and_servers_follow_the_patterns(
    class_: dict[str, Any], asked: dict[str, Any], *, allowed: bool
) -> None:
    """A wildcard needs a pattern that covers all of it, and is denied with a name under it (api.md `allowedHosts`)."""
    assert reasons(class_, asked) == ({} if allowed else {"api": {Reason.HOST_NOT_ALLOWED}})


@pytest.mark.parametrize("host", ["web.shop.corp.internal", "corp.internal", "*.corp.internal"])
def test_a_name_of_the_meshs_domain_is_refused(host: str) -> None:
    """It is a Service of the cluster, whatever the domain's name (api.md `hosts[]`)."""
    asked = destination(host=host, **(WILD if host.startswith("*") else {}))
    facts = facts_of(spec_of(asked), mesh=MeshSettings(cluster_domain="corp.internal"))
    assert [finding.section for finding in accept(facts).findings] == ["api"]


SERVICE: dict[str, Any] = {"service": {"name": "web", "port": 80}}


@pytest.mark.parametrize(
    ("patterns", "namespace", "allowed"),
    [
        (None, "edge", False),
        ([], "edge", False),
        (["edge/front"], "edge", True),
        (["edge/*"], "edge", True),
        (["*/front"], "edge", True),
        (["*/*"], "edge", True),
        (["edge/fron", "edges/front", "*/back"], "edge", False),
        (None, "shop", True),
        ([], None, True),
    ],
)
def test_a_gateway_of_another_namespace_needs_the_consent_of_the_class(
    patterns: list[str] | None, namespace: str | None, *, allowed: bool
) -> None:
    """`namespace/name` patterns; the own namespace's Gateways are the tenant's."""
    reference = {"name": "front"} | ({"namespace": namespace} if namespace else {})
    exposed = {"name": "web", "hosts": ["web.example.com"], "gatewayRef": reference, "backend": SERVICE}
    class_ = {} if patterns is None else {"allowedGateways": patterns}
    assert reasons(class_, expose=[exposed]) == ({} if allowed else {"expose.web": {Reason.GATEWAY_NOT_ALLOWED}})


@pytest.mark.parametrize(
    ("patterns", "host", "allowed"),
    [
        (None, "web.example.com", True),
        ([], "web.example.com", False),
        (["*.example.com"], "*.example.com", True),
        (["*.example.com"], "web.example.org", False),
        (["web.example.com"], "*.example.com", False),
    ],
)
def test_exposed_hosts_follow_patterns_of_their_own(patterns: list[str] | None, host: str, *, allowed: bool) -> None:
    """`allowedHosts` is about the other direction."""
    class_: dict[str, Any] = {"allowedHosts": []} | ({} if patterns is None else {"allowedExposedHosts": patterns})
    exposed = {"name": "web", "hosts": [host], "backend": SERVICE}
    assert reasons(class_, expose=[exposed]) == ({} if allowed else {"expose.web": {Reason.HOST_NOT_ALLOWED}})


@pytest.mark.parametrize(
    ("feature", "fields", "part"),
    [
        ("GatewaySettings", {"gateway": {"nodeSelector": {"a": "b"}}}, ""),
        ("GatewaySettings", {"gateway": {"replicas": 1, "podLabels": {"a": "b"}}}, ""),
        ("MeshHeaders", {"telemetry": {"meshHeaders": "Keep"}}, ""),
        ("Expose", {"expose": [{"name": "web", "hosts": ["w.example.com"], "backend": SERVICE}]}, "expose.web"),
    ],
)
def test_a_denied_feature_is_refused_where_it_is_used(feature: str, fields: dict[str, Any], part: str) -> None:
    """And allowed without the class's denial."""
    assert reasons({"deniedFeatures": [feature]}, destination(), **fields) == {part: {Reason.FEATURE_NOT_ALLOWED}}
    assert reasons({}, destination(), **fields) == {}


INSECURE = {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple", "insecureSkipVerify": True}}


@pytest.mark.parametrize(
    ("feature", "asked"),
    [
        ("TCP", destination(ports=[{"port": 5432, "protocol": "TCP"}])),
        ("TCPWithoutAddresses", destination(ports=[{"port": 5432, "protocol": "TCP"}])),
        ("Wildcards", destination(host="*.example.com", **WILD)),
        ("InsecureSkipVerify", destination(ports=[INSECURE])),
    ],
)
def test_a_denied_feature_takes_out_the_destination_that_uses_it(feature: str, asked: dict[str, Any]) -> None:
    """Its neighbour is served."""
    other = destination("other", "other.example.org")
    assert reasons({"deniedFeatures": [feature]}, asked, other) == {"api": {Reason.FEATURE_NOT_ALLOWED}}
    assert reasons({}, asked, other) == {}


@pytest.mark.parametrize("gateway", [{"replicas": 1}, {"autoscaling": {"maxReplicas": 3}}, {"resources": {}}])
def test_denied_gateway_settings_leave_the_size_to_the_tenant(gateway: dict[str, Any]) -> None:
    """Replicas, autoscaling and resources are always the object's (api.md `deniedFeatures`)."""
    assert reasons({"deniedFeatures": ["GatewaySettings"]}, gateway=gateway) == {}


def test_a_namespace_that_has_not_been_seen_is_not_refused() -> None:
    """Nothing is withdrawn for labels that are not known yet."""
    class_spec = class_of(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"a": "b"}}})
    [unseen] = accept(facts_of(spec_of(), class_spec, namespace_labels=None)).findings
    [refused] = accept(facts_of(spec_of(), class_spec)).findings
    assert (unseen.reason, unseen.consequence) == (Reason.PENDING, Consequence.KEEP)
    assert (refused.reason, refused.consequence) == (Reason.NAMESPACE_NOT_ALLOWED, Consequence.WITHDRAW)
    assert accept(facts_of(spec_of(), class_spec, namespaces={"shop": {"a": "b"}})).findings == ()


def test_many_denied_consumers_are_counted_not_listed() -> None:
    """A message has 512 characters."""
    listed = [f"ns-{number:02}" for number in range(9)]
    access = {"from": [{}, {"namespaces": listed}]}
    [finding] = accept(facts_of(spec_of(access=access))).findings
    assert "namespace ns-00, ns-01, ns-02, ns-03, ns-04 and 4 more" in finding.message
    assert finding.partial


def test_addresses_of_a_host_need_the_classes_leave_and_give_its_port_back() -> None:
    """Clients' connections to them are taken, as an endpoint's are made; TCP then takes nothing else."""
    asked = destination(ports=[{"port": 5432, "protocol": "TCP"}], addresses=["192.0.2.7", "2001:db8::7"])
    networks = {"allowedCIDRs": ["192.0.2.0/24", "2001:db8::/32"], "deniedFeatures": ["TCPWithoutAddresses"]}
    assert reasons(networks, asked) == {}
    for given in ({}, {"allowedCIDRs": ["192.0.2.0/24"]}):
        assert reasons(given, asked) == {"api": {Reason.ENDPOINT_NOT_ALLOWED}}
    loopback = destination(addresses=["127.0.0.1"])
    assert reasons({"allowedCIDRs": ["0.0.0.0/0"]}, loopback) == {"api": {Reason.ENDPOINT_NOT_ALLOWED}}
