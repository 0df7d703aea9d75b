"""Whose object is whose: foreign objects are never touched, own ones never left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from harness.gateways import NAMESPACES, Gateways, deletions, destination, egress_gateway
from harness.rest import ApiError, Object
from harness.wait import eventually

VIRTUAL_SERVICES = "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"


class TestForeignObjects:
    """An object under a child's name that is not ours, whatever it says of itself."""

    def test_name_that_is_taken_is_reported_and_heals(self, gateways: Gateways) -> None:
        """Somebody else's Service under the hop's name stays as it is; once it goes, the gateway is completed."""
        path = f"/api/v1/namespaces/{gateways.namespace}/services"
        gateways.cluster.rest.create(path, service("partners-egress"))
        before = gateways.cluster.rest.get(f"{path}/partners-egress")
        gateways.apply("partners")
        found = gateways.wait("partners", "Programmed", "False", "ResourceConflict")
        assert f"Service {gateways.namespace}/partners-egress" in found["message"]
        assert gateways.cluster.rest.get(f"{path}/partners-egress") == before
        assert not gateways.clients("partners")

        gateways.cluster.rest.delete(f"{path}/partners-egress")
        gateways.wait("partners", "Ready", "True", "Ready", timeout=60)
        assert ("Service", "partners-egress") in gateways.children("partners")

    def test_forged_labels_do_not_make_a_child(self, gateways: Gateways) -> None:
        """An object with all labels of a child, but without an owner, is neither changed nor pruned."""
        gateways.apply("partners", destination("one"))
        gateways.wait_ready("partners")
        child = next(each for (kind, _), each in gateways.clients("partners").items() if kind == "VirtualService")
        path = VIRTUAL_SERVICES.format(gateways.namespace)
        forged = gateways.cluster.rest.create(path, virtual_service("forged", child["metadata"]["labels"]))
        gateways.apply("partners", destination("two"))
        gateways.wait_ready("partners")
        gateways.delete("partners")
        eventually(lambda: set(gateways.children("partners")) == {("VirtualService", "forged")}, what="no orphans")
        assert gateways.cluster.rest.get(f"{path}/forged") == forged

    def test_forged_labels_under_a_childs_name_are_a_conflict(self, gateways: Gateways) -> None:
        """All labels of a child, and none of what the operator wrote: reported, not fought over."""
        labels = {
            "app.kubernetes.io/managed-by": "egressgateway-operator",
            "egressgateway.dev/gateway": "partners",
            "egressgateway.dev/namespace": gateways.namespace,
        }
        name = ("ServiceAccount", "partners-egress")
        path = gateways.child_path(name)
        forged = gateways.cluster.rest.create(
            path.rpartition("/")[0], {"metadata": {"name": "partners-egress", "labels": labels}}
        )
        gateways.apply("partners")
        found = gateways.wait("partners", "Programmed", "False", "ResourceConflict")
        assert "ServiceAccount" in found["message"]
        assert gateways.cluster.rest.get(path) == forged

        gateways.cluster.rest.delete(path)
        gateways.wait_ready("partners")
        assert gateways.children("partners")[name]["metadata"]["ownerReferences"]

    def test_child_that_lost_its_owner_gets_it_back(self, gateways: Gateways) -> None:
        """What the operator wrote, and nobody else owns, is still a child: with another owner it is a conflict."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        name = ("ServiceAccount", "partners-egress")
        before = gateways.children("partners")[name]["metadata"]
        gateways.cluster.rest.merge(gateways.child_path(name), {"metadata": {"ownerReferences": None}})

        def given_back() -> bool:
            now = gateways.children("partners")[name]["metadata"]
            return (now["uid"], now.get("ownerReferences")) == (before["uid"], before["ownerReferences"])

        eventually(given_back, what="the owner reference")
        config_map = gateways.cluster.rest.create(
            f"/api/v1/namespaces/{gateways.namespace}/configmaps", {"metadata": {"name": "other"}}
        )
        other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": config_map["metadata"]["uid"]}
        gateways.cluster.rest.merge(gateways.child_path(name), {"metadata": {"ownerReferences": [other]}})
        gateways.wait("partners", "Programmed", "False", "ResourceConflict")
        assert gateways.children("partners")[name]["metadata"]["ownerReferences"] == [other]


class TestDeletion:
    """The object's end, and that of its namespace."""

    def test_clients_are_withdrawn_first_and_nothing_stays(self, gateways: Gateways) -> None:
        """What sends clients goes before anything that serves them; in the end there are no orphans."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        clients = set(gateways.clients("partners"))
        since = gateways.get("partners")["metadata"]["resourceVersion"]
        gateways.delete("partners")
        gateways.wait_gone("partners")

        ended = deletions(gateways.cluster, gateways.namespace, since)
        assert clients <= ended.keys()
        assert max(ended[each] for each in clients) < min(
            version for each, version in ended.items() if each not in clients
        )

    def test_object_that_was_never_accepted_goes_at_once(self, gateways: Gateways) -> None:
        """Nothing was written for it, so no finalizer holds it."""
        gateways.apply("partners", className="no-such-class")
        gateways.wait("partners", "Accepted", "False", "ClassNotFound")
        assert "finalizers" not in gateways.get("partners")["metadata"]
        gateways.delete("partners")
        assert not gateways.exists("partners")

    def test_successor_of_the_same_name_takes_over(self, gateways: Gateways) -> None:
        """Created again the moment it is gone, an object gets children of its own while the first are collected."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        first = gateways.get("partners")["metadata"]["uid"]
        expected = gateways.children("partners").keys()
        gateways.delete("partners")
        eventually(lambda: created(gateways, "partners"), what="a successor")
        uid = gateways.get("partners")["metadata"]["uid"]
        assert uid != first

        def taken_over() -> bool:
            children = gateways.children("partners")
            owners = {each["uid"] for child in children.values() for each in child["metadata"]["ownerReferences"]}
            return children.keys() == expected and owners == {uid}

        eventually(taken_over, what="children of the successor alone")
        gateways.wait_ready("partners")

    def test_successor_takes_over_what_a_deletion_left(self, gateways: Gateways) -> None:
        """`kubectl delete --cascade=orphan` leaves children as they are; the next of that name goes on with them."""
        gateways.apply("partners")
        gateways.wait_ready("partners")
        before = {name: child["metadata"]["uid"] for name, child in gateways.children("partners").items()}
        gateways.cluster.rest.delete(gateways.path("partners"), propagationPolicy="Orphan")
        eventually(lambda: not gateways.exists("partners"), what="the object's end")
        # Kubernetes' garbage collector orphans what it has seen; on a busy machine it deletes a child that came just
        # before the deletion.
        eventually(partial(self._none_owned, gateways), what="children without an owner")
        left = gateways.children("partners").keys()
        assert len(left) >= len(before) - 2

        gateways.apply("partners")
        gateways.wait_ready("partners")
        uid = gateways.get("partners")["metadata"]["uid"]
        children = gateways.children("partners")
        assert children.keys() == before.keys()
        assert {name: children[name]["metadata"]["uid"] for name in left} == {name: before[name] for name in left}
        assert {each["uid"] for child in children.values() for each in child["metadata"]["ownerReferences"]} == {uid}

    @staticmethod
    def _none_owned(gateways: Gateways) -> bool:
        return not any(child["metadata"].get("ownerReferences") for child in gateways.children("partners").values())

    def test_namespace_is_not_held_back(self, gateways: Gateways) -> None:
        """A namespace is deleted with the objects in it, steered clients and all."""
        for name in ("one", "two"):
            gateways.apply(name)
        gateways.wait_ready("one", "two")
        gateways.cluster.rest.delete(f"{NAMESPACES}/{gateways.namespace}")
        eventually(
            lambda: not gateways.cluster.rest.exists(f"{NAMESPACES}/{gateways.namespace}"),
            timeout=60,
            what="the namespace's end",
        )


class TestDrift:
    """What somebody else does to a child is undone, in so far as it concerns us."""

    @pytest.fixture
    def ready(self, gateways: Gateways) -> Iterator[Gateways]:
        gateways.apply("partners")
        gateways.wait_ready("partners")
        yield gateways
        gateways.wait_ready("partners")

    def test_every_deleted_child_comes_back(self, ready: Gateways) -> None:
        """All children deleted at once are all made again, with clients still steered in the end."""
        before = ready.children("partners")
        for name in before:
            ready.cluster.rest.delete(ready.child_path(name))

        def all_new() -> bool:
            now = ready.children("partners")
            uids = {each["metadata"]["uid"] for each in before.values()}
            return now.keys() == before.keys() and not uids & {each["metadata"]["uid"] for each in now.values()}

        eventually(all_new, what="all children made again")

    @pytest.mark.parametrize(
        ("kind", "patch"),
        [
            ("VirtualService", {"spec": {"exportTo": ["*"]}}),
            ("VirtualService", {"spec": {"tcp": [{"route": [{"destination": {"host": "evil.example.com"}}]}]}}),
            ("ServiceEntry", {"spec": {"addresses": ["192.0.2.1"]}}),
            ("AuthorizationPolicy", {"spec": {"rules": [{}]}}),
            ("NetworkPolicy", {"spec": {"egress": [{}]}}),
            ("Gateway", {"spec": {"selector": {"app": "other"}}}),
            ("Deployment", {"spec": {"replicas": 5}}),
            ("Service", {"spec": {"selector": {"app": "other"}}}),
            ("PodDisruptionBudget", {"spec": {"maxUnavailable": None, "minAvailable": 7}}),
            ("Deployment", {"metadata": {"labels": {"egressgateway.dev/stage": "clients"}}}),
            ("Gateway", {"metadata": {"labels": {"egressgateway.dev/gateway": "other"}}}),
            ("NetworkPolicy", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
        ],
        ids=lambda value: value if isinstance(value, str) else "-".join(next(iter(value.values()))),
    )
    def test_changed_field_is_put_back(self, ready: Gateways, kind: str, patch: Object) -> None:
        """A field that we set, or that could send traffic elsewhere, is as it was; the object is the same one."""
        name = next(each for each in sorted(ready.children("partners")) if each[0] == kind)
        before = ready.children("partners")[name]
        changed = ready.cluster.rest.merge(ready.child_path(name), patch)
        assert essence(changed) != essence(before), "the patch changes nothing"
        eventually(lambda: essence(ready.children("partners")[name]) == essence(before), what="the repair")
        assert ready.children("partners")[name]["metadata"]["uid"] == before["metadata"]["uid"]


def essence(child: Object) -> str:
    """A child without what the server counts and fills in."""
    return json.dumps([child["spec"], child["metadata"]["labels"]], sort_keys=True)


def created(gateways: Gateways, name: str) -> bool:
    try:
        gateways.cluster.rest.create(gateways.path(), egress_gateway(gateways.namespace, name))
    except ApiError as error:
        if error.code != 409:
            raise
        return False
    return True


def service(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": "mine"}}}


def virtual_service(name: str, labels: dict[str, str]) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "labels": labels},
        "spec": {"hosts": ["mine.example.com"], "http": [{"route": [{"destination": {"host": "mine.example.com"}}]}]},
    }
