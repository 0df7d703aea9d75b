"""Ports of protocol TLS whose clients usually begin in plain text: what is said, and what Istio is told."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.facts import Facts, MeshConfig
from egressgateway.names import WITHOUT_ADDRESS
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.stages import Stage
from unit.plan.world import class_of, destination, facts_of, spec_of

HOST = "pg.example.com"


def world(config: MeshConfig, port: int = 5432, protocol: str = "TLS", **fields: Any) -> Facts:
    database = destination("pg", HOST, ports=[{"port": port, "protocol": protocol}], **fields)
    return facts_of(spec_of(database), class_of(allowedCIDRs=["192.0.2.0/24"]), mesh_config=config)


def told(facts: Facts) -> list[str]:
    return [each.message for each in accept(facts).advisories if "begins in plain text" in each.message]


@pytest.mark.parametrize(
    ("config", "addresses", "fate"),
    [
        (MeshConfig(), [], "does not reach the gateway"),
        (MeshConfig("ALLOW_ANY"), [], "goes past the gateway"),
        (MeshConfig("REGISTRY_ONLY"), [], "is refused"),
        (MeshConfig("ALLOW_ANY", dns_capture=True), [], "is refused"),
        (MeshConfig("ALLOW_ANY", dns_capture=True), ["192.0.2.7"], "goes past the gateway"),
    ],
)
def test_what_becomes_of_plain_text_is_said(config: MeshConfig, addresses: list[str], fate: str) -> None:
    """See the case `plain-text-first` for the same in a mesh."""
    [message] = told(world(config, **({"addresses": addresses} if addresses else {})))
    assert f"PostgreSQL on port 5432 usually begins in plain text, and a client that does so {fate};" in message


@pytest.mark.parametrize(("port", "protocol"), [(443, "TLS"), (5432, "TCP")])
def test_other_ports_are_not_told_of(port: int, protocol: str) -> None:
    assert told(world(MeshConfig("ALLOW_ANY"), port, protocol)) == []


@pytest.mark.parametrize(
    ("capture", "port", "addressed"), [(True, 5432, True), (False, 5432, False), (True, 443, False)]
)
def test_host_gets_an_address_that_leads_nowhere_only_where_that_helps(
    capture: bool, port: int, addressed: bool
) -> None:
    """Each address takes the name from pods in ambient mode, too: without DNS capture it would be for nothing."""
    facts = world(MeshConfig(dns_capture=capture), port)
    plan = build_plan(facts, accept(facts))
    [entry] = [each for each in plan.children if each.ref.kind == "ServiceEntry" and each.stage is Stage.CLIENTS]
    assert (WITHOUT_ADDRESS.items() <= entry.values["labels"].items()) is not addressed
