"""From caches to facts, and from a change in them to the keys that must be looked at again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from egressgateway.cluster.store import Change
from egressgateway.engine.caches import Caches
from egressgateway.engine.memory import Memory, Progress
from egressgateway.engine.observe import PATIENCE, Observer
from egressgateway.facts import Facts
from egressgateway.plan.names import child_labels
from egressgateway.refs import Key, Manifest
from egressgateway.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME, OTHER = Key("shop", "me"), Key("shop", "other")
HOST = "a.example.com"


def gateway(
    key: Key = ME, *, version: int = 1, status: Manifest | None = None, host: str = HOST, **spec: Any
) -> Manifest:
    ports = [{"port": 80, "protocol": "HTTP"}]
    return {
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": f"{key}",
            "generation": 1,
            "resourceVersion": f"{version}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"destinations": [{"name": "d", "hosts": [host], "ports": ports}], **spec},
        "status": status or {},
    }


def egress_class(
    name: str, *, default: bool = False, created: str = "2026-01-01T00:00:00Z", version: int = 1
) -> Manifest:
    annotations = {"egressgateway.dev/is-default-class": "true"} if default else {}
    metadata = {"name": name, "creationTimestamp": created, "resourceVersion": f"{version}", "annotations": annotations}
    return {"metadata": metadata, "spec": {"deniedHosts": [f"{name}.example"]}}


def deployment(ready: int, replicas: int = 2, version: int = 1) -> Manifest:
    metadata = {"namespace": "shop", "name": "me-egress", "labels": child_labels(ME), "resourceVersion": f"{version}"}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"readyReplicas": ready}}


def facts(
    caches: Caches, *, clock: float = 1000.0, progress: Progress | None = None, settings: Settings | None = None
) -> Facts:
    found = Observer(caches, settings or Settings()).observe(ME, progress or Progress(0.0, 0.0), NOW, clock)
    assert found is not None
    return found


def caches_of(*gateways: Manifest, classes: tuple[Manifest, ...] = ()) -> Caches:
    caches = Caches()
    for manifest in gateways:
        caches.put_gateway(manifest)
    for manifest in classes:
        caches.classes.put(manifest)
    return caches


def test_observe_is_none_without_the_object() -> None:
    """It was deleted, or never was."""
    assert Observer(Caches(), Settings()).observe(ME, Progress(0.0, 0.0), NOW, 0.0) is None


def test_a_name_that_no_child_can_have_is_an_error() -> None:
    """The CRD refuses it; the operator, which may be younger than a stored object, does too."""
    key = Key("shop", "n" * 51)
    found = Observer(caches_of(gateway(key)), Settings()).observe(key, Progress(0.0, 0.0), NOW, 0.0)
    assert found is not None
    assert found.gateway.spec is None
    assert [error.field for error in found.gateway.errors] == ["metadata.name"]


def test_class_named_is_that_class() -> None:
    """And one that is not there has no spec."""
    caches = caches_of(gateway(className="a"), classes=(egress_class("a"), egress_class("b", default=True)))
    assert facts(caches).class_.name == "a"
    missing = facts(caches_of(gateway(className="gone"), classes=(egress_class("b", default=True),))).class_
    assert (missing.name, missing.spec) == ("gone", None)


def test_class_absent_is_the_oldest_default_then_by_name() -> None:
    """Of several defaults everybody must choose the same."""
    young = egress_class("a", default=True, created="2026-02-01T00:00:00Z")
    old = [egress_class(name, default=True) for name in ("c", "b")]
    assert facts(caches_of(gateway(), classes=(young, *old, egress_class("x")))).class_.name == "b"


def test_class_absent_is_the_built_in_one_unless_it_is_switched_off_or_there_was_another() -> None:
    """An object that had a class never falls back: the built-in one may allow what that denied."""
    built_in = facts(caches_of(gateway())).class_
    assert built_in.name == ""
    assert built_in.spec is not None
    assert facts(caches_of(gateway()), settings=Settings(built_in_class=False)).class_.spec is None
    had = facts(caches_of(gateway(status={"className": "guarded"}))).class_
    assert (had.name, had.spec) == ("guarded", None)


def test_settled_is_a_matter_of_the_grace() -> None:
    """After a restart everything counts as written just then."""
    progress = Progress(gateway_written_at=999.0, clients_written_at=990.0)
    found = facts(caches_of(gateway()), progress=progress)
    assert (found.gateway_settled, found.clients_settled) == (False, True)
    fresh = Memory().of(ME, 1000.0)
    found = facts(caches_of(gateway()), progress=fresh)
    assert (found.gateway_settled, found.clients_settled) == (False, False)


def test_one_pod_of_two_is_waited_for_but_not_for_ever() -> None:
    """Alone it may be too few for all the traffic; after a while it is better than none."""
    caches, progress = caches_of(gateway()), Progress(0.0, 0.0)
    caches.put_child("Deployment", deployment(0))
    assert (facts(caches, progress=progress).workload.ready, facts(caches, progress=progress).workload.complete) == (
        0,
        False,
    )
    caches.put_child("Deployment", deployment(1, version=2))
    assert not facts(caches, progress=progress, clock=1000).workload.complete
    assert facts(caches, progress=progress, clock=1000 + PATIENCE.total_seconds()).workload.complete
    caches.put_child("Deployment", deployment(2, version=3))
    assert facts(caches, progress=Progress(0.0, 0.0)).workload.complete


def test_rivals_are_those_of_the_namespace_with_a_name_in_common() -> None:
    """With what they want, claim and steer."""
    claims = {"claims": [{"host": HOST, "claimedAt": "2025-01-01T00:00:00Z"}]}
    caches = caches_of(
        gateway(),
        gateway(OTHER, status=claims),
        gateway(Key("shop", "third"), host="b.example.com"),
        gateway(Key("lab", "other")),
    )
    route = {
        "metadata": {
            "namespace": "shop",
            "name": "r",
            "labels": child_labels(OTHER) | {"egressgateway.dev/stage": "clients"},
            "ownerReferences": owned_by(OTHER),
        },
        "spec": {"hosts": [HOST]},
    }
    caches.put_child("VirtualService", route)
    [rival] = facts(caches).rivals
    assert rival.key == OTHER
    assert rival.wants == rival.steers == frozenset({HOST})
    assert rival.claimed == {HOST: datetime(2025, 1, 1, tzinfo=UTC)}


def test_a_namespace_that_was_not_seen_has_no_labels_to_judge_by() -> None:
    """No labels at all would be a verdict: a class that selects namespaces would withdraw what it allows."""
    assert facts(caches_of(gateway())).namespace_labels is None


def test_objects_with_our_labels_and_no_owner_are_others() -> None:
    """Anybody can set labels: such an object decides nothing, but its name is taken."""
    caches = caches_of(gateway())
    caches.put_child("Deployment", deployment(1))
    assert (len(facts(caches).live), len(facts(caches).others)) == (0, 1)


def test_children_of_another_namespace_are_not_the_objects() -> None:
    """Labels say whose child it is; an object elsewhere that carries them is none."""
    caches = caches_of(gateway())
    own = deployment(1)
    own["metadata"]["ownerReferences"] = owned_by(ME)
    caches.put_child("Deployment", own)
    stray = deployment(1)
    stray["metadata"]["namespace"] = "lab"
    caches.put_child("Deployment", stray)
    assert [ref.namespace for ref in facts(caches).live] == ["shop"]


def owned_by(key: Key) -> list[Manifest]:
    return [{"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", "name": key.name, "uid": "u"}]


def affected(caches: Caches, manifest: Manifest) -> set[Key]:
    change = caches.put_gateway(manifest)
    assert change is not None
    return set(caches.affected_by_gateway(change))


def test_a_change_of_names_or_claims_wakes_the_rivals() -> None:
    """And nothing else does: a status full of words concerns nobody."""
    caches = caches_of(gateway(OTHER))
    assert affected(caches, gateway()) == {ME, OTHER}
    assert affected(caches, gateway(version=2, status={"summary": {}})) == {ME}
    claims = {"claims": [{"host": HOST, "claimedAt": "2025-01-01T00:00:00Z"}]}
    assert affected(caches, gateway(version=3, status=claims)) == {ME, OTHER}
    assert affected(caches, gateway(version=4, host="b.example.com", status=claims)) == {ME, OTHER}
    assert affected(caches, gateway(version=5, host="b.example.com")) == {ME, OTHER}
    assert affected(caches, gateway(version=6, host="b.example.com", suspend=False)) == {ME}


def test_a_refusal_of_one_wakes_the_one_that_waits_for_it() -> None:
    """What expired is no longer in anybody's way."""
    caches = caches_of(gateway(OTHER), gateway())
    condition = {"type": "Accepted", "status": "False", "reason": "Expired"}
    refused = {"observedGeneration": 1, "destinations": [{"name": "d", "conditions": [condition]}]}
    assert affected(caches, gateway(version=2, status=refused)) == {ME, OTHER}


def test_a_deletion_wakes_the_rivals() -> None:
    """The next in line takes the name without an edit of its own."""
    caches = caches_of(gateway(OTHER), gateway())
    change = caches.remove_gateway(gateway(version=2))
    assert change is not None
    assert set(caches.affected_by_gateway(change)) == {ME, OTHER}
    assert caches.hosts.rivals_of(OTHER, [HOST]) == frozenset()


def test_a_class_wakes_those_that_name_it_or_none() -> None:
    """It may be, or have been, the default."""
    caches = caches_of(gateway(), gateway(OTHER, className="a"), gateway(Key("lab", "x"), className="b"))
    change = Change("MODIFIED", egress_class("a"), egress_class("a", version=2), listed=False)
    assert set(caches.affected_by_class(change)) == {ME, OTHER}


def test_a_namespace_wakes_its_objects_when_its_labels_change() -> None:
    """Annotations of a namespace change often, and concern nobody here."""
    caches = caches_of(gateway(), gateway(Key("lab", "x")))
    plain = {"metadata": {"name": "shop"}}
    annotated = {"metadata": {"name": "shop", "annotations": {"a": "b"}}}
    labelled = {"metadata": {"name": "shop", "labels": {"a": "b"}}}
    assert list(caches.affected_by_namespace(Change("MODIFIED", plain, annotated, listed=False))) == []
    assert list(caches.affected_by_namespace(Change("MODIFIED", plain, labelled, listed=False))) == [ME]
    assert list(caches.affected_by_namespace(Change("DELETED", plain, None, listed=False))) == [ME]
