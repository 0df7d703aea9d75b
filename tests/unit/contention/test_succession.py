"""Which names of an object may move to another one of its namespace."""

from __future__ import annotations

import pytest

from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.succession import let_go, movable_names, speaks_alike
from egressgateway.facts import GatewayFacts
from unit.plan.world import KEY, NOW, destination, spec_of

TCP = {"port": 5432, "protocol": "TCP"}
TLS = {"port": 443, "protocol": "TLS"}
CLAIMED = frozenset({"a.example.com", "alias.example.com", "gone.example.com"})


def gateway(spec: EgressGatewaySpec | None, *, deleting: bool = False) -> GatewayFacts:
    return GatewayFacts(KEY, "u", 1, NOW, spec, deleting=deleting)


def test_claimed_name_that_the_spec_does_not_ask_for_is_let_go() -> None:
    """An alias is a name, and an expired destination is asked for: it ends for another reason."""
    asked = destination("a", "a.example.com", aliases=["alias.example.com"], expiresAt="2020-01-01T00:00:00Z")
    assert let_go(gateway(spec_of(asked)), CLAIMED) == {"gone.example.com"}
    assert let_go(gateway(spec_of(asked)), {"a.example.com"}) == frozenset()


@pytest.mark.parametrize("spec", [None, spec_of(destination("a"), suspend=True)], ids=["unreadable", "suspended"])
def test_object_that_does_not_follow_its_spec_lets_nothing_go(spec: EgressGatewaySpec | None) -> None:
    """Until it is deleted: then it asks for nothing."""
    assert let_go(gateway(spec), CLAIMED) == frozenset()
    assert let_go(gateway(spec, deleting=True), CLAIMED) == CLAIMED


def test_name_behind_tcp_or_an_address_does_not_move_at_once() -> None:
    """Nor does one that is behind either in another destination; ports of names and their aliases do."""
    spec = spec_of(
        destination("web", "a.example.com", aliases=["alias.example.com"]),
        destination("db", "db.example.com", ports=[TLS, TCP]),
        destination("at", "at.example.com", ports=[TCP], addresses=["93.184.216.1"]),
    )
    assert movable_names(spec) == {"a.example.com", "alias.example.com"}
    assert movable_names(None) == frozenset()


@pytest.mark.parametrize(
    ("spoken", "alike"),
    [
        ({}, True),
        ({443: "TLS"}, True),
        ({8443: "TLS", 443: "TLS"}, True),
        ({443: "HTTP"}, False),
        ({443: "TLS", 5432: "TCP"}, False),
    ],
    ids=["nothing", "same", "more-ports", "other-protocol", "tcp"],
)
def test_two_ways_stand_beside_each_other_only_if_a_port_has_one_protocol(spoken: dict[int, str], alike: bool) -> None:
    assert speaks_alike(spec_of(destination("a", "a.example.com", ports=[TLS])), "a.example.com", spoken) is alike
