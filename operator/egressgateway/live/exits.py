"""The Envoy clusters that a gateway's proxies must have, by what was written for them."""

from __future__ import annotations

from collections.abc import Mapping

from egressgateway.live.children import hosts_of, namespaces_of_export, section_of, stage_of
from egressgateway.names import envoy_cluster
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage


def exits_of(live: Mapping[ObjectRef, Manifest], place: str) -> Mapping[str, frozenset[str]]:
    """
    By section, the clusters by which proxies in the namespace `place` leave: of the gateway's entries for destinations,
    as far as proxies there see them. Where an entry has subsets, requests use no other cluster.

    While the class changes, entries of the gateway before are live as well, and its pods may be elsewhere.

    A proxy that has them was pushed what the gateway's side holds: a push has all of it, clusters first (Envoy, "xDS
    REST and gRPC protocol", eventual consistency).
    """
    subsets = _subsets_by_host(live)
    found: dict[str, frozenset[str]] = {}
    for ref, entry in live.items():
        if ref.kind != "ServiceEntry" or stage_of(entry) is Stage.CLIENTS:
            continue
        if not namespaces_of_export(entry, ref.namespace) & {place, EVERY_NAMESPACE}:
            continue
        clusters = frozenset(
            envoy_cluster(port["number"], subset, host)
            for host in hosts_of(entry)
            for port in (entry.get("spec") or {}).get("ports") or ()
            for subset in subsets.get(host) or ("",)
        )
        section = section_of(entry)
        found[section] = found.get(section, frozenset()) | clusters
    return found


def _subsets_by_host(live: Mapping[ObjectRef, Manifest]) -> Mapping[str, tuple[str, ...]]:
    rules = (found.get("spec") or {} for ref, found in live.items() if ref.kind == "DestinationRule")
    return {
        rule["host"]: tuple(subset["name"] for subset in rule.get("subsets") or ()) for rule in rules if "host" in rule
    }
