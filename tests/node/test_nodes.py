"""Nodes that are drained, and that cannot pull: where pods go, and what it costs those who send requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from harness.gateways import NAMESPACES
from harness.helm import RELEASE
from harness.installed import SECONDS, Installed
from harness.node.cluster import NodeCluster
from harness.node.images import PAUSE
from harness.objects import apply_all, places
from harness.real import SYSTEM
from harness.rest import Object
from harness.shop import Shop

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

ZONE: Final = "topology.kubernetes.io/zone"
SECOND: Final = "node-2"
DRAIN: Final = ("drain", SECOND, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={SECONDS}s")


@pytest.fixture(params=["", "a-zone-each"], ids=lambda name: name or "no-zones")
def zones(nodes: NodeCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Nodes without zones, or with one each."""
    for number, machine in enumerate(nodes.machines):
        label = f"zone-{number}" if request.param else None
        nodes.rest.merge(f"/api/v1/nodes/{machine.name}", {"metadata": {"labels": {ZONE: label}}})
    yield request.param
    for machine in nodes.machines:
        nodes.rest.merge(f"/api/v1/nodes/{machine.name}", {"metadata": {"labels": {ZONE: None}}})


def test_pods_are_spread_over_nodes(nodes: NodeCluster, zones: str, shop: Shop, release: Installed) -> None:
    """
    Two replicas of a gateway, and of the operator, are on two nodes, one of which is fuller than the other; so they are
    after a rollout that began with both on one.
    """
    each_once = {machine.name: 1 for machine in nodes.machines}
    apply_all(nodes, [filler(shop.namespace, nodes.machines[0].name)])
    shop.apply()
    assert places(shop.pods()) == each_once
    nodes.kubectl(*DRAIN, timeout=SECONDS + 10)
    nodes.kubectl("uncordon", SECOND)
    for namespace in (shop.namespace, SYSTEM):
        restart(nodes, namespace)
    assert places(shop.pods()) == each_once
    assert places([each for each in release.pods() if "deletionTimestamp" not in each["metadata"]]) == each_once


def restart(nodes: NodeCluster, namespace: str) -> None:
    """Roll every Deployment of a namespace, and wait until the new pods are ready."""
    nodes.kubectl("rollout", "restart", "deployment", "--namespace", namespace)
    rollout = ("rollout", "status", "deployment", "--namespace", namespace, f"--timeout={SECONDS}s")
    nodes.kubectl(*rollout, timeout=SECONDS + 10)


def filler(namespace: str, node: str) -> Object:
    """A pod that asks for much, as nodes differ in life."""
    container = {
        "name": "filler",
        "image": PAUSE,
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filler", "namespace": namespace, "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0},
    }


def test_drain_costs_no_request(
    nodes: NodeCluster,
    release: Installed,
    new_shop: Callable[..., Shop],
    record_property: Callable[[str, object], None],
) -> None:
    """
    A node with a gateway pod, and with the operator that leads, is drained under load, and the gateway is rolled: no
    request is lost, on connections of its own or on kept ones, and none goes past the gateway.
    """
    shop = new_shop(on=nodes.machines[0].name)
    shop.apply()
    release.move_leader_to(SECOND)
    with shop.load() as fresh, shop.load(keep=True) as kept:
        nodes.kubectl(*DRAIN, timeout=SECONDS + 10)
        try:
            assert places(shop.pods()).keys() <= {nodes.machines[0].name}
            release.wait_for_leader()
        finally:
            nodes.kubectl("uncordon", SECOND)
        restart(nodes, shop.namespace)
        for load in (fresh, kept):
            load.wait_for(20)
    record_property("nodes", f"drain and rollout: {fresh.report}")
    record_property("nodes", f"drain and rollout, kept connections: {kept.report}")
    assert not fresh.report.lost, str(fresh.report)
    assert not kept.report.lost, str(kept.report)
    assert client_address(shop) not in fresh.report.peers() | kept.report.peers()


def client_address(shop: Shop) -> str:
    pod = shop.cluster.rest.get(f"{NAMESPACES}/{shop.namespace}/pods/client")
    return str(pod["status"]["podIP"])


def test_nothing_is_pulled_to_start_again(nodes: NodeCluster, shop: Shop) -> None:
    """
    Where no registry answers, pods of a gateway and of the operator start again all the same: every image is on the
    node, and nothing asks for it to be fetched.
    """
    shop.apply()
    before = {each["metadata"]["uid"] for each in shop.pods()}
    for each in shop.pods():
        nodes.rest.delete(f"{NAMESPACES}/{shop.namespace}/pods/{each['metadata']['name']}")
    nodes.kubectl("delete", "pod", "--all", "--namespace", SYSTEM, timeout=SECONDS)
    rollouts = ((shop.namespace, "deployment/partners-egress"), (SYSTEM, f"deployment/{RELEASE}"))
    for namespace, deployment in rollouts:
        rollout = ("rollout", "status", deployment, "--namespace", namespace, f"--timeout={SECONDS}s")
        nodes.kubectl(*rollout, timeout=SECONDS + 10)
    assert not before & {each["metadata"]["uid"] for each in shop.pods()}
    policies = {
        container["imagePullPolicy"]
        for pod in nodes.rest.items("/api/v1/pods")
        if pod["metadata"]["namespace"] in (shop.namespace, SYSTEM)
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))
    }
    assert "Always" not in policies
