"""Which objects of other people concern which EgressGateways, and what is known of each consumer namespace."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.client_scopes import ClientScopes
from egressgateway.engine.cache.keeping import without_body
from egressgateway.refs import Key, Manifest, ObjectRef

ROOT = "istio-system"
HOP = "partners-egress.payments.svc.cluster.local"
MINE, OTHER = Key("payments", "partners"), Key("billing", "banks")


class Cluster:
    """Changes by name, as informers bring them."""

    def __init__(self) -> None:
        self.scopes = ClientScopes(ROOT)
        self._known: dict[tuple[str, str, str], Manifest] = {}

    def sidecar(self, namespace: str, spec: dict[str, Any] | None, name: str = "default") -> set[Key]:
        return self.scopes.take_sidecar(self._change("Sidecar", namespace, name, spec))

    def rule(self, namespace: str, spec: dict[str, Any] | None, name: str = "mtls") -> set[Key]:
        return self.scopes.take_rule(self._change("DestinationRule", namespace, name, spec))

    def _change(self, kind: str, namespace: str, name: str, spec: dict[str, Any] | None) -> Change:
        at = kind, namespace, name
        old = self._known.pop(at, None)
        if spec is None:
            return Change("DELETED", old, None, listed=False)
        new = {"kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec}
        self._known[at] = new
        return Change("MODIFIED" if old else "ADDED", old, new, listed=False)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.scopes.want(MINE, {"shop", "payments"})
    cluster.scopes.want(OTHER, {"billing"})
    return cluster


HIDING = {"egress": [{"hosts": ["./*"]}]}


def test_change_concerns_those_that_serve_the_namespace(cluster: Cluster) -> None:
    assert cluster.sidecar("shop", HIDING) == {MINE}
    assert cluster.sidecar("shop", HIDING) == set(), "nothing has changed"
    assert cluster.sidecar("shop", {"egress": [{"hosts": ["*/*"]}]}) == {MINE}
    assert cluster.sidecar("shop", None) == {MINE}
    assert cluster.rule("billing", {"host": "*.local"}) == {OTHER}
    assert cluster.rule("billing", {"host": "reviews"}) == {OTHER}, "it was in the way before"
    assert cluster.rule("billing", {"host": "ratings"}) == set()
    assert cluster.rule("nobody", {"host": "*.local"}) == set()


def test_root_namespace_concerns_everybody(cluster: Cluster) -> None:
    assert cluster.sidecar(ROOT, HIDING) == {MINE, OTHER}
    found = cluster.scopes.of(MINE, HOP)
    assert {place: scope.sidecar.ref.namespace for place, scope in found.items() if scope.sidecar} == {
        "shop": ROOT,
        "payments": ROOT,
    }
    cluster.sidecar("shop", HIDING)
    own = cluster.scopes.of(MINE, HOP)["shop"].sidecar
    assert own is not None
    assert own.ref == ObjectRef("Sidecar", "shop", "default"), "the namespace's own precedes it"


def test_one_for_some_pods_replaces_none_for_all(cluster: Cluster) -> None:
    cluster.sidecar("shop", {**HIDING, "workloadSelector": {"labels": {"app": "cart"}}}, "cart")
    cluster.sidecar(ROOT, HIDING)
    scope = cluster.scopes.of(MINE, HOP)["shop"]
    assert scope.sidecar is not None
    assert scope.sidecar.ref.namespace == ROOT
    assert [each.ref.name for each in scope.sidecars] == ["cart"]


def test_rules_are_found_by_the_hop(cluster: Cluster) -> None:
    """Thousands for other Services, or with names that come first, hide none."""
    for number in range(100):
        cluster.rule("shop", {"host": f"s{number}.shop.svc.cluster.local"}, f"a{number:03}")
        cluster.rule("shop", {"host": "*.other.svc.cluster.local"}, f"b{number:03}")
    assert cluster.scopes.of(MINE, HOP) == {}
    cluster.rule("shop", {"host": "*.local"}, "z")
    assert [rule.ref.name for rule in cluster.scopes.of(MINE, HOP)["shop"].rules] == ["z"]
    cluster.rule("shop", None, "z")
    assert cluster.scopes.of(MINE, HOP) == {}


def test_left_out_for_memory_is_not_vouched_for(cluster: Cluster) -> None:
    bare = without_body({"kind": "Sidecar", "metadata": {"namespace": "shop", "name": "default"}})
    assert cluster.scopes.take_sidecar(Change("ADDED", None, bare, listed=False)) == {MINE}
    scope = cluster.scopes.of(MINE, HOP)["shop"].sidecar
    assert scope is not None
    assert (scope.cut, scope.imports) == (True, ())


def test_nothing_is_left_of_what_is_gone(cluster: Cluster) -> None:
    cluster.sidecar("shop", HIDING)
    cluster.rule("shop", {"host": "*.local"})
    cluster.sidecar("shop", None)
    cluster.rule("shop", None)
    for key in (MINE, OTHER):
        cluster.scopes.want(key, frozenset())
    blank = ClientScopes(ROOT)
    assert vars(cluster.scopes) == vars(blank)


def test_replica_that_no_longer_reconciles_forgets_whom_it_served(cluster: Cluster) -> None:
    cluster.scopes.release_all()
    assert cluster.sidecar("shop", HIDING) == set()
    cluster.scopes.want(MINE, {"shop"})
    assert cluster.sidecar("shop", None) == {MINE}
