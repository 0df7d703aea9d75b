"""
On which nodes the real kube-scheduler puts pods of a gateway and of the operator.

There are Node objects and no kubelets: what is looked at is the decision alone, which needs no pod to run.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from harness.controlplane import ControlPlane, Options
from harness.gateways import NAMESPACES
from harness.helm import Helm, find_helm
from harness.objects import namespace
from harness.processes import spawn
from harness.rest import Object
from harness.session import Run
from harness.tiers import may_be_skipped
from harness.tools import ToolsMissing, find_scheduler
from harness.wait import eventually
from unit.golden.cases import run_named

pytestmark = pytest.mark.controlplane

ZONE: Final = "topology.kubernetes.io/zone"
NODES: Final = "/api/v1/nodes"


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """With a scheduler, and without the stand-in for the kubelet, which binds every pod to its one node."""
    try:
        scheduler = find_scheduler()
    except ToolsMissing as missing:
        if not may_be_skipped("controlplane"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    with run.private(Options(kubelet=False, owner=run.owner)) as plane:
        argv = [str(scheduler), f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        plane.processes["kube-scheduler"] = spawn(argv, plane.directory / "kube-scheduler.log")
        yield plane


class Place:
    """A namespace of the test's own, and nodes that no other test has: pods that nobody runs stay on theirs."""

    def __init__(self, plane: ControlPlane) -> None:
        self.rest = plane.rest
        self.name = f"spread-{secrets.token_hex(3)}"
        self._nodes: dict[str, str] = {}
        self.rest.create(NAMESPACES, namespace(self.name))
        for account in ("partners-egress", "egressgateway-operator"):
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
            self.rest.create(f"/api/v1/namespaces/{self.name}/serviceaccounts", body)

    def node(self, name: str, zone: str = "", *, fuller: bool = False) -> None:
        """A node of four CPUs and 16 GiB. `fuller`: half of it is in use, so that all else speaks against it."""
        own = f"{self.name}-{name}"
        labels = {"kubernetes.io/hostname": own, **({ZONE: zone} if zone else {})}
        self.rest.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": own, "labels": labels}})
        self._nodes[own] = zone or name
        amounts = {"cpu": "4", "memory": "16Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "none runs"}
        status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
        self.rest.merge(f"{NODES}/{own}/status", {"status": status})
        if fuller:
            container = {"name": "c", "image": "any", "resources": {"requests": {"cpu": "1", "memory": "8Gi"}}}
            body = {"metadata": {"generateName": "filler-"}, "spec": {"nodeName": own, "containers": [container]}}
            self.rest.create("/api/v1/namespaces/default/pods", body)

    def create(self, deployment: Object, replicas: int, **pod: Any) -> str:
        """Create the Deployment as `spread`, with fields of its pods replaced; returns its path."""
        template = deployment["spec"]["template"]
        template = {**template, "spec": {**template["spec"], **pod}}
        body = {**deployment, "metadata": {"name": "spread", "namespace": self.name}}
        body["spec"] = {**deployment["spec"], "replicas": replicas, "template": template}
        path = f"/apis/apps/v1/namespaces/{self.name}/deployments"
        self.rest.create(path, body)
        return f"{path}/spread"

    def placed(self, count: int) -> dict[str, int]:
        """How many pods each node, or where it has one its zone, has got, once `count` of them are placed."""

        def found() -> list[str]:
            pods = self.rest.items(f"/api/v1/namespaces/{self.name}/pods")
            placed = [each["spec"]["nodeName"] for each in pods if each["spec"].get("nodeName")]
            assert len(placed) == count, placed
            return placed

        return dict(Counter(self._nodes[name] for name in eventually(found, what=f"{count} pods on nodes")))

    def close(self) -> None:
        for name in self._nodes:
            self.rest.delete(f"{NODES}/{name}")
        self.rest.delete(f"{NAMESPACES}/{self.name}")


@pytest.fixture
def place(plane: ControlPlane) -> Iterator[Place]:
    place = Place(plane)
    yield place
    place.close()


def gateway() -> Object:
    """The Deployment of a gateway as the operator plans it by default."""
    case = run_named("one-http-host")
    return next(each.manifest for each in case.desired if each.ref.kind == "Deployment")


def operator() -> Object:
    """The operator's own Deployment by the chart's default values."""
    return next(each for each in Helm(find_helm()).template() if each["kind"] == "Deployment")


@pytest.mark.parametrize(("deployment", "replicas"), [(gateway, 2), (gateway, 4), (operator, 2)])
def test_pods_are_on_two_nodes_that_have_no_zone(place: Place, deployment: Callable[[], Object], replicas: int) -> None:
    """Half of them each, although one of the nodes is half full: clusters of one zone often have no such label."""
    place.node("one", fuller=True)
    place.node("two")
    place.create(deployment(), replicas)
    assert place.placed(replicas) == {"one": replicas // 2, "two": replicas // 2}


def test_a_constraint_for_zones_would_put_all_of_them_on_one(place: Place) -> None:
    """The test above can fail: the scheduler leaves nodes without that label out of the score of every constraint."""
    place.node("one", fuller=True)
    place.node("two")
    [by_node] = gateway()["spec"]["template"]["spec"]["topologySpreadConstraints"]
    spread = [by_node, {**by_node, "topologyKey": ZONE}]
    place.create(gateway(), 4, topologySpreadConstraints=spread, affinity={})
    assert place.placed(4) == {"two": 4}


def test_pods_are_in_two_zones(place: Place) -> None:
    """Of two pods one is in the zone that has a single node, the fuller one."""
    place.node("one", "a")
    place.node("two", "a")
    place.node("three", "b", fuller=True)
    place.create(gateway(), 2)
    assert place.placed(2) == {"a": 1, "b": 1}


def test_one_node_runs_all_of_them(place: Place) -> None:
    """Preferences keep no pod from starting."""
    place.node("one")
    place.create(gateway(), 2)
    assert place.placed(2) == {"one": 2}


def test_new_pods_of_a_rollout_are_on_two_nodes(place: Place) -> None:
    """A rollout brings them together no more than the first start did."""
    place.node("one")
    place.node("two")
    path = place.create(gateway(), 2)
    assert place.placed(2) == {"one": 1, "two": 1}
    # Both new ones at once: no kubelet makes the first of them ready here.
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
    template = {"metadata": {"annotations": {"rolled": "out"}}}
    place.rest.merge(path, {"spec": {"strategy": rolling, "template": template}})
    assert place.placed(4) == {"one": 2, "two": 2}
