"""The Envoy clusters that a gateway's proxies must have, by what was written for them."""

from __future__ import annotations

from collections.abc import Mapping

from egressgateway.live.children import hosts_of, section_of, stage_of
from egressgateway.names import envoy_cluster
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage


def exits_of(live: Mapping[ObjectRef, Manifest]) -> Mapping[str, frozenset[str]]:
    """
    By section, the clusters that istiod makes of the gateway's own entries for destinations, and of their subsets.

    A proxy that has them was pushed what the gateway's side holds: a push has all of it, clusters first (Envoy, "xDS
    REST and gRPC protocol", eventual consistency).
    """
    subsets = _subsets_by_host(live)
    found: dict[str, frozenset[str]] = {}
    for ref, entry in live.items():
        if ref.kind != "ServiceEntry" or stage_of(entry) is Stage.CLIENTS:
            continue
        clusters = frozenset(
            envoy_cluster(port["number"], subset, host)
            for host in hosts_of(entry)
            for port in (entry.get("spec") or {}).get("ports") or ()
            for subset in ("", *subsets.get(host, ()))
        )
        section = section_of(entry)
        found[section] = found.get(section, frozenset()) | clusters
    return found


def _subsets_by_host(live: Mapping[ObjectRef, Manifest]) -> Mapping[str, tuple[str, ...]]:
    rules = (found.get("spec") or {} for ref, found in live.items() if ref.kind == "DestinationRule")
    return {
        rule["host"]: tuple(subset["name"] for subset in rule.get("subsets") or ()) for rule in rules if "host" in rule
    }
