"""A route steers nobody whose calls no sidecar takes: the status says so, and follows what the consumers' owners do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from harness.cluster import Cluster
from harness.gateways import NAMESPACES, Gateways, destination
from harness.rest import ApiError, Object
from harness.wait import eventually

PODS = "/api/v1/namespaces/{}/pods"


@pytest.fixture
def consumer(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The name of a namespace that does not exist yet, and is deleted afterwards."""
    name = f"{namespace[:55]}-clients"
    yield name
    with suppress(ApiError):
        cluster.rest.delete(f"{NAMESPACES}/{name}")


@pytest.fixture
def class_name(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A class whose objects may serve every namespace."""
    path = f"/apis/egressgateway.dev/v1alpha1/egressgatewayclasses/{namespace}"
    head = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGatewayClass"}
    spec = {"allowedConsumers": {"from": "All"}}
    cluster.rest.apply(path, {**head, "metadata": {"name": namespace}, "spec": spec})
    yield namespace
    cluster.rest.delete(path)


def pod(name: str, *containers: str) -> Object:
    """A pod that no node runs: what takes its calls is decided by its containers."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"schedulerName": "nobody", "containers": [{"name": each, "image": each} for each in containers]},
    }


def test_status_tells_which_clients_there_are(
    cluster: Cluster, gateways: Gateways, consumer: str, class_name: str
) -> None:
    """A namespace with a typo, one whose pods have no sidecar, and then one whose pods have it."""
    host = f"clients.{gateways.namespace}.example.com"
    access = {"from": [{"namespaces": [consumer]}]}
    gateways.apply("partners", destination("api", host), className=class_name, access=access)
    said = gateways.wait("partners", "Steered", "False", "NoConsumers", part="api")
    assert f"namespace {consumer} does not exist" in said["message"]

    cluster.rest.create(NAMESPACES, {"metadata": {"name": consumer}})
    said = gateways.wait("partners", "Steered", "True", "Steered", part="api")
    assert "no pod in the mesh runs there yet" in said["message"]

    cluster.rest.create(PODS.format(consumer), pod("bare", "app"))
    said = gateways.wait("partners", "Steered", "False", "ConsumersNotInMesh", part="api", timeout=180)
    assert f"no pod of {consumer} has a sidecar" in said["message"]
    gateways.wait("partners", "Ready", "False", "ConsumersNotInMesh")
    assert gateways.get("partners")["status"]["clients"] == {"inMesh": 0, "outside": 1}

    cluster.rest.create(PODS.format(consumer), pod("meshed", "app", "istio-proxy"))
    said = gateways.wait("partners", "Steered", "True", "Steered", part="api")
    assert f"some pods of {consumer}" in said["message"]
    cluster.rest.delete(f"{PODS.format(consumer)}/bare?gracePeriodSeconds=0")


def test_clients_are_told_again_when_a_class_comes_back(cluster: Cluster, gateways: Gateways, class_name: str) -> None:
    """
    Without its class an object serves nobody new, and says nothing of clients. With it back nothing is written but the
    status, and the pods were counted long ago, for another object: nothing but this pass can tell of them.
    """
    path = f"/apis/egressgateway.dev/v1alpha1/egressgatewayclasses/{class_name}"
    class_ = {key: cluster.rest.get(path)[key] for key in ("apiVersion", "kind", "spec")}
    gateways.apply("other", destination("api", f"other.{gateways.namespace}.example.com"))
    gateways.apply("partners", destination("api", f"clients.{gateways.namespace}.example.com"), className=class_name)
    gateways.wait_ready("other", "partners")
    before = eventually(lambda: gateways.get("partners")["status"]["clients"], what="a count of clients")
    cluster.rest.delete(path)
    gateways.wait("partners", "Accepted", "False", "ClassNotFound")
    cluster.rest.apply(path, {**class_, "metadata": {"name": class_name}})
    gateways.wait_ready("partners")
    assert gateways.get("partners")["status"]["clients"] == before
    said = gateways.wait("partners", "Steered", "True", "Steered", part="api")
    assert "no pod in the mesh runs there yet" in said["message"]


def test_what_hides_the_route_is_named_until_it_is_gone(
    cluster: Cluster, gateways: Gateways, consumer: str, class_name: str
) -> None:
    """A consumer's Sidecar resource, and then a DestinationRule there that takes the hop."""
    host = f"hidden.{gateways.namespace}.example.com"
    cluster.rest.create(NAMESPACES, {"metadata": {"name": consumer}})
    gateways.apply(
        "partners", destination("api", host), className=class_name, access={"from": [{"namespaces": [consumer]}]}
    )
    gateways.wait_ready("partners")
    for plural, kind, spec, told in (
        ("sidecars", "Sidecar", {"egress": [{"hosts": ["./*"]}]}, f"add {gateways.namespace}/{host} to its egress"),
        ("destinationrules", "DestinationRule", {"host": "*.local"}, "for *.local applies to the gateway's Service"),
    ):
        path = f"/apis/networking.istio.io/v1/namespaces/{consumer}/{plural}/default"
        head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "default"}}
        cluster.rest.apply(path, {**head, "spec": spec})
        said = gateways.wait("partners", "Steered", "False", "RouteConflict", part="api")
        assert f"{kind} {consumer}/default" in said["message"]
        assert told in said["message"]
        gateways.wait("partners", "Ready", "False", "RouteConflict")
        cluster.rest.delete(path)
        gateways.wait_ready("partners")
