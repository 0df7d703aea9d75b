"""Objects of a shape that no API server of today lets in: each is one object's trouble, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from egressgateway.contention.requested import contention_key_of, requested_of
from egressgateway.diff.changeset import diff
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.reconcile.observe import Observer
from egressgateway.engine.reconcile.state import StateStore
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.refs import Key, Manifest
from egressgateway.settings import Settings
from egressgateway.status.merge import merge_status
from egressgateway.status.summarize import Observed, summarize
from unit import objects

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ODD, SANE = Key("shop", "odd"), Key("shop", "sane")
SPEC: dict[str, Any] = {
    "destinations": [{"name": "api", "hosts": ["api.example.com"], "ports": [{"port": 80, "protocol": "HTTP"}]}]
}
TEXT = st.sampled_from(["", "api", "api.example.com", "shop", "*", "True", "False", "Accepted", "2026-01-01T00:00:00Z"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 99999) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)


def odd(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A mapping each field of which is as it should be, or anything else; or anything instead of the mapping."""
    fields = {name: strategy | ANY for name, strategy in (required | optional).items()}
    whole = st.fixed_dictionaries({name: fields[name] for name in required}, optional={n: fields[n] for n in optional})
    return st.one_of(whole, whole, whole, ANY)


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=2) | ANY


PORT = odd({"port": st.just(80), "protocol": st.just("TCP")}, {"tls": ANY})
DESTINATION = odd({"name": TEXT, "hosts": several(TEXT), "ports": several(PORT)}, {"aliases": several(TEXT)})
EXPOSED = odd({"name": TEXT, "hosts": several(TEXT), "gatewayRef": odd({"name": TEXT}, {"namespace": TEXT})}, {})
ENTRY = odd({}, {"namespaces": several(TEXT), "namespaceSelector": ANY, "destinations": several(TEXT)})
ANY_SPEC = odd(
    {"destinations": several(DESTINATION)},
    {"expose": several(EXPOSED), "access": odd({"from": several(ENTRY)}, {}), "className": TEXT, "suspend": ANY},
)
CONDITION = odd({"type": TEXT, "status": TEXT, "reason": TEXT, "lastTransitionTime": TEXT}, {"message": TEXT})
PART = odd({"name": TEXT, "conditions": several(CONDITION)}, {})
ANY_STATUS = odd(
    {"observedGeneration": st.just(1), "conditions": several(CONDITION)},
    {
        "destinations": several(PART),
        "expose": several(PART),
        "claims": several(odd({"host": TEXT, "claimedAt": TEXT}, {"gateway": TEXT})),
        "consumers": several(odd({"namespace": TEXT, "since": TEXT}, {})),
        "remoteChildren": several(odd({"kind": TEXT, "namespace": TEXT, "name": TEXT}, {})),
        "className": TEXT,
    },
)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def gateway(key: Key, spec: Any, status: Any = None) -> Manifest:
    """Of any shape: what was not given is not there in a form of ours."""
    return {**objects.gateway(key, spec), "status": status}


def world() -> Caches:
    caches = Caches()
    caches.namespaces.put({"metadata": {"name": "shop", "labels": None, "resourceVersion": "1"}})
    caches.put_gateway(gateway(SANE, SPEC))
    return caches


def passes(caches: Caches, key: Key) -> tuple[str, ...]:
    """All of a pass but its writes; the names of the destinations that it would serve."""
    observer, memory = Observer(caches, Settings()), StateStore()
    facts = observer.observe(key, memory.of(key, 0.0), NOW, 0.0)
    assert facts is not None
    acceptance = accept(facts)
    plan = build_plan(facts, acceptance)
    diff(plan, (), facts.live, key)
    merge_status(facts.gateway.status, summarize(facts, acceptance, plan, Observed()), 1, NOW)
    return tuple(destination.name for destination in acceptance.served)


@SETTINGS
@given(ANY_SPEC, ANY_STATUS)
@example({"destinations": {"a": "b"}, "access": []}, {"claims": 5, "destinations": [{"name": []}], "conditions": [{}]})
@example({"className": [], "destinations": [{"name": {}, "hosts": "a", "ports": {}}]}, [1])
@example([], "")
def test_object_of_any_shape_is_filed_and_judged(spec: Any, status: Any) -> None:
    """Every reader of raw objects takes it, its own pass ends with a verdict, and the next object is served."""
    caches = world()
    change = caches.put_gateway(gateway(ODD, spec, status))
    assert change is not None
    assert change.new is not None
    requested_of(change.new, caches.namespace_labels())
    contention_key_of(change.new, caches.namespace_labels())
    assert ODD in set(caches.affected_by_gateway(change))
    list(caches.affected_by_namespace(next(iter(caches.namespaces.replace([])))))
    passes(caches, ODD)
    passes(caches, SANE)
    assert caches.remove_gateway(gateway(ODD, spec, status)) is not None
    assert passes(caches, SANE) == ("api",)


ROUTE = odd(
    {"hosts": several(TEXT), "exportTo": several(TEXT)},
    {
        "gateways": several(TEXT),
        "ports": several(odd({"number": st.just(80)}, {"protocol": TEXT})),
        "servers": several(odd({"port": ANY}, {"hosts": several(TEXT)})),
    },
)


NO_PORTS = {
    "hosts": [],
    "ports": [{}, {"number": None}, {"number": 80, "protocol": []}, {"number": 80, "targetPort": {}}],
}


ODD_PORTS = [{}, {"number": None}, {"number": 80, "protocol": []}, {"number": 80, "targetPort": {}}]


@SETTINGS
@example("ServiceEntry", {"hosts": [], "ports": ODD_PORTS}, None, None)
@given(
    st.sampled_from(["VirtualService", "ServiceEntry", "Gateway", "Deployment", "AuthorizationPolicy"]), ROUTE, ANY, ANY
)
def test_route_of_any_shape_takes_nobody_out(kind: str, spec: Any, status: Any, name: Any) -> None:
    """A forged child, or somebody's route, with anything for a spec: the object whose it says it is is judged."""
    caches = world()
    labels = {
        "app.kubernetes.io/managed-by": "egressgateway-operator",
        "egressgateway.dev/gateway": SANE.name,
        "egressgateway.dev/namespace": SANE.namespace,
        "egressgateway.dev/stage": "foundation",
    }
    owner = objects.owner_reference(SANE.name, "x")
    for number, more in enumerate(({"labels": labels}, {"labels": labels, "ownerReferences": [owner]}, {})):
        metadata = {
            "namespace": "shop",
            "name": f"r{number}",
            "uid": f"r{number}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **more,
        }
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec, "status": status}
        change = caches.children[kind].put(manifest)
        assert change is not None
        if kind in ("VirtualService", "ServiceEntry"):
            caches.affected_by_route(change)
        else:
            caches.affected_by_child(change)
    passes(caches, SANE)
