"""
What events cost the requests that are under way. Every line of the table at the end of a run is one of these tests.

All of them run against one gateway after the other in a namespace of their own, at a steady rate; lost and direct
requests are counted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from harness.gateways import Gateways, destination
from harness.mesh.clients import Client, Clients, ensure_namespace
from harness.mesh.continuity import RATE, Report, StatusWatch, Traffic, lies
from harness.mesh.mesh import Mesh
from harness.operator import OperatorProcess
from harness.rest import Object
from harness.wait import eventually

URL = "http://steady.example.com/"
STEADY = destination("steady", "steady.example.com")
NAME = "exit"
SIDECARS = "/apis/networking.istio.io/v1/namespaces/{}/sidecars"
ALLOW_ANY = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Sidecar",
    "metadata": {"name": "default"},
    "spec": {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}, "egress": [{"hosts": ["*/*"]}]},
}
"""For one namespace: the mesh's own setting is everybody's."""

PUSH_SECONDS = 1.0
"""
How long a status may be ahead of the proxies: istiod waits for more changes, pushes, and proxies warm up what they got.
"""


@pytest.fixture
def gateways(mesh: Mesh, operator: OperatorProcess) -> Iterator[Gateways]:
    """The EgressGateways of a namespace of the test's own."""
    assert operator.running
    namespace = f"steady-{secrets.token_hex(3)}"
    ensure_namespace(mesh, namespace)
    yield Gateways(mesh.cluster, namespace)
    mesh.cluster.rest.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
def client(clients: Clients, gateways: Gateways) -> Client:
    return clients.get(gateways.namespace)


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes lines for the table."""
    return partial(record_property, "continuity")


def steady(gateways: Gateways, replicas: int = 2) -> None:
    """A gateway that works."""
    gateways.apply(NAME, STEADY, gateway={"replicas": replicas})
    gateways.wait_ready(NAME)
    deployed = partial(_deployed, gateways, replicas)
    eventually(deployed, what=f"{replicas} ready pods")


def nothing_lost(report: Report) -> None:
    assert (dict(report.lost), report.direct) == ({}, 0)
    assert report.through > 100


class TestSteadyTraffic:
    """Requests flow while the gateway's owner, and others, do what they do."""

    def test_creation(self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """From the first request that is answered on none is lost, and none ever leaves past the gateway."""
        with StatusWatch(mesh.kubeconfig, gateways.namespace, NAME) as watch:
            with Traffic(client, URL) as traffic:
                gateways.apply(NAME, STEADY, gateway={"replicas": 1})
                gateways.wait_ready(NAME)
                traffic.wait_for(150)
            report = traffic.report()
        told(report.steered().line("created"))
        assert report.direct == 0
        nothing_lost(report.steered())
        assert report.samples[-1].ok
        assert lies(report, watch.stands, "Ready", PUSH_SECONDS) == []

    def test_deletion(self, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """Until the last request that is answered none is lost, and none ever leaves past the gateway."""
        steady(gateways)
        with Traffic(client, URL) as traffic:
            traffic.wait_for(100, ok=True)
            gateways.delete(NAME)
            gateways.wait_gone(NAME)
            traffic.wait_for(100)
        report = traffic.report()
        told(report.steered().line("deleted"))
        assert report.direct == 0
        nothing_lost(report.steered())
        assert not report.samples[-1].ok

    def test_life_in_a_mesh_that_lets_everything_out(
        self, gateways: Gateways, client: Client, told: Callable[[str], None]
    ) -> None:
        """
        Created and deleted where requests are answered before and after, too: not one is lost, and in between none is
        direct.
        """
        gateways.cluster.rest.apply(f"{SIDECARS.format(gateways.namespace)}/default", ALLOW_ANY)
        with Traffic(client, URL) as traffic:
            traffic.wait_for(50, ok=True)
            steady(gateways)
            traffic.wait_for(200)
            gateways.delete(NAME)
            gateways.wait_gone(NAME)
            traffic.wait_for(100, ok=True)
        report = traffic.report()
        told(report.steered().line("ALLOW_ANY: created, deleted"))
        nothing_lost(report.steered())
        assert report.since(report.steered().samples[0].at).lost == {}

    def test_edit_of_another_destination(self, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """Destinations that come and go leave the others alone."""
        steady(gateways)
        with Traffic(client, URL) as traffic:
            gateways.apply(NAME, STEADY, destination("other", "other.example.com"), gateway={"replicas": 2})
            gateways.wait_ready(NAME)
            traffic.wait_for(100)
            gateways.apply(NAME, STEADY, gateway={"replicas": 2})
            gateways.wait_ready(NAME)
            traffic.wait_for(100)
        told(traffic.report().line("another destination added, removed"))
        nothing_lost(traffic.report())

    def test_roll(self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """All pods are replaced, one after the other."""
        steady(gateways)
        before = pods(mesh, gateways)
        with StatusWatch(mesh.kubeconfig, gateways.namespace, NAME) as watch:
            with Traffic(client, URL) as traffic:
                mesh.cluster.kubectl("rollout", "restart", f"deployment/{NAME}-egress", "-n", gateways.namespace)
                eventually(lambda: not before & pods(mesh, gateways), what="the end of the old pods", timeout=60)
                traffic.wait_for(100)
            report = traffic.report()
        told(report.line("gateway rolled, 2 pods"))
        nothing_lost(report)
        assert lies(report, watch.stands, "Ready", PUSH_SECONDS) == []

    def test_scale(self, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """Pods come and go."""
        steady(gateways, 1)
        with Traffic(client, URL) as traffic:
            for replicas in (3, 1):
                gateways.apply(NAME, STEADY, gateway={"replicas": replicas})
                eventually(partial(_deployed, gateways, replicas), what=f"{replicas} pods")
                traffic.wait_for(150)
        told(traffic.report().line("gateway scaled 1, 3, 1"))
        nothing_lost(traffic.report())

    def test_pod_killed(self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """
        One of two pods dies without a word: what it had in hand is lost, and nothing once the proxies know.

        A request that a gateway has begun to work on is never sent again by the mesh, as it may have been acted on
        (Istio's default retries: connect-failure, refused-stream, reset-before-request). Until then a new connection to
        the dead pod's address may also wait in vain: the kernel says "unreachable" once a second at most.
        """
        steady(gateways)
        with Traffic(client, URL) as traffic:
            traffic.wait_for(50, ok=True)
            victim = sorted(pods(mesh, gateways))[0]
            place = mesh.pod_netns(gateways.namespace, victim)
            mesh.cluster.kubectl("delete", "pod", victim, "-n", gateways.namespace, "--grace-period=0", "--force")
            eventually(lambda: not place.exists(), what="the end of the pod")
            mesh.settle()
            known = time.time()
            eventually(lambda: victim not in pods(mesh, gateways) and len(pods(mesh, gateways)) == 2)
            traffic.wait_for(150)
        report = traffic.report()
        told(report.line("one of two pods killed"))
        assert report.direct == 0
        assert sum(report.lost.values()) < RATE
        nothing_lost(report.since(known))

    def test_operator_killed(
        self, operator: OperatorProcess, gateways: Gateways, client: Client, told: Callable[[str], None]
    ) -> None:
        """The operator is not in the way of any request; what it left half done, the next one finishes."""
        steady(gateways)
        with Traffic(client, URL) as traffic:
            gateways.apply(NAME, STEADY, destination("late", "late.example.com"), gateway={"replicas": 2})
            operator.kill()
            traffic.wait_for(100)
            operator.start()
            gateways.wait_ready(NAME)
            traffic.wait_for(50)
        told(traffic.report().line("operator killed during an edit"))
        nothing_lost(traffic.report())

    def test_istiod_restarted(
        self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]
    ) -> None:
        """Proxies keep what they have while nobody tells them anything."""
        steady(gateways)
        with Traffic(client, URL) as traffic:
            traffic.wait_for(50, ok=True)
            mesh.stop_istiod()
            traffic.wait_for(100)
            mesh.start_istiod()
            mesh.settle()
            traffic.wait_for(100)
        told(traffic.report().line("istiod restarted"))
        nothing_lost(traffic.report())


def pods(mesh: Mesh, gateways: Gateways) -> set[str]:
    """Names of the gateway's pods that are not being deleted."""
    listed = mesh.cluster.rest.items(
        f"/api/v1/namespaces/{gateways.namespace}/pods", labelSelector=f"egressgateway.dev/gateway={NAME}"
    )
    return {each["metadata"]["name"] for each in listed if "deletionTimestamp" not in each["metadata"]}


def _deployed(gateways: Gateways, replicas: int) -> bool:
    deployment: Object = gateways.children(NAME)["Deployment", f"{NAME}-egress"]
    status = deployment.get("status") or {}
    return bool(status.get("readyReplicas") == replicas and status.get("replicas") == replicas)
