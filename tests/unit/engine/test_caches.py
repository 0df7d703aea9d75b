"""Which change of which object makes which key be looked at again."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION
from egressgateway.api.scalars import parse_instant
from egressgateway.cluster.store import Change
from egressgateway.contention.rights import rights_fields
from egressgateway.engine.cache.caches import Caches
from egressgateway.facts import Rights
from egressgateway.live.evidence import named_owner
from egressgateway.refs import Key, Manifest
from unit.objects import owner_reference

KEY = Key("payments", "partners")


def child(kind: str = "ServiceEntry", *, labels: dict[str, str] | None = None, **fields: Any) -> Manifest:
    """A child of `KEY`, with what else is said of it."""
    owner = owner_reference(KEY.name, "1")
    metadata = {
        "name": "partners-egress",
        "namespace": KEY.namespace,
        "uid": "2",
        "labels": {
            "egressgateway.dev/gateway": KEY.name,
            "egressgateway.dev/namespace": KEY.namespace,
            "app.kubernetes.io/managed-by": "egressgateway-operator",
            **(labels or {}),
        },
        "ownerReferences": [owner],
    }
    return {"kind": kind, "metadata": metadata, "spec": {"hosts": ["api.example.com"]}, **fields}


def changed(old: Manifest | None, new: Manifest | None) -> set[Key]:
    """Keys that the step from `old` to `new` concerns."""
    event = "ADDED" if old is None else "DELETED" if new is None else "MODIFIED"
    return Caches().affected_by_child(Change(event, old, new, listed=False))  # type: ignore[arg-type]


def test_new_and_deleted_child_concern_its_owner() -> None:
    """One that appears may be foreign, one that vanishes must be made again."""
    assert changed(None, child()) == {KEY}
    assert changed(child(), None) == {KEY}


@pytest.mark.parametrize(
    "new",
    [
        child(spec={"hosts": ["evil.example.com"]}),
        child(labels={"egressgateway.dev/stage": "clients"}),
        child(data={"extra": "field"}),
    ],
    ids=["spec", "labels", "other-field"],
)
def test_changed_child_concerns_its_owner(new: Manifest) -> None:
    """Everything but the status may be drift."""
    assert changed(child(), new) == {KEY}


def test_status_of_a_child_concerns_nobody() -> None:
    """Istiod and controllers write it all the time, and no reconcile reads it."""
    assert changed(child(), child(status={"addresses": [{"value": "240.240.0.1"}]})) == set()
    assert changed(child("Deployment"), child("Deployment", status={"observedGeneration": 2})) == set()


def test_ready_pods_of_a_deployment_concern_its_owner() -> None:
    """They decide whether clients are sent through the gateway."""
    assert changed(child("Deployment"), child("Deployment", status={"readyReplicas": 1})) == {KEY}


def test_count_of_rollouts_concerns_nobody() -> None:
    """The Deployment's controller writes it on each new Deployment: every object was judged once more for it."""
    caches, new = Caches(), child("Deployment")
    new["metadata"]["resourceVersion"] = "1"
    caches.put_child("Deployment", new)
    revision = {"annotations": {"deployment.kubernetes.io/revision": "1"}, "resourceVersion": "2"}
    change = caches.children["Deployment"].put({**child("Deployment"), "metadata": {**new["metadata"], **revision}})
    assert change is not None
    assert caches.affected_by_child(change) == set()


def test_end_of_a_roll_concerns_the_owner() -> None:
    """What only pods of the last template need may go then."""
    rolling = child("Deployment", status={"replicas": 2, "updatedReplicas": 1})
    assert changed(rolling, child("Deployment", status={"replicas": 2, "updatedReplicas": 2})) == {KEY}


def test_word_of_a_controller_on_its_route_concerns_the_owner() -> None:
    """Clients wait for it; when it was said does not matter, nor what stands beside it."""
    taken = {"type": "Accepted", "status": "True", "observedGeneration": 1}
    before = child("ApisixRoute", status={"conditions": [taken]})
    assert changed(child("ApisixRoute"), before) == {KEY}
    later = {**taken, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    other = {"type": "Synced", "status": "True"}
    assert changed(before, child("ApisixRoute", status={"conditions": [later, other]})) == set()
    # In place of an answer, it tells of a controller that is too old.
    assert changed(child("ApisixRoute"), child("ApisixRoute", status={"conditions": [other]})) == {KEY}


def test_owner_reference_counts_before_labels() -> None:
    """A child whose label somebody changed is still ours; one without an owner is whose three labels it has."""
    relabelled = child(labels={"egressgateway.dev/gateway": "other"})
    assert named_owner(relabelled) == KEY
    del relabelled["metadata"]["ownerReferences"]
    assert named_owner(relabelled) == Key(KEY.namespace, "other")
    del relabelled["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    assert named_owner(relabelled) is None


def test_child_that_changes_hands_concerns_both() -> None:
    """The one that lost it makes it again, the one that got it judges it."""
    relabelled = child(labels={"egressgateway.dev/gateway": "other"})
    del relabelled["metadata"]["ownerReferences"]
    assert changed(child(), relabelled) == {KEY, Key(KEY.namespace, "other")}


def affected_by_class(**change: Any) -> set[Key]:
    """Keys that a change of the default class concerns, where one EgressGateway names no class."""
    caches = Caches()
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "u", "resourceVersion": "1"}
    caches.put_gateway({"metadata": metadata, "spec": {}})
    default = {DEFAULT_CLASS_ANNOTATION: "true"}
    old = {"metadata": {"name": "standard", "annotations": default}, "spec": {}, "status": {"attachedGateways": 1}}
    return set(caches.affected_by_class(Change("MODIFIED", old, {**old, **change}, listed=False)))


def test_class_concerns_objects_by_what_it_says_and_not_by_its_status() -> None:
    """
    Its spec and its mark as default count.

    The operator writes the status itself, once a second while objects come: each write made it look at all of them.
    """
    assert affected_by_class(spec={"deniedHosts": ["a.example.com"]}) == {KEY}
    assert affected_by_class(metadata={"name": "standard"}) == {KEY}
    assert affected_by_class(status={"attachedGateways": 2}) == set()


class TestReservedClaims:
    """Claims that a pass is about to record, as the passes of others see them."""

    RIVAL = Key("orders", "partners")
    NAME = "api.example.com"

    def caches(self, *, claimed: bool) -> Caches:
        """Two objects that want one name; `KEY` has claimed it, or not yet."""
        caches = Caches()
        for key in (KEY, self.RIVAL):
            caches.put_gateway(self.gateway(key, version="1", claimed=claimed and key == KEY))
        return caches

    def gateway(self, key: Key, *, version: str, claimed: bool) -> Manifest:
        metadata = {"namespace": key.namespace, "name": key.name, "uid": key.namespace, "resourceVersion": version}
        fields = rights_fields(self.rights()) if claimed else {}
        access = {"from": [{"namespaces": [KEY.namespace]}]}
        spec = {"destinations": [{"name": "api", "hosts": [self.NAME]}], "access": access}
        return {"metadata": {**metadata, "creationTimestamp": "2030-01-01T00:00:00Z"}, "spec": spec, "status": fields}

    def rights(self) -> Rights:
        return Rights(names={self.NAME: {KEY.namespace: parse_instant("2030-01-01T00:00:00Z")}})

    def test_a_claim_that_left_the_status_is_gone_while_its_pass_goes_on(self) -> None:
        """The watch may tell of the write before its answer comes: who is woken then must not see the old claim."""
        caches = self.caches(claimed=True)
        caches.reserve(KEY, Rights())
        assert self.NAME in caches.rights_of(KEY).names
        caches.put_gateway(self.gateway(KEY, version="2", claimed=False))
        assert self.NAME not in caches.rights_of(KEY).names

    def test_a_claim_that_was_never_recorded_wakes_those_who_were_refused_for_it(self) -> None:
        """The write failed; nothing in the cluster has changed that would wake them."""
        caches, woken = self.caches(claimed=False), set[Key]()
        caches.on_freed = woken.update
        caches.reserve(KEY, self.rights())
        assert self.NAME in caches.rights_of(KEY).names
        caches.release(KEY)
        assert woken == {self.RIVAL}

    def test_a_claim_that_was_recorded_wakes_nobody(self) -> None:
        """Its write has done so already."""
        caches, woken = self.caches(claimed=False), set[Key]()
        caches.on_freed = woken.update
        caches.reserve(KEY, self.rights())
        caches.put_gateway(self.gateway(KEY, version="2", claimed=True))
        caches.release(KEY)
        assert woken == set()


def test_namespaces_that_a_list_brings_are_followed_together() -> None:
    """Each for itself would cost as much as all that are known, for each of ten thousand."""
    caches, woken = Caches(), list[set[Key]]()
    caches.on_freed = lambda keys: woken.append(set(keys))
    selector = {"namespaceSelector": {"matchLabels": {"team": "lab"}}}
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "u", "resourceVersion": "1"}
    caches.put_gateway({"metadata": metadata, "spec": {"access": {"from": [selector]}}})
    listed = [
        {"metadata": {"name": f"n{number}", "labels": {"team": "lab"}, "uid": f"n{number}"}} for number in range(9)
    ]
    changes = caches.namespaces.replace(listed)
    assert [caches.affected_by_namespace(change) for change in changes] == [set()] * 9
    assert woken == []
    assert caches.follow_namespaces() == {KEY}
    caches.namespaces.replace(listed[1:])
    assert len(caches.namespace_labels()) == 8
    assert woken == [{KEY}], "somebody asked for the table before the list's turn came"
    assert caches.follow_namespaces() == set()


def test_the_default_class_is_the_oldest_that_is_marked() -> None:
    """Whose labels decide is one question with one answer, here and where objects are judged."""
    caches = Caches()
    for name, made, team in (("young", "2030-02-01", "b"), ("old", "2030-01-01", "a")):
        metadata = {"name": name, "annotations": {DEFAULT_CLASS_ANNOTATION: "true"}, "resourceVersion": "1"}
        consent = {"from": "Selector", "selector": {"matchLabels": {"team": team}}}
        created = {"creationTimestamp": f"{made}T00:00:00Z"}
        caches.classes.put({"metadata": {**metadata, **created}, "spec": {"allowedConsumers": consent}})
    access = {"from": [{"namespaces": ["web"]}]}
    metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": "u", "resourceVersion": "1"}
    caches.put_gateway({"metadata": metadata, "spec": {"access": access}})

    def woken(version: str, **labels: str) -> set[Key]:
        change = caches.namespaces.put({"metadata": {"name": "web", "labels": labels, "resourceVersion": version}})
        assert change is not None
        return caches.affected_by_namespace(change)

    assert woken("1") == {KEY}
    assert woken("2", team="b") == set()
    assert woken("3", team="a") == {KEY}
