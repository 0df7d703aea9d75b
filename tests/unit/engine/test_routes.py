"""Routes of others: which count, whom they concern, and how little is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.routes import Routes, foreign_route, keep_needed, steers_of
from egressgateway.facts import ForeignRoute
from egressgateway.plan.names import child_labels
from egressgateway.refs import Key, Manifest, ObjectRef

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
    owner = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", "name": ME.name, "uid": "1"}
    return {"ownerReferences": [owner], "labels": child_labels(ME)}


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
    assert found == ForeignRoute(ref, frozenset({HOST}), frozenset(seen), datetime(2026, 1, 1, tzinfo=UTC))


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


def test_children_are_not_foreign() -> None:
    """Whichever EgressGateway's they are: with an owner in its namespace, by labels in another."""
    assert foreign_route(route(metadata=owned())) is None
    assert foreign_route(route(namespace="lab", metadata={"labels": child_labels(ME)})) is None


def test_labels_without_an_owner_do_not_hide_a_route() -> None:
    """Anybody can set labels, and the route takes the host all the same."""
    assert foreign_route(route(metadata={"labels": child_labels(ME)})) is not None


def test_little_is_kept_of_a_foreign_route() -> None:
    """A large mesh has thousands; ours are kept whole, because they are compared whole."""
    large = route(
        "ServiceEntry",
        metadata={"annotations": {"a": "b" * 1000}, "labels": {"team": "x"}},
        exportTo=["."],
        ports=[{"number": 80}],
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
    routes = Routes()
    assert routes.take(added(route())) == {HOST}
    assert [found.ref.name for found in routes.for_names([HOST])] == ["theirs"]
    assert len(routes.for_names(["*.example.com"])) == 1
    assert routes.for_names(["b.example.com"]) == ()
    routes.take(Change("MODIFIED", route(), route(hosts=["*.example.com"]), listed=False))
    assert routes.for_names([HOST]) == ()


def test_route_follows_its_object() -> None:
    """Old and new hosts are concerned by a change; what changes nothing concerns nobody."""
    routes = Routes()
    routes.take(added(route()))
    assert routes.take(Change("MODIFIED", route(), route(http=[{}]), listed=False)) == frozenset()
    moved = route(hosts=["b.example.com"])
    assert routes.take(Change("MODIFIED", route(), moved, listed=False)) == {HOST, "b.example.com"}
    assert routes.take(Change("MODIFIED", moved, route(metadata=owned()), listed=False)) == {"b.example.com"}
    assert routes.take(Change("DELETED", route(), None, listed=False)) == frozenset()
    assert routes.for_names([HOST, "b.example.com"]) == ()


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
