"""Clusters that a gateway's proxies must have, by what lives."""

from __future__ import annotations

from typing import Any

from egressgateway.live.exits import exits_of
from egressgateway.refs import Manifest, ObjectRef, ref_of

UPSTREAM = "tls-443.api.example.com.partners.shop.egress.internal"


def child(kind: str, name: str, spec: dict[str, Any], *, part: str, stage: str = "foundation") -> Manifest:
    labels = {"egressgateway.dev/stage": stage, "egressgateway.dev/part": part}
    return {"kind": kind, "metadata": {"namespace": "shop", "name": name, "labels": labels}, "spec": spec}


def live(*manifests: Manifest) -> dict[ObjectRef, Manifest]:
    return {ref_of(each): each for each in manifests}


def test_each_port_and_subset_of_the_gateways_entries_is_a_cluster() -> None:
    """Of an entry with subsets requests use these alone. Clients' entries are none: their proxies have them."""
    entry = child("ServiceEntry", "a", {"hosts": [UPSTREAM], "ports": [{"number": 443}, {"number": 8443}]}, part="api")
    rule = child("DestinationRule", "a", {"host": UPSTREAM, "subsets": [{"name": "tls"}]}, part="api")
    other = child("ServiceEntry", "b", {"hosts": ["b.internal"], "ports": [{"number": 80}]}, part="plain")
    clients = child(
        "ServiceEntry", "c", {"hosts": ["api.example.com"], "ports": [{"number": 443}]}, part="api", stage="clients"
    )
    assert exits_of(live(entry, rule, other, clients), "shop") == {
        "api": {f"outbound|443|tls|{UPSTREAM}", f"outbound|8443|tls|{UPSTREAM}"},
        "plain": {"outbound|80||b.internal"},
    }


def test_only_what_proxies_of_the_place_see_counts() -> None:
    """While the class changes there are entries for both gateways, and each has pods elsewhere."""
    port = [{"number": 443}]
    own = child("ServiceEntry", "a", {"hosts": ["a.internal"], "ports": port, "exportTo": ["."]}, part="api")
    shared = child("ServiceEntry", "b", {"hosts": ["b.internal"], "ports": port, "exportTo": ["edge"]}, part="api")
    assert exits_of(live(own, shared), "shop") == {"api": {"outbound|443||a.internal"}}
    assert exits_of(live(own, shared), "edge") == {"api": {"outbound|443||b.internal"}}


def test_entry_without_a_body_asks_for_nothing() -> None:
    """There was no memory for it: what it says is not known."""
    entry = child("ServiceEntry", "a", {}, part="api")
    del entry["spec"]
    assert exits_of(live(entry), "shop") == {"api": frozenset()}
