"""What is kept of what arrives, and how much of one namespace's."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION
from egressgateway.api.status import REQUEST_LIMIT
from egressgateway.engine.cache.budget import MOST_LEFT_OUT, NamespaceBudget, cost_of
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.keeping import (
    LEFT_OUT,
    LONGEST_ANNOTATION,
    is_left_out,
    keep_of_child,
    keep_of_class,
    keep_of_connection,
    keep_of_gateway,
    keep_of_namespace,
)
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.engine.cache.route_index import keep_needed
from egressgateway.engine.reconcile.reconcile_request import ANNOTATION
from egressgateway.live.controller_status import WRITTEN_AT
from egressgateway.refs import Key, ObjectRef

FAT = {"x": "y" * 250_000, "kubectl.kubernetes.io/last-applied-configuration": "z" * 100}
LABELS = {
    "app.kubernetes.io/managed-by": "egressgateway-operator",
    "egressgateway.dev/gateway": "partners",
    "egressgateway.dev/namespace": "shop",
}


def child(name: str = "a", namespace: str = "shop", kind: str = "ServiceAccount", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1", "labels": dict(LABELS)}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}


def fat(manifest: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {**FAT, **annotations}}}


@pytest.mark.parametrize("keep", [keep_of_child, keep_of_class, keep_of_gateway, keep_of_namespace, keep_needed])
def test_nothing_of_a_fat_annotation_is_kept(keep: Any) -> None:
    """Whatever the kind, and whatever its labels claim: a quarter of a megabyte that nobody reads goes at once."""
    kept = keep(fat(child(kind="VirtualService")))
    assert cost_of(kept) < 5_000
    assert kept["metadata"]["name"] == "a"


def test_annotations_that_somebody_reads_are_kept() -> None:
    """A request for a pass, cut to what a status can answer; the mark of the default class; what a spec may ask for."""
    asked = keep_of_gateway(fat(child(), **{ANNOTATION: "r" * 10_000}))
    assert asked["metadata"]["annotations"] == {ANNOTATION: "r" * REQUEST_LIMIT}
    marked = keep_of_class(fat(child(), **{DEFAULT_CLASS_ANNOTATION: "true"}))
    assert marked["metadata"]["annotations"] == {DEFAULT_CLASS_ANNOTATION: "true"}
    wanted = {"load-balancer": "v" * LONGEST_ANNOTATION, "egressgateway.dev/digest": "0"}
    assert keep_of_child(fat(child(), **wanted))["metadata"]["annotations"] == wanted


def written(time: str, **entry: Any) -> dict[str, Any]:
    """An entry of `managedFields`."""
    return {"manager": "m", "operation": "Update", "time": time, **entry}


def test_times_of_writes_to_spec_and_status_are_kept() -> None:
    """The last of each, however many managers there are; a label that somebody sets pushes nothing to APISIX."""
    route = child(kind="ApisixRoute")
    route["metadata"]["managedFields"] = [
        written("2026-01-01T00:00:05Z", fieldsV1={"f:spec": {"f:http": {}}}),
        written("2026-01-01T00:00:03Z", fieldsV1={"f:spec": {"f:http": {}}, "f:metadata": {}}),
        written("2026-01-01T00:00:09Z", fieldsV1={"f:metadata": {"f:labels": {}}}),
        written("2026-01-01T00:00:07Z", subresource="status", fieldsV1={"f:status": {}}),
        {"fieldsV1": {"f:spec": {}}, "time": "yesterday"},
        "damaged",
    ]
    kept = keep_of_child(route, with_status=True)
    assert kept["metadata"][WRITTEN_AT] == {"spec": "2026-01-01T00:00:05Z", "status": "2026-01-01T00:00:07Z"}
    assert keep_of_child(kept, with_status=True) == kept
    assert WRITTEN_AT not in keep_of_child({**route, "kind": "VirtualService"})["metadata"]


def test_caches_have_the_times_of_writes() -> None:
    """By an event, by an answer to a write, and by a list: nowhere are they lost before they are read."""

    def route(version: str, time: str) -> dict[str, Any]:
        found = child(kind="ApisixRoute", spec={"http": []})
        fields = [written(time, fieldsV1={"f:spec": {"f:http": {}}})]
        return {**found, "metadata": {**found["metadata"], "resourceVersion": version, "managedFields": fields}}

    caches = Caches()
    store = caches.children["ApisixRoute"]
    caches.put_child("ApisixRoute", route("1", "2026-01-01T00:00:01Z"))
    found = store.get("shop", "a")
    assert found is not None
    assert found["metadata"][WRITTEN_AT] == {"spec": "2026-01-01T00:00:01Z"}
    for version, time in (("1", "2026-01-01T00:00:01Z"), ("2", "2026-01-01T00:00:02Z")):
        store.begin_list()
        held = store.gathering()
        store.replace([held(route(version, time))])
        found = store.get("shop", "a")
        assert found is not None
        assert found["metadata"][WRITTEN_AT] == {"spec": time}
        assert "managedFields" not in found["metadata"]


def test_key_of_an_admin_api_is_not_kept() -> None:
    """Of a GatewayProxy only its name and times, of an IngressClass whose it is and what it refers to."""
    auth = {"auth": {"type": "AdminKey", "adminKey": {"value": "secret"}}}
    proxy = child(kind="GatewayProxy", spec={"provider": {"type": "ControlPlane", "controlPlane": auth}})
    assert "secret" not in str(keep_of_connection(proxy))
    named = {"apiGroup": "apisix.apache.org", "kind": "GatewayProxy", "namespace": "a", "name": "b"}
    kept = keep_of_connection(child(kind="IngressClass", spec={"controller": "c" * 9999, "parameters": named}))
    assert kept["spec"] == {"controller": "c" * 253, "parameters": named}
    assert keep_of_connection(kept) == kept


def test_status_of_a_gateway_proxy_is_no_change() -> None:
    """The controller writes it after each round of pushes: nobody is woken up, and no push is waited for anew."""

    def proxy(version: str, spec: str, status: str) -> dict[str, Any]:
        found = child("config", kind="GatewayProxy", spec={"provider": {"type": "ControlPlane"}})
        fields = [
            written(spec, fieldsV1={"f:spec": {}}),
            written(status, subresource="status", fieldsV1={"f:status": {}}),
        ]
        return {**found, "metadata": {**found["metadata"], "resourceVersion": version, "managedFields": fields}}

    key, ref = Key("shop", "partners"), ObjectRef("GatewayProxy", "shop", "config")
    cache = ReferenceCache()
    cache.want(key, {ref})
    assert cache.put(ref, keep_of_connection(proxy("1", "2026-01-01T00:00:01Z", "2026-01-01T00:00:01Z"))) == {key}
    later = keep_of_connection(proxy("2", "2026-01-01T00:00:01Z", "2026-01-01T00:00:09Z"))
    assert later["metadata"][WRITTEN_AT] == {"spec": "2026-01-01T00:00:01Z"}
    assert cache.put(ref, later) == frozenset()
    assert cache.put(ref, keep_of_connection(proxy("3", "2026-01-01T00:00:10Z", "2026-01-01T00:00:09Z"))) == {key}


def test_ours_is_kept_beside_any_number_of_annotations() -> None:
    """Thousands of short annotations do not hide the digest of what was written."""
    many = {f"a{number}": "v" for number in range(5_000)}
    kept = keep_of_child(fat(child(), **many, **{"egressgateway.dev/digest": "0"}))["metadata"]["annotations"]
    assert len(kept) < 100
    assert kept["egressgateway.dev/digest"] == "0"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
METADATA = st.fixed_dictionaries(
    {"name": st.just("a"), "namespace": st.just("shop")},
    optional=dict.fromkeys(
        ("annotations", "labels", "ownerReferences", "finalizers", "uid", "managedFields", "creationTimestamp"), JSON
    ),
)


@given(st.fixed_dictionaries({"metadata": METADATA}, optional={"spec": JSON, "status": JSON, "kind": st.text()}))
def test_keeping_never_fails(manifest: dict[str, Any]) -> None:
    """An object that passed by a damaged CRD is kept like any other."""
    for keep in (keep_of_child, keep_of_class, keep_of_connection, keep_of_gateway, keep_of_namespace):
        assert keep(manifest)["metadata"]["name"] == "a"


def test_cost_is_about_what_an_object_takes() -> None:
    """Many small values take twenty times their text: they are counted, too."""

    def size(value: Any) -> int:
        if isinstance(value, dict):
            return sys.getsizeof(value) + sum(size(each) for each in value.values())
        if isinstance(value, list):
            return sys.getsizeof(value) + sum(map(size, value))
        return sys.getsizeof(value)

    for spec in (
        {"text": [f"{n:04}" for n in range(5_000)]},
        {"rules": [{} for _ in range(5_000)]},
        {"text": "x" * 99_999},
    ):
        manifest = child(spec=spec)
        assert 0.5 < cost_of(manifest) / size(manifest) < 2


def forged(number: int, namespace: str = "intruder") -> dict[str, Any]:
    return child(f"f{number}", namespace, spec={"text": "x" * 100_000})


def test_namespace_pays_for_itself_alone() -> None:
    """A thousand forged children of 100 kB fill their own namespace's allowance; others' objects keep their bodies."""
    caches = Caches(namespace_bytes=1 << 20)
    for number in range(1_000):
        caches.put_child("ServiceAccount", forged(number))
    caches.put_child("ServiceAccount", forged(0, "shop"))
    kept = [not is_left_out(each) for each in caches.children["ServiceAccount"]]
    assert len(kept) == 1_001
    assert sum(kept[:-1]) == 10
    assert kept[-1]
    assert caches.children_budget.left_out("intruder") == 990
    assert caches.children_budget.left_out("shop") == 0
    assert caches.children_budget.namespaces_over == {"intruder"}


def test_what_is_left_out_can_still_be_found_and_deleted() -> None:
    """Of a child without a body there is its name, whose it is, and its uid."""
    caches = Caches(namespace_bytes=1)
    caches.put_child("ServiceAccount", child())
    ((_, found),) = caches.children_of(Key("shop", "partners")).items()
    assert LEFT_OUT in found
    assert found["metadata"]["uid"] == "a"


def test_allowance_is_given_back() -> None:
    """What is deleted, or became smaller, makes room."""
    budget_of = Caches(namespace_bytes=1 << 20)
    store, budget = budget_of.children["ServiceAccount"], budget_of.children_budget
    for number in range(20):
        store.put(forged(number))
    assert budget.left_out("intruder") == 10
    for number in range(20):
        store.remove(forged(number))
    assert not budget.namespaces_over
    assert store.put(forged(30)) is not None
    assert not is_left_out(next(iter(store)))


def test_objects_without_number_are_not_cached_at_all() -> None:
    """Even a name takes memory."""
    budget = NamespaceBudget(1)
    kept = [budget.take("x", child(str(number))) for number in range(MOST_LEFT_OUT + 10)]
    assert kept.count(None) == 10


def test_object_larger_than_any_child_is_none() -> None:
    """A body of a megabyte in a million pieces is no child of ours, however much memory is left."""
    budget = NamespaceBudget(1 << 40)
    kept = budget.take("x", child(spec={"hosts": ["a"] * 500_000}))
    assert kept is not None
    assert is_left_out(kept)


def test_list_is_gathered_within_the_allowance() -> None:
    """What is listed is held as thin as it will be kept, page by page: before the last page there is no store yet."""
    caches = Caches(namespace_bytes=1 << 20)
    store = caches.children["ServiceAccount"]
    store.begin_list()
    held = store.gathering()
    listed = [held(forged(number)) for number in range(100)]
    assert sum(map(cost_of, listed)) < 2 << 20
    assert len(store.replace(listed)) == 100
    assert caches.children_budget.left_out("intruder") == 90


def test_child_of_a_damaged_shape_is_left_to_its_namespace() -> None:
    """Trimming and charging look into nothing that they do not check."""
    caches = Caches()
    caches.put_child("Deployment", {**child(kind="Deployment"), "spec": [], "status": "x"})
    assert len(caches.children["Deployment"]) == 1


def test_hosts_cost_what_it_takes_to_find_them() -> None:
    """A megabyte of names takes thirty times as much in the index, so that a namespace has 60,000 of them at most."""
    caches = Caches()
    for number in range(8):
        hosts = [f"{n}.w{number}.example.com" for n in range(10_000)]
        manifest = child(f"wide-{number}", kind="VirtualService", spec={"hosts": hosts})
        manifest["metadata"] |= {"labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"}
        change = caches.children["VirtualService"].put(manifest)
        assert change is not None
        caches.affected_by_route(change)
    kept = [each for each in caches.children["VirtualService"] if not is_left_out(each)]
    assert len(kept) == 6


def test_route_of_a_full_namespace_is_found_by_its_hosts() -> None:
    """Whoever fills his own namespace's memory hides no route by which he takes others' requests."""
    caches = Caches(namespace_bytes=1 << 20)
    for number in range(20):
        caches.put_child("ServiceAccount", forged(number))
    for number in range(100):
        caches.put_child("ServiceAccount", child(f"small-{number}", "intruder"))
    spec = {"hosts": ["bank.example.com"], "exportTo": ["*"], "http": [{"route": [{}]}]}
    thief = child("thief", "intruder", "VirtualService", spec=spec)
    thief["metadata"] |= {"labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"}
    caches.put_child("VirtualService", thief)
    assert is_left_out(caches.children["VirtualService"].get("intruder", "thief") or {})
    [found] = caches.routes.for_names(["bank.example.com"], Key("shop", "partners"), caches.rights_of)
    assert (found.ref.name, found.visible_in) == ("thief", {"*"})


def test_what_guards_need_has_an_allowance_of_its_own() -> None:
    """A fourth of the namespace's; what is above is known by its name, which is short whatever hangs on it."""
    caches = Caches(namespace_bytes=1 << 20)
    labels = {f"egressgateway.dev/{number}": "x" * 60 for number in range(2_000)}
    for number in range(400):
        hosts = [f"{host}.w{number}.example.com" for host in range(50)]
        wide = child(f"wide-{number}", "intruder", "VirtualService", spec={"hosts": hosts})
        wide["metadata"] |= {"finalizers": [f"example.com/{each}" for each in range(1_000)], "labels": labels}
        wide["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        caches.put_child("VirtualService", wide)
    held = list(caches.children["VirtualService"])
    assert len(held) == 400
    assert sum(map(cost_of, held)) < (1 << 20) * 5 // 4 + 400 * 4096
    assert any("spec" not in each for each in held)


def test_allowance_of_what_guards_need_is_given_back() -> None:
    """Nothing is left of it when the objects are gone."""
    budget = NamespaceBudget(8_192)
    for number in range(4):
        budget.take("x", child(str(number), kind="VirtualService", spec={"hosts": ["a"] * 20, "x": "y" * 9_000}))
    for number in range(4):
        budget.give_back("x", ("shop", str(number)))
    assert not budget.namespaces_over
    assert not budget._guarded
    assert not budget._used


def test_what_was_left_out_is_whole_again_once_there_is_memory() -> None:
    """As the message advises: delete some. The next list shows the others, in the version that is known."""
    caches = Caches(namespace_bytes=1 << 20)
    store = caches.children["ServiceAccount"]
    for number in range(20):
        store.put(forged(number))
    assert caches.children_budget.left_out("intruder") == 10
    assert not store.wants_list()
    for number in range(8):
        store.remove(forged(number))
    assert store.wants_list()
    store.begin_list()
    held = store.gathering()
    changes = store.replace([held(forged(number)) for number in range(8, 14)])
    assert [change.object["metadata"]["name"] for change in changes if change.event == "MODIFIED"] == [
        "f10",
        "f11",
        "f12",
        "f13",
    ]
    assert not caches.children_budget.namespaces_over
    assert not store.wants_list()


def test_object_that_is_too_large_in_itself_is_no_news_at_each_list() -> None:
    """There is memory, and it is left out all the same: nobody is woken up for it."""
    caches = Caches()
    store = caches.children["ServiceAccount"]
    wide = child("wide", spec={"hosts": ["a"] * 500_000})
    store.put(wide)
    store.begin_list()
    assert store.replace([store.gathering()(wide)]) == []
    assert not store.wants_list()
