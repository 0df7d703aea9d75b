"""A gateway that istiod does not reach: its clients keep what works, and get nothing that it does not know."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import pytest

from harness.gateways import Gateways, destination
from harness.mesh.continuity import Traffic
from harness.mesh.detector import StatusWatch, claims_of, lies
from harness.mesh.exits import NAME, ByOperator
from harness.mesh.istio import XDS_PORT
from harness.mesh.mesh import Mesh
from harness.mesh.scene import CLOSED, HOST, RATE, STEADY, Scene
from harness.wait import eventually

LATE_HOST: Final = "late.example.com"
LATE: Final = destination("late", LATE_HOST, ports=[{"port": 80, "protocol": "HTTP"}])


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes lines for the table."""
    return partial(record_property, "continuity")


@contextmanager
def cut_off(mesh: Mesh, namespace: str, pod: str) -> Iterator[None]:
    """For a while, nothing of a pod reaches istiod, and nothing of istiod the pod: a push needs no answer to arrive."""

    def nft(*words: str) -> None:
        subprocess.run(mesh.pod_netns(namespace, pod).inside("nft", *words), check=True)

    nft("add table inet cut")
    nft("add chain inet cut out { type filter hook output priority 0; }")
    nft("add chain inet cut in { type filter hook input priority 0; }")
    nft(f"add rule inet cut in tcp sport {XDS_PORT} drop")
    nft(f"add rule inet cut out tcp dport {XDS_PORT} drop")
    try:
        yield
    finally:
        nft("delete table inet cut")


def test_gateway_that_is_cut_off_gets_no_new_clients(scene: Scene, told: Callable[[str], None]) -> None:
    """
    A destination is added meanwhile: its clients stay where they are, and the status names the pod. What the gateway
    knows already loses nothing.
    """
    gateways = Gateways(scene.mesh.cluster, scene.namespace)
    spec = scene.spec(gateway={"replicas": 1}, access={"from": [{"namespaces": [scene.callers[CLOSED]]}]})
    exit_ = ByOperator(gateways)
    exit_.put(STEADY, **spec)
    pods = scene.mesh.cluster.rest.items(f"/api/v1/namespaces/{scene.namespace}/pods")
    (pod,) = [each["metadata"]["name"] for each in pods]
    client = scene.clients[CLOSED]
    watch = StatusWatch(scene.mesh.kubeconfig)
    steady, late = (Traffic(client, f"http://{host}/", rate=RATE) for host in (HOST, LATE_HOST))
    with watch, steady, late:
        steady.wait_for(50, ok=True)
        with cut_off(scene.mesh, scene.namespace, pod):
            gateways.apply(NAME, STEADY, LATE, **spec)
            eventually(
                lambda: pod in gateways.condition(NAME, "Steered", part="late")["message"],
                what="the name of the pod that lacks it",
            )
            late.wait_for(100, ok=False)
            assert gateways.condition(NAME, "Steered", part="late")["status"] == "False"
        gateways.wait_ready(NAME)
        late.wait_for(50, ok=True)
        steady.wait_for(50, ok=True)
    for name, traffic in (("steady", steady), ("late", late)):
        report = traffic.report()
        told(report.line(f"{name} host of a gateway without istiod"))
        assert report.direct == 0
        claims = claims_of(watch.seen, scene.namespace, NAME, f"{name}/Steered")
        assert lies(report, claims) == []
    assert steady.report().moments()[:9] == []
