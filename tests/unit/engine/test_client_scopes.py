"""Which objects of other people concern which EgressGateways, and what is known of each consumer namespace."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.client_scopes import ClientScopes
from egressgateway.engine.cache.keeping import with_what_guards_need, without_body
from egressgateway.refs import Key, Manifest, ObjectRef

ROOT = "istio-system"
HOP = "partners-egress.payments.svc.cluster.local"
MINE, OTHER = Key("payments", "partners"), Key("billing", "banks")


class Cluster:
    """Changes by name, as informers bring them."""

    def __init__(self) -> None:
        self.scopes = ClientScopes()
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
    cluster.scopes.of(MINE, HOP, ROOT)
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
    found = cluster.scopes.of(MINE, HOP, ROOT)
    assert {place: scope.sidecar.ref.namespace for place, scope in found.items() if scope.sidecar} == {
        "shop": ROOT,
        "payments": ROOT,
    }
    cluster.sidecar("shop", HIDING)
    own = cluster.scopes.of(MINE, HOP, ROOT)["shop"].sidecar
    assert own is not None
    assert own.ref == ObjectRef("Sidecar", "shop", "default"), "the namespace's own precedes it"


def test_one_for_some_pods_replaces_none_for_all(cluster: Cluster) -> None:
    cluster.sidecar("shop", {**HIDING, "workloadSelector": {"labels": {"app": "cart"}}}, "cart")
    cluster.sidecar(ROOT, HIDING)
    scope = cluster.scopes.of(MINE, HOP, ROOT)["shop"]
    assert scope.sidecar is not None
    assert scope.sidecar.ref.namespace == ROOT
    assert [each.ref.name for each in scope.sidecars] == ["cart"]


def test_rules_are_found_by_the_hop(cluster: Cluster) -> None:
    """Thousands for other Services, or with names that come first, hide none."""
    for number in range(100):
        cluster.rule("shop", {"host": f"s{number}.shop.svc.cluster.local"}, f"a{number:03}")
        cluster.rule("shop", {"host": "*.other.svc.cluster.local"}, f"b{number:03}")
    assert cluster.scopes.of(MINE, HOP, ROOT) == {}
    cluster.rule("shop", {"host": "*.local"}, "z")
    found = cluster.scopes.of(MINE, HOP, ROOT)["shop"].rule
    assert found is not None
    assert found.ref.name == "z"
    cluster.rule("shop", None, "z")
    assert cluster.scopes.of(MINE, HOP, ROOT) == {}


def test_left_out_for_memory_is_not_vouched_for(cluster: Cluster) -> None:
    bare = without_body({"kind": "Sidecar", "metadata": {"namespace": "shop", "name": "default"}})
    assert cluster.scopes.take_sidecar(Change("ADDED", None, bare, listed=False)) == {MINE}
    scope = cluster.scopes.of(MINE, HOP, ROOT)["shop"].sidecar
    assert scope is not None
    assert scope.unread


def test_oldest_of_several_counts(cluster: Cluster) -> None:
    """As istiod has it, whatever their names."""
    for name, created in (("a", "2026-02-01T00:00:00Z"), ("b", "2026-01-01T00:00:00Z")):
        manifest = {"kind": "Sidecar", "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created}}
        cluster.scopes.take_sidecar(Change("ADDED", None, manifest, listed=False))
    scope = cluster.scopes.of(MINE, HOP, ROOT)["shop"].sidecar
    assert scope is not None
    assert scope.ref.name == "b"


def test_rule_left_out_for_memory_counts_by_what_is_kept_of_it(cluster: Cluster) -> None:
    """A user who fills the namespace's memory must not thereby hide it."""
    rule = {"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "x"}, "spec": {"host": "*.local"}}
    kept = with_what_guards_need({**rule, "spec": {"host": "*.local", "subsets": [{"name": "x" * 8192}]}})
    assert cluster.scopes.take_rule(Change("ADDED", None, kept, listed=False)) == {MINE}
    found = cluster.scopes.of(MINE, HOP, ROOT)["shop"].rule
    assert found is not None
    assert (found.host, found.unread) == ("*.local", False)
    cluster.scopes.take_rule(Change("MODIFIED", kept, without_body(rule), listed=False))
    found = cluster.scopes.of(MINE, HOP, ROOT)["shop"].rule
    assert found is not None
    assert found.unread


def test_nothing_is_left_of_what_is_gone(cluster: Cluster) -> None:
    cluster.sidecar("shop", HIDING)
    cluster.rule("shop", {"host": "*.local"})
    cluster.sidecar("shop", None)
    cluster.rule("shop", None)
    for key in (MINE, OTHER):
        cluster.scopes.want(key, frozenset())
    blank = ClientScopes()
    blank.of(MINE, HOP, ROOT)
    assert vars(cluster.scopes) == vars(blank)


def test_replica_that_no_longer_reconciles_forgets_whom_it_served(cluster: Cluster) -> None:
    cluster.scopes.release_all()
    assert cluster.sidecar("shop", HIDING) == set()
    cluster.scopes.want(MINE, {"shop"})
    assert cluster.sidecar("shop", None) == {MINE}
