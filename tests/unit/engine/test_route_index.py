"""Routes of others: which count, whom they concern, and how little is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.route_index import RouteIndex, keep_needed, route_of, steers_of
from egressgateway.facts import Rights, UnmanagedRoute
from egressgateway.names import child_labels
from egressgateway.namespaces import EVERYONE
from egressgateway.refs import Key, Manifest, ObjectRef
from unit.objects import owner_reference

ME = Key("shop", "me")
HOST = "a.example.com"


def route(
    kind: str = "VirtualService", *, namespace: str = "shop", metadata: Manifest | None = None, **spec: Any
) -> Manifest:
    named = {"namespace": namespace, "name": "theirs", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": named | {"uid": "u", "resourceVersion": "7"} | (metadata or {}),
        "spec": {"hosts": [HOST]} | spec,
    }


def owned() -> Manifest:
    owner = owner_reference(ME.name, "1")
    return {"ownerReferences": [owner], "labels": child_labels(ME)}


NOTHING = Rights()
CLAIMED = Rights({HOST: {"shop": datetime(2026, 1, 1, tzinfo=UTC)}})


def nothing(_: Key) -> Rights:
    """Nobody has claimed anything."""
    return NOTHING


def claimed(_: Key) -> Rights:
    """Everybody has claimed the host in its own namespace."""
    return CLAIMED


def foreign_route(manifest: Manifest) -> UnmanagedRoute | None:
    found = route_of(manifest)
    return None if found is None else found.found


def added(manifest: Manifest) -> Change:
    return Change("ADDED", None, manifest, listed=False)


@pytest.mark.parametrize(
    ("exported", "seen"),
    [
        (None, {"*"}),
        ([], {"*"}),
        (["*"], {"*"}),
        (["lab", "*"], {"*"}),
        (["."], {"shop"}),
        ([".", "lab"], {"shop", "lab"}),
        (["~"], set()),
    ],
)
def test_foreign_route_is_seen_where_it_is_exported_to(exported: list[str] | None, seen: set[str]) -> None:
    """As Istio reads `exportTo`: absent means everybody."""
    found = foreign_route(route(**({} if exported is None else {"exportTo": exported})))
    ref = ObjectRef("VirtualService", "shop", "theirs")
    assert found == UnmanagedRoute(ref, frozenset({HOST}), frozenset(seen), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("gateways", "counts"),
    [(None, True), ([], True), (["mesh"], True), (["ingress/public", "mesh"], True), (["ingress/public"], False)],
)
def test_virtual_service_counts_when_sidecars_go_by_it(gateways: list[str] | None, counts: bool) -> None:
    """One for gateways alone takes nothing from clients."""
    found = foreign_route(route(**({} if gateways is None else {"gateways": gateways})))
    assert (found is not None) == counts


def test_delegate_without_hosts_counts_for_nothing() -> None:
    """It routes what another VirtualService gives it."""
    assert foreign_route(route(hosts=[])) is None


def test_a_route_that_its_owner_has_claimed_is_not_foreign() -> None:
    """Nor is one of the object's own; there the claims decide. Where nothing is claimed it takes the host."""
    routes = RouteIndex()
    wide = route(metadata=owned(), exportTo=[".", "lab"])
    routes.take(added(wide), claimed)
    assert routes.for_names([HOST], ME, nothing) == ()
    [found] = routes.for_names([HOST], Key("lab", "other"), claimed)
    assert found.visible_in == {"lab"}
    [found] = routes.for_names([HOST], Key("lab", "other"), nothing)
    assert found.visible_in == {"lab", "shop"}


@pytest.mark.parametrize("namespace", ["shop", "lab"])
def test_labels_do_not_hide_a_route(namespace: str) -> None:
    """Anybody can set them, in a namespace of his own too, and the route takes the host all the same."""
    routes = RouteIndex()
    forged = route(namespace=namespace, metadata={"labels": child_labels(ME)})
    assert routes.take(added(forged), claimed).unclaimed == {HOST: EVERYONE}
    [found] = routes.for_names([HOST], ME, claimed)
    assert found.ref.namespace == namespace


def test_an_owner_that_there_is_not_hides_no_route() -> None:
    """It has claimed nothing."""
    routes = RouteIndex()
    assert routes.take(added(route(metadata=owned())), nothing).unclaimed == {HOST: EVERYONE}
    assert len(routes.for_names([HOST], Key("shop", "other"), nothing)) == 1


def test_little_is_kept_of_a_foreign_route() -> None:
    """A large mesh has thousands; ours are kept whole, because they are compared whole."""
    large = route(
        "ServiceEntry",
        metadata={"annotations": {"a": "b" * 1000}, "labels": {"team": "x"}},
        exportTo=["."],
        ports=[{"number": 80, "protocol": "HTTP"}],
        endpoints=[{"address": "192.0.2.1"}],
    )
    kept = keep_needed(large)
    assert kept["spec"] == {"hosts": [HOST], "exportTo": ["."]}
    assert kept["metadata"].keys() == {"namespace", "name", "uid", "creationTimestamp", "resourceVersion"}
    assert foreign_route(kept) == foreign_route(large)
    assert keep_needed(kept) == kept
    ours = route(metadata=owned(), http=[{}])
    assert keep_needed(ours) == ours


def test_routes_are_found_by_host_and_below_a_wildcard() -> None:
    """A wildcard of theirs takes nothing from a host of ours: the more specific name wins."""
    routes = RouteIndex()
    assert routes.take(added(route()), nothing).unclaimed == {HOST: EVERYONE}
    assert [found.ref.name for found in routes.for_names([HOST], ME, nothing)] == ["theirs"]
    assert len(routes.for_names(["*.example.com"], ME, nothing)) == 1
    assert routes.for_names(["b.example.com"], ME, nothing) == ()
    routes.take(Change("MODIFIED", route(), route(hosts=["*.example.com"]), listed=False), nothing)
    assert routes.for_names([HOST], ME, nothing) == ()


def test_route_follows_its_object() -> None:
    """Old and new hosts are concerned by a change; what changes nothing concerns nobody."""
    routes = RouteIndex()
    routes.take(added(route()), nothing)
    assert routes.take(Change("MODIFIED", route(), route(http=[{}]), listed=False), nothing).unclaimed == {}
    moved = route(hosts=["b.example.com"])
    assert routes.take(Change("MODIFIED", route(), moved, listed=False), nothing).unclaimed == {
        HOST: EVERYONE,
        "b.example.com": EVERYONE,
    }
    ours = route(metadata=owned(), exportTo=["."])
    assert routes.take(Change("MODIFIED", moved, ours, listed=False), claimed).unclaimed == {"b.example.com": EVERYONE}
    assert routes.take(Change("DELETED", ours, None, listed=False), claimed).unclaimed == {}
    assert routes.for_names([HOST, "b.example.com"], ME, nothing) == ()


def test_steers_are_hosts_by_namespace_of_clients() -> None:
    """Private names, and routes inside the gateway, steer nobody."""
    found = steers_of(
        [
            route(gateways=["mesh"], exportTo=["."], hosts=[HOST, "http-80.a.me.shop.egress.internal"]),
            route(gateways=["mesh"], exportTo=["lab"], hosts=[HOST]),
            route(gateways=["shop/me-egress"], hosts=["inside.example.com"]),
        ]
    )
    assert found == {HOST: frozenset({"shop", "lab"})}


TCP = [{"number": 5432, "name": "tcp-pg", "protocol": "TCP"}, {"number": 443, "name": "tls", "protocol": "TLS"}]


def test_entry_without_addresses_takes_its_tcp_ports_whole() -> None:
    """Found by the number, whatever its hosts are, as long as it has no addresses and is no child of ours."""
    index, ref = RouteIndex(), ObjectRef("ServiceEntry", "legacy", "theirs")
    theirs = route("ServiceEntry", namespace="legacy", ports=TCP, exportTo=["shop"])
    assert index.take(added(theirs), nothing).ports == {5432: frozenset({"shop"})}
    assert [(each.ref, each.tcp_ports) for each in index.on_ports({5432, 443})] == [(ref, frozenset({5432}))]
    assert index.on_ports({443}) == ()
    addressed = route("ServiceEntry", namespace="legacy", ports=TCP, addresses=["192.0.2.1"])
    assert index.take(Change("MODIFIED", theirs, addressed, listed=False), nothing).ports == {5432: frozenset({"shop"})}
    assert index.on_ports({5432}) == ()
    ours = route("ServiceEntry", metadata=owned(), ports=TCP)
    assert index.take(added(ours), nothing).ports == {}
    assert index.on_ports({5432}) == ()


@pytest.mark.parametrize("protocol", ["tcp", "Mongo", "", None])
def test_protocols_are_read_as_istio_reads_them(protocol: str | None) -> None:
    """In any case; and what is to be detected is TCP where it is no HTTP."""
    port = {"number": 5432, "name": "p", **({} if protocol is None else {"protocol": protocol})}
    index = RouteIndex()
    index.take(added(keep_needed(route("ServiceEntry", ports=[port]))), nothing)
    assert [each.tcp_ports for each in index.on_ports({5432})] == [{5432}]


def test_ports_that_are_kept_of_an_entry_are_few_and_bare() -> None:
    """A name, a target port, a thousand others: what is not read is not remembered; twice as once."""
    many = [{"number": number, "name": f"p{number}", "protocol": "TCP", "targetPort": 1} for number in range(1, 1001)]
    kept = keep_needed(route("ServiceEntry", ports=[*TCP, *many]))
    assert kept["spec"]["ports"] == [{"number": number, "protocol": "TCP"} for number in range(1, 257)]
    assert keep_needed(kept) == kept
    for spec in ({"ports": TCP[1:]}, {"ports": TCP, "addresses": ["192.0.2.1"]}):
        assert keep_needed(route("ServiceEntry", **spec))["spec"].keys() == {"hosts"}
