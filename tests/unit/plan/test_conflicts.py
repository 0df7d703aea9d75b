"""Where two want the same: TCP ports, ports and hosts of the own gateway, routes of others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.facts import Contender, Facts, MeshConfig, Ports, References, Rights, UnmanagedRoute
from egressgateway.names import LABEL_PART, LABEL_STAGE
from egressgateway.plan.accept import accept
from egressgateway.refs import Key, ObjectRef
from unit.plan.world import NOW, class_of, destination, facts_of, spec_of

DAY = timedelta(days=1)
SHOP, LAB = frozenset({"shop"}), frozenset({"lab"})


def tcp(name: str, port: int = 5432, protocol: str = "TCP") -> dict[str, Any]:
    return destination(name, f"{name}.example.com", ports=[{"port": port, "protocol": protocol}])


def conflicts(facts: Facts, reason: Reason = Reason.PORT_CONFLICT) -> list[str]:
    """Parts that are taken out, in order; there is nothing else to find."""
    findings = accept(facts).findings
    assert {finding.reason for finding in findings} <= {reason}
    return [finding.section for finding in findings]


@pytest.mark.parametrize(
    ("destinations", "losers"),
    [
        ([tcp("a"), tcp("b")], ["b"]),
        ([tcp("b"), tcp("a")], ["a"]),
        ([tcp("a"), tcp("b", 5433)], []),
        ([tcp("a"), tcp("b", protocol="TLS")], ["b"]),
        ([tcp("a", protocol="HTTP"), tcp("b")], ["b"]),
        ([tcp("a", protocol="TLS"), tcp("b", protocol="TLS")], []),
    ],
)
def test_tcp_shares_its_port_with_no_other_host(destinations: list[dict[str, Any]], losers: list[str]) -> None:
    """It names none; the first in the list has the port (api.md `ports[]`)."""
    assert conflicts(facts_of(spec_of(*destinations))) == losers


def test_who_claimed_first_has_the_port_whatever_the_order_of_the_list() -> None:
    """Putting a destination in front of another takes nothing from that one."""
    claims = {"claims": [{"host": "old.example.com", "claimedAt": "2025-01-01T00:00:00Z"}]}
    spec = spec_of(tcp("new"), tcp("old"))
    assert conflicts(facts_of(spec, status=claims)) == ["new"]
    assert conflicts(facts_of(spec)) == ["old"]


def test_tcp_ports_of_different_consumers_do_not_meet() -> None:
    """Each sidecar hears of one host only."""
    access = {"from": [{"destinations": ["a"]}, {"namespaces": ["lab"], "destinations": ["b"]}]}
    spec, allowed = spec_of(tcp("a"), tcp("b"), access=access), class_of(allowedConsumers={"from": "All"})
    assert conflicts(facts_of(spec, allowed)) == []


def test_sidecars_that_answer_dns_tell_hosts_apart() -> None:
    """Each host has an address of its own then."""
    facts = facts_of(spec_of(tcp("a"), tcp("b")), mesh_config=MeshConfig(dns_capture=True), contenders=(contender(),))
    assert conflicts(facts) == []


By = dict[int, frozenset[str]]
WANTED: By = {5432: SHOP}
NONE: By = {}


def contender(
    created: Any = NOW - DAY,
    *,
    claimed: bool = True,
    tcp: By = WANTED,
    named: By = NONE,
    held_tcp: By = NONE,
    held_named: By = NONE,
) -> Contender:
    """Another object, which wants 5432 for the same clients as TCP and has claimed something."""
    rights = Rights({"x.example.com": {"lab": NOW - DAY}}) if claimed else Rights()
    return Contender(
        Key("lab", "db"), created, ports=Ports(tcp, named), held_ports=Ports(held_tcp, held_named), rights=rights
    )


@pytest.mark.parametrize(
    ("other", "losers"),
    [
        (contender(), ["a"]),
        (contender(NOW + DAY), ["a"]),
        (contender(claimed=False), ["a"]),
        (contender(NOW + DAY, claimed=False), []),
        (contender(NOW + DAY, claimed=False, held_tcp={5432: SHOP}), ["a"]),
        (contender(NOW + DAY, claimed=False, held_tcp={5432: frozenset("*")}), ["a"]),
        (contender(NOW + DAY, claimed=False, held_tcp={5433: SHOP}), []),
        (contender(NOW + DAY, claimed=False, held_tcp={5432: LAB}), []),
        (contender(NOW + DAY, claimed=False, tcp={}, held_tcp={5432: SHOP}), ["a"]),
        (contender(NOW + DAY, claimed=False, tcp={}, held_named={5432: SHOP}), ["a"]),
        (contender(tcp={}, held_tcp={5432: LAB}), []),
        (contender(tcp={5432: LAB}), []),
        (contender(tcp={5432: frozenset("*")}), ["a"]),
        (contender(tcp={5433: SHOP}), []),
    ],
)
def test_a_tcp_port_of_another_object_is_taken(other: Contender, losers: list[str]) -> None:
    """Where both serve a namespace, or it steers clients there still; without claims the older object has it."""
    assert conflicts(facts_of(spec_of(tcp("a")), contenders=(other,))) == losers


@pytest.mark.parametrize(
    ("protocol", "other", "losers"),
    [
        ("TLS", contender(), ["a"]),
        ("TLS", contender(tcp={}, named={5432: SHOP}), []),
        ("TCP", contender(tcp={}, named={5432: SHOP}), ["a"]),
        ("TCP", contender(tcp={}, named={5432: LAB}), []),
        ("TCP", contender(NOW + DAY, claimed=False, tcp={}, named={5432: SHOP}), []),
        ("TLS", contender(NOW + DAY, claimed=False, tcp={}, held_tcp={5432: SHOP}), ["a"]),
        ("TLS", contender(tcp={}, held_named={5432: SHOP}), []),
    ],
)
def test_tcp_takes_its_port_from_other_protocols_too(protocol: str, other: Contender, losers: list[str]) -> None:
    """A sidecar sends whatever comes to that port to the one host that spoke TCP there, or the other way round."""
    assert conflicts(facts_of(spec_of(tcp("a", protocol=protocol)), contenders=(other,))) == losers


def registered(*exported: str, part: str = "a", port: int = 5432) -> dict[ObjectRef, dict[str, Any]]:
    """Clients in these namespaces are told of the port, with TCP."""
    entry = {
        "kind": "ServiceEntry",
        "metadata": {"name": part, "namespace": "shop", "labels": {LABEL_STAGE: "clients", LABEL_PART: part}},
        "spec": {
            "hosts": [f"{part}.example.com"],
            "exportTo": [*exported],
            "ports": [{"number": port, "protocol": "TCP"}],
        },
    }
    return {ObjectRef("ServiceEntry", "shop", part): entry}


def test_a_tcp_port_that_clients_are_sent_to_already_is_kept() -> None:
    """Who has it keeps it, whatever another object's status says; of two that have it the earlier claim decides."""
    live, spec = registered("."), spec_of(tcp("a"))
    assert conflicts(facts_of(spec, contenders=(contender(),), live=live)) == []
    assert conflicts(facts_of(spec, contenders=(contender(held_tcp={5432: SHOP}),), live=live)) == ["a"]


TLS = {"mode": "Simple", "credentialName": "gone"}
REFUSED = tcp("a") | {"ports": [{"port": 5440, "targetPort": 5440, "protocol": "TCP", "tls": TLS}]}
"""A destination that asks for another port than it had, and cannot be served: its Secret is not there."""


@pytest.mark.parametrize(
    ("destinations", "exported", "losers"),
    [
        ([REFUSED, tcp("b")], ".", ["b"]),
        ([REFUSED, tcp("b", protocol="TLS")], ".", ["b"]),
        ([REFUSED, tcp("b")], "lab", []),
        ([REFUSED, tcp("b", 5433)], ".", []),
        ([tcp("a", 5440), tcp("b")], ".", []),
        ([REFUSED, tcp("b"), tcp("c", 5441)], ".", ["b", "c"]),
        ([REFUSED | {"hosts": ["new.example.com"]}, tcp("b") | {"hosts": ["a.example.com"]}], ".", []),
    ],
)
def test_a_refused_destination_keeps_its_port_from_the_others(
    destinations: list[dict[str, Any]], exported: str, losers: list[str]
) -> None:
    """What runs goes on, so its port is not free, nor is that of who waits for it; who is accepted moves at once."""
    live = registered(exported) | registered(".", part="b", port=5441)
    references = References({ObjectRef("Secret", "shop", "gone"): None})
    findings = accept(facts_of(spec_of(*destinations), live=live, references=references)).findings
    assert [found.section for found in findings if found.reason is Reason.PORT_CONFLICT] == losers


@pytest.mark.parametrize(
    ("protocol", "live", "other", "losers"),
    [
        ("TCP", ["lab"], contender(), ["a"]),
        ("TCP", ["lab"], contender(held_tcp={5432: SHOP}), ["a"]),
        ("TCP", ["."], contender(held_tcp={5432: LAB}), []),
        ("TCP", ["*"], contender(held_tcp={5432: LAB}), []),
        ("TCP", ["."], contender(held_named={5432: SHOP}), ["a"]),
        ("TLS", ["."], contender(), []),
        ("TLS", ["."], contender(NOW + DAY, claimed=False, tcp={}, held_tcp={5432: SHOP}), ["a"]),
    ],
)
def test_a_port_is_kept_in_a_namespace_and_for_a_protocol(
    protocol: str, live: list[str], other: Contender, losers: list[str]
) -> None:
    """Having it in another namespace is no right to it; under another protocol it is the next best one."""
    facts = facts_of(spec_of(tcp("a", protocol=protocol)), contenders=(other,), live=registered(*live))
    assert conflicts(facts) == losers


@pytest.mark.parametrize(
    ("live", "other", "kept"),
    [
        ({}, contender(held_tcp={5432: SHOP}), True),
        (registered("."), contender(held_tcp={5432: SHOP}), False),
        (registered("."), contender(held_named={5432: SHOP}), False),
        (registered(".", port=5440), contender(held_tcp={5432: SHOP}), True),
        (registered("lab"), contender(held_tcp={5432: SHOP}), True),
        (registered(".", part="b"), contender(held_tcp={5432: SHOP}), True),
    ],
)
def test_of_two_that_have_a_port_one_is_withdrawn(
    live: dict[ObjectRef, dict[str, Any]], other: Contender, *, kept: bool
) -> None:
    """Kept, it would be told to be fine while its clients reach the other's server; else what runs goes on."""
    acceptance = accept(facts_of(spec_of(tcp("a"), tcp("b", 5433)), contenders=(other,), live=live))
    assert [finding.section for finding in acceptance.findings] == ["a"]
    assert ("a" in acceptance.kept) == kept


def test_who_serves_everybody_has_the_port_where_its_clients_are_told() -> None:
    """Both serve every namespace: who has the port in one of them has it in all, even if it claimed later."""
    everybody, allowed = {"from": [{"namespaceSelector": {}}]}, class_of(allowedConsumers={"from": "All"})
    other = contender(tcp={5432: frozenset("*")}, held_tcp={5432: LAB}, claimed=False, created=NOW + DAY)
    [finding] = accept(facts_of(spec_of(tcp("a"), access=everybody), allowed, contenders=(other,))).findings
    assert (finding.reason, "in every namespace;" in finding.message) == (Reason.PORT_CONFLICT, True)


@pytest.mark.parametrize(
    ("destinations", "losers"),
    [
        ([tcp("a", 443, "TLS"), tcp("b", 443, "TCP")], {"b"}),
        ([tcp("a", 443, "TLS"), tcp("b", 443, "TLS")], set()),
        ([tcp("a", 443, "TLS"), tcp("b", 443, "HTTP")], set()),
        ([tcp("a", 443, "TLS"), tcp("b", 18443, "TLS")], {"b"}),
        ([tcp("a", 15443, "TCP")], {"a"}),
    ],
)
def test_without_mutual_tls_a_port_of_the_gateway_has_one_protocol(
    destinations: list[dict[str, Any]], losers: set[str]
) -> None:
    """It listens on the clients' own numbers then; requests have a port of their own."""
    facts = facts_of(spec_of(*destinations), class_of(mtls="Disabled"), mesh_config=MeshConfig(dns_capture=True))
    assert set(conflicts(facts)) == losers


BACKEND = {"service": {"name": "web", "port": 80}}


def exposed(name: str, host: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": name, "hosts": [host or f"{name}.example.com"], "backend": BACKEND, **fields}


def secured(redirect: bool = False) -> dict[str, Any]:
    return {"tls": {"credentialName": "c", "httpsRedirect": redirect}}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([exposed("a"), exposed("b")], []),
        ([exposed("a", port=8000), exposed("b", port=8000)], []),
        ([exposed("a"), exposed("b", port=80, **secured())], [("b", Reason.PORT_CONFLICT)]),
        ([exposed("a"), exposed("b", **secured())], []),
        ([exposed("a"), exposed("b", **secured(redirect=True))], []),
        ([exposed("a", port=443), exposed("b", **secured())], [("b", Reason.PORT_CONFLICT)]),
        ([exposed("a", port=80), exposed("b", port=18080)], [("b", Reason.PORT_CONFLICT)]),
        ([exposed("a", "x.example.com"), exposed("b", "x.example.com")], [("b", Reason.HOST_CONFLICT)]),
        ([exposed("a", "x.example.com"), exposed("b", "x.example.com", port=81)], []),
        ([exposed("a"), exposed("b", "a.example.com", gatewayRef={"name": "front"})], []),
    ],
)
def test_exposed_hosts_share_a_port_of_the_own_gateway_only_in_one_protocol(
    entries: list[dict[str, Any]], expected: list[tuple[str, Reason]]
) -> None:
    """The first one listed has it; ports below 1024 move by 18000 inside the pod, where they may meet others."""
    findings = [found for found in accept(facts_of(spec_of(expose=entries))).findings if found.condition == "Accepted"]
    assert [(found.section.removeprefix("expose."), found.reason) for found in findings] == expected


def test_a_redirect_needs_its_host_on_port_80_for_itself() -> None:
    """A Gateway takes a host on a port once; the second server would be skipped without a word."""
    entries = [exposed("a", "x.example.com"), exposed("b", "x.example.com", **secured(redirect=True))]
    findings = accept(facts_of(spec_of(expose=entries))).findings
    assert Reason.HOST_CONFLICT in {found.reason for found in findings}


OURS = destination(host="api.example.com")


def route(kind: str = "VirtualService", namespace: str = "tools", **more: Any) -> UnmanagedRoute:
    fields = {"hosts": frozenset({"api.example.com"}), "visible_in": SHOP, "created": NOW - DAY, **more}
    return UnmanagedRoute(ObjectRef(kind, namespace, "theirs"), **fields)


@pytest.mark.parametrize(
    ("found", "conflict"),
    [
        (route(), True),
        (route(created=NOW + DAY), False),
        (route(namespace="shop", created=NOW + DAY), True),
        (route(namespace="lab", created=NOW + DAY), False),
        (route("ServiceEntry", created=NOW + DAY), True),
        (route(visible_in=LAB), False),
        (route(visible_in=frozenset("*")), True),
        (route(hosts=frozenset({"other.example.com"})), False),
        (route(hosts=frozenset({"other.example.com", "api.example.com"})), True),
        (route(hosts=frozenset({"*.example.com"})), False),
    ],
)
def test_a_route_of_others_in_the_way_is_reported(found: UnmanagedRoute, *, conflict: bool) -> None:
    """A consumer's own goes first, then the older one; a ServiceEntry is in the way whatever its age."""
    findings = accept(facts_of(spec_of(OURS), unmanaged_routes=(found,))).findings
    assert [finding.reason for finding in findings] == [Reason.ROUTE_CONFLICT] * conflict
    assert {finding.condition for finding in findings} <= {ConditionType.STEERED}
    assert not conflict or (str(found.ref) in findings[0].message and findings[0].partial)


def test_a_route_for_a_name_under_our_wildcard_is_in_the_way() -> None:
    """The more specific one takes the calls for that name."""
    wild = destination(host="*.example.com", wildcard={"strategy": "DynamicResolution"})
    [finding] = accept(facts_of(spec_of(wild), unmanaged_routes=(route(),))).findings
    assert finding.reason is Reason.ROUTE_CONFLICT


def test_a_route_that_everybody_sees_is_in_the_way_of_everybody() -> None:
    """Among all namespaces is its own, where it goes first."""
    everybody = spec_of(OURS, access={"from": [{"namespaceSelector": {}}]})
    found = route(created=NOW + DAY, visible_in=frozenset("*"))
    facts = facts_of(everybody, class_of(allowedConsumers={"from": "All"}), unmanaged_routes=(found,))
    assert [finding.reason for finding in accept(facts).findings] == [Reason.ROUTE_CONFLICT]


def test_of_several_rivals_the_one_that_has_the_port_is_named() -> None:
    """Another one that waits for it is refused itself: to remove the port there would free nothing."""
    waiting = contender()
    holder = replace(contender(NOW + DAY, claimed=False, held_tcp={5432: SHOP}), key=Key("lab", "holder"))
    [finding] = accept(facts_of(spec_of(tcp("a")), contenders=(waiting, holder))).findings
    assert "EgressGateway lab/holder in namespace shop" in finding.message
    [finding] = accept(facts_of(spec_of(tcp("a")), contenders=(waiting,))).findings
    assert "EgressGateway lab/db in namespace shop" in finding.message
