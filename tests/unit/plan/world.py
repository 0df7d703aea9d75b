"""Facts for tests of the planner, written the way an author writes objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import parse_class_spec, parse_spec
from egressgateway.facts import ClassFacts, Facts, GatewayFacts, WorkloadFacts
from egressgateway.refs import Key
from egressgateway.settings import MeshSettings
from unit import objects

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key("shop", "partners")
SERVING = WorkloadFacts(replicas=2, ready=2, complete=True)


def destination(name: str = "api", host: str = "api.example.com", **fields: Any) -> dict[str, Any]:
    """One destination, by default with one HTTP port."""
    return objects.destination(name, host, **fields)


def spec_of(*destinations: dict[str, Any], **fields: Any) -> EgressGatewaySpec:
    """A spec; without destinations and `expose` it has the one of `destination`."""
    wanted = destinations or (() if "expose" in fields else (destination(),))
    parsed = parse_spec({**({"destinations": list(wanted)} if wanted else {}), **fields})
    assert not isinstance(parsed, tuple), parsed
    return parsed


def class_of(**fields: Any) -> EgressGatewayClassSpec:
    parsed = parse_class_spec(fields)
    assert not isinstance(parsed, tuple), parsed
    return parsed


def facts_of(
    spec: EgressGatewaySpec | None = None,
    class_spec: EgressGatewayClassSpec | None = None,
    *,
    gateway: GatewayFacts | None = None,
    namespaces: Mapping[str, Mapping[str, str]] | None = None,
    status: Mapping[str, Any] | None = None,
    **more: Any,
) -> Facts:
    """An object in a mesh that serves: `gateway`, or one of namespace `shop` with that `spec` and `status`."""
    found = gateway or GatewayFacts(KEY, "u", 1, NOW, spec, status=status or {})
    known = {found.key.namespace: {}, **(namespaces or {})}
    facts = Facts(
        now=NOW,
        gateway=found,
        class_=ClassFacts("standard", class_spec or EgressGatewayClassSpec()),
        mesh=MeshSettings(),
        namespace_labels=known[found.key.namespace],
        namespaces=known,
        workload=SERVING,
    )
    return replace(facts, **more)
