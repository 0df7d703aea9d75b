"""
Ways that must go on working although nobody asks for them any more.

The Gateway, the hop's DestinationRule and the NetworkPolicy hold all ways of a gateway in one object. A way leaves them
only after its clients were told otherwise and istiod has pushed that; until then what is live is carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from egressgateway.facts import Facts
from egressgateway.plan.ir import Stage
from egressgateway.plan.names import LABEL_STAGE, workload_name
from egressgateway.refs import Manifest, ObjectRef


def stage_of(manifest: Manifest) -> Stage:
    """Stage of a live child, from its label; one without counts as foundation, which goes last."""
    label = manifest["metadata"].get("labels", {}).get(LABEL_STAGE, "")
    return next((stage for stage in Stage if stage.label == label), Stage.FOUNDATION)


def ways_of(virtual_service: Manifest) -> Iterator[str]:
    """Names of the hops that a clients' VirtualService sends to."""
    spec = virtual_service.get("spec") or {}
    for route in (*spec.get("http", ()), *spec.get("tls", ()), *spec.get("tcp", ())):
        for target in route.get("route") or ():
            subset = (target.get("destination") or {}).get("subset")
            if subset:
                yield subset


def live_clients(live: Mapping[ObjectRef, Manifest], kind: str) -> list[Manifest]:
    return [found for ref, found in live.items() if ref.kind == kind and stage_of(found) is Stage.CLIENTS]


def ways_in_use(live: Mapping[ObjectRef, Manifest]) -> frozenset[str]:
    """Hops that a live VirtualService of the clients still sends to."""
    return frozenset(way for found in live_clients(live, "VirtualService") for way in ways_of(found))


def retained_servers(facts: Facts, planned: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """Servers of the live Gateway to carry over. `planned` are the hops that the new one has by itself."""
    servers = _live_list(facts, "Gateway", "servers")
    return _retained(facts, planned, {(server.get("port") or {}).get("name", ""): server for server in servers})


def retained_subsets(facts: Facts, planned: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """Subsets of the live hop DestinationRule to carry over."""
    subsets = _live_list(facts, "DestinationRule", "subsets")
    return _retained(facts, planned, {subset.get("name", ""): subset for subset in subsets})


def retained_ports(facts: Facts) -> frozenset[int]:
    """Ports that a live upstream ServiceEntry of the gateway needs: it is pruned first, then the policy narrows."""
    entries = (
        found
        for ref, found in facts.live.items()
        if ref.kind == "ServiceEntry" and stage_of(found) is not Stage.CLIENTS
    )
    ports = (port for entry in entries for port in (entry.get("spec") or {}).get("ports", ()))
    return frozenset(port.get("targetPort") or port["number"] for port in ports)


def _live_list(facts: Facts, kind: str, field: str) -> list[dict[str, Any]]:
    found = facts.live.get(ObjectRef(kind, facts.key.namespace, workload_name(facts.key)), {})
    items: list[dict[str, Any]] = (found.get("spec") or {}).get(field) or []
    return items


def _retained(facts: Facts, planned: Iterable[str], named: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    wanted = frozenset(planned)
    in_use = ways_in_use(facts.live)
    return tuple(
        item
        for name, item in sorted(named.items())
        if name not in wanted and (name in in_use or not facts.clients_settled)
    )
