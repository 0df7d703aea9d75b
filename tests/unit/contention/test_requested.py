"""What an EgressGateway wants that others may want, too."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.contention.requested import (
    BY_CLASS,
    ContentionKey,
    Requested,
    claimed_by,
    contention_key_of,
    on_gateway_of,
    requested_of,
    rights_in,
    unrejected,
)
from egressgateway.facts import Claimed
from egressgateway.names import FINALIZER
from egressgateway.namespaces import NamespaceLabels
from egressgateway.plan.gateway.references import apisix_gateway
from egressgateway.refs import Key, Manifest
from unit import objects
from unit.plan.world import class_of

DATABASE = {"name": "db", "hosts": ["db.example.com"], "ports": [{"port": 5432, "protocol": "TCP"}]}
WEB = {
    "name": "web",
    "hosts": ["a.example.com"],
    "aliases": ["b.example.com"],
    "ports": [{"port": 80, "protocol": "HTTP"}],
}
SHOWN = {"name": "shown", "hosts": ["shop.example.com"], "gatewayRef": {"name": "public"}}
ELSEWHERE = {"name": "far", "hosts": ["far.example.com"], "gatewayRef": {"name": "public", "namespace": "ingress"}}
OWN = {"name": "own", "hosts": ["own.example.com"]}


def gateway(status: Manifest | None = None, **spec: Any) -> Manifest:
    everything = {"destinations": [DATABASE, WEB], "expose": [SHOWN, ELSEWHERE, OWN]}
    return objects.gateway(Key("shop", "me"), everything | spec, status, generation=3)


def refused(reason: str, *, list_name: str = "destinations", part: str = "db", generation: int = 3) -> Manifest:
    condition = {"type": "Accepted", "status": "False", "reason": reason}
    return {"observedGeneration": generation, list_name: [{"name": part, "conditions": [condition]}]}


SHOP = frozenset({"shop"})
NAMESPACES = NamespaceLabels({"shop": {"team": "shop"}, "lab": {"team": "lab"}})


def requested_(manifest: Manifest) -> Requested:
    return requested_of(manifest, NAMESPACES)


def unrejected_(manifest: Manifest) -> Requested:
    return unrejected(manifest, NAMESPACES)


def contention_key_(manifest: Manifest | None) -> ContentionKey:
    return contention_key_of(manifest, NAMESPACES)


ALL = Requested(
    dict.fromkeys(("a.example.com", "b.example.com", "db.example.com"), SHOP),
    frozenset(
        {
            Claimed("shop.example.com", "shop/public"),
            Claimed("far.example.com", "ingress/public"),
            Claimed("own.example.com", BY_CLASS),
        }
    ),
    {5432: SHOP},
    {80: SHOP},
)


def test_wants_are_names_exposed_names_and_tcp_ports() -> None:
    """Of what names no gateway only the class tells whether others can want it, too."""
    assert requested_(gateway()) == ALL
    assert unrejected_(gateway()) == ALL


def test_hosts_without_a_gateway_meet_on_the_ingress_class_of_their_class() -> None:
    """On an own gateway they meet nobody; what names a gateway is there whatever the class."""
    own, named = Claimed("own.example.com", BY_CLASS), Claimed("shop.example.com", "shop/public")
    shared = {"namespace": "edge", "service": "apisix", "selector": {"app": "apisix"}}
    apisix = class_of(provider="APISIX", shared=shared, apisix={"ingressClassName": "public"})
    assert on_gateway_of(apisix_gateway(apisix), own) == Claimed("own.example.com", "IngressClass/public")
    assert on_gateway_of(apisix_gateway(class_of()), own) is None
    assert on_gateway_of(apisix_gateway(None), own) is None
    assert on_gateway_of(apisix_gateway(apisix), named) == named


def test_broken_object_has_its_place() -> None:
    """The index files what the API server would refuse today: a younger operator may have let it in."""
    broken = gateway(destinations=[{"name": "x"}, {"ports": [{"protocol": "TCP"}]}], expose=[{"gatewayRef": {}}])
    assert requested_(broken) == Requested()


def test_suspended_object_contends_for_nothing() -> None:
    """It takes nothing new; what it has claimed counts."""
    assert unrejected_(gateway(suspend=True)) == Requested()


@pytest.mark.parametrize("reason", ["HostNotAllowed", "Expired", "UnsupportedValue"])
def test_refused_destination_contends_for_nothing(reason: str) -> None:
    """Whoever waited for it would wait for ever."""
    found = unrejected_(gateway(refused(reason)))
    assert found.tcp_ports == {}
    assert "db.example.com" not in found.names
    assert found.exposed == ALL.exposed


def test_refused_entry_of_expose_contends_for_nothing() -> None:
    """Likewise on a shared gateway."""
    found = unrejected_(gateway(refused("GatewayNotAllowed", list_name="expose", part="far")))
    assert found.exposed == ALL.exposed - {Claimed("far.example.com", "ingress/public")}
    assert found.names == ALL.names


@pytest.mark.parametrize("reason", ["HostConflict", "ConsumerNotAllowed"])
def test_who_waits_in_line_still_contends(reason: str) -> None:
    """The loser may be the next; a consumer that is denied leaves the others."""
    assert unrejected_(gateway(refused(reason))) == ALL


def test_loser_of_a_port_still_contends_for_it() -> None:
    """Two who wait for a third must see each other when it goes."""
    assert unrejected_(gateway(refused("PortConflict"))).tcp_ports == {5432: SHOP}


def test_refusal_of_an_older_spec_is_no_refusal() -> None:
    """The author may have put it right."""
    assert unrejected_(gateway(refused("HostNotAllowed", generation=2))) == ALL


def test_object_refused_as_a_whole_contends_for_nothing() -> None:
    """It has no parts that say so."""
    condition = {"type": "Accepted", "status": "False", "reason": "ClassNotFound"}
    assert unrejected_(gateway({"observedGeneration": 3, "conditions": [condition]})) == Requested()


def test_claims_are_read_from_the_status() -> None:
    """Those on gateways apart; nonsense counts as none."""
    claims: list[Any] = [
        {"host": "a.example.com", "claimedAt": "2026-01-01T00:00:00Z"},
        {"host": "far.example.com", "gateway": "ingress/public", "claimedAt": "2026-01-01T00:00:00Z"},
        {"host": "never.example.com"},
    ]
    consumers = [{"namespace": "lab", "since": "2026-01-01T00:00:00Z"}]
    found = claimed_by(rights_in(gateway({"claims": claims, "portClaims": [], "consumers": consumers})))
    exposed = frozenset({Claimed("far.example.com", "ingress/public")})
    assert found == Requested({"a.example.com": frozenset({"lab"})}, exposed)


SELECTS_LAB = {"namespaceSelector": {"matchLabels": {"team": "lab"}}}


@pytest.mark.parametrize(
    ("access", "places"),
    [
        ({"from": [{"namespaces": ["lab", "bank"]}]}, {"lab", "bank"}),
        (
            {"from": [{"namespaceSelector": {"matchLabels": {"team": "lab"}}}, {"namespaces": ["bank"]}]},
            {"lab", "bank"},
        ),
        ({"from": [{"namespaceSelector": {}}, {"namespaces": ["bank"]}]}, {"*"}),
        ({"from": [{"destinations": ["db"]}]}, {"shop"}),
        ({"from": [{"destinations": ["web"], "namespaces": ["lab"]}]}, set()),
        ({"from": [{"namespaceSelector": {"matchLabels": 5}}]}, set()),
        ({"from": "nobody"}, set()),
    ],
    ids=["named", "selected", "everyone", "own", "for-another-destination", "unreadable-selector", "unreadable"],
)
def test_what_is_asked_for_is_asked_for_where_access_means(access: Any, places: set[str]) -> None:
    """Of each destination by the entries that are for it; two without a namespace in common are no contenders."""
    assert requested_(gateway(access=access)).tcp_ports == {5432: frozenset(places)}


CONSUMER = {
    "claims": [{"host": "a.example.com", "claimedAt": "2026-01-01T00:00:00Z"}],
    "consumers": [{"namespace": "lab", "since": "2026-01-01T00:00:00Z"}],
}


@pytest.mark.parametrize(
    "other",
    [
        gateway(access={"from": [{"namespaces": ["lab"]}]}),
        gateway(className="other"),
        gateway(CONSUMER),
        gateway(suspend=True),
        gateway() | {"metadata": gateway()["metadata"] | {"uid": "v"}},
        gateway()
        | {
            "metadata": gateway()["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]}
        },
        gateway() | {"metadata": gateway()["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["access", "class", "consumers", "suspend", "successor", "leaving", "let-go"],
)
def test_what_makes_a_difference_to_others(other: Manifest) -> None:
    """Whom it may serve, whom it serves, whether it still takes part."""
    assert contention_key_(gateway()) != contention_key_(other)


def test_what_makes_no_difference_to_others() -> None:
    """Words in a status, a rewritten time, an annotation."""
    other = gateway({"summary": {"hosts": "x"}})
    other["metadata"]["annotations"] = {"a": "b"}
    assert contention_key_(gateway()) == contention_key_(other)
    assert contention_key_(None) == ContentionKey()
