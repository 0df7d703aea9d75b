"""
What events cost the requests that are under way. Every line of the table at the end of a run is one of these tests.

All of them run against one gateway after the other in a namespace of their own, at a steady rate; lost and direct
requests are counted. What can be done without the operator, too, is in `harness.mesh.events`; `make mesh-report` shows
the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from harness.gateways import Gateways, destination
from harness.mesh.clients import Client, Clients
from harness.mesh.continuity import RATE, Report, Traffic
from harness.mesh.detector import StatusWatch, claims_of, lies
from harness.mesh.events import EVENTS
from harness.mesh.exits import NAME, ByOperator
from harness.mesh.mesh import Mesh
from harness.mesh.scene import MODES, Scene
from harness.operator import OperatorProcess
from harness.rest import Object
from harness.wait import eventually

URL = "http://steady.example.com/"
STEADY = destination("steady", "steady.example.com")


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


@contextmanager
def watched(mesh: Mesh, gateways: Gateways, client: Client) -> Iterator[Traffic]:
    """Requests at a steady rate, and a status that is true of them at every moment."""
    with StatusWatch(mesh.kubeconfig) as watch, Traffic(client, URL) as traffic:
        yield traffic
    claims = claims_of(watch.seen, gateways.namespace, NAME, "steady/Steered")
    assert lies(traffic.report(), claims) == []


def nothing_lost(report: Report) -> None:
    assert (report.moments()[:9], report.direct) == ([], 0)
    assert report.through > 100


NOT_JUDGED_BY_READY = {
    # The whole object is rightly not Ready until all that is asked for is in place.
    "another destination added, removed",
    # It is not about a host that is not in the spec any more.
    "one of 60 hosts removed, the host itself",
}
"""Events where `Steered` alone must be true of the requests; elsewhere `Ready` must be, too."""

REPORTED_ONLY = {"one of 60 hosts removed, another host"}
"""For `make mesh-report` alone: the host itself is the harder case, and the tier has minutes to keep to."""


@pytest.mark.parametrize("name", [name for name in EVENTS if name not in REPORTED_ONLY])
def test_event(name: str, scene: Scene, told: Callable[[str], None]) -> None:
    """
    None of the requests is lost or goes past the gateway, whatever becomes of hosts that nobody knows; and at no moment
    does the status say otherwise than what becomes of requests.
    """
    seen = EVENTS[name](scene, ByOperator(Gateways(scene.mesh.cluster, scene.namespace)))
    for mode in MODES:
        told(seen.cost(mode).line(f"{name}: {mode}"))
    for mode in MODES:
        assert (seen.cost(mode).moments()[:9], seen.cost(mode).direct) == ([], 0), mode
        assert seen.reports[mode].through > 30, mode
    assert seen.lies(*(() if name in NOT_JUDGED_BY_READY else ("Ready",))) == []


class TestSteadyTraffic:
    """Requests flow while the gateway's owner, and others, do what they do."""

    def test_roll(self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """All pods are replaced, one after the other."""
        steady(gateways)
        before = pods(mesh, gateways)
        with watched(mesh, gateways, client) as traffic:
            mesh.cluster.kubectl("rollout", "restart", f"deployment/{NAME}-egress", "-n", gateways.namespace)
            eventually(lambda: not before & pods(mesh, gateways), what="the end of the old pods", timeout=60)
            traffic.wait_for(100)
        report = traffic.report()
        told(report.line("gateway rolled, 2 pods"))
        nothing_lost(report)

    def test_scale(self, mesh: Mesh, gateways: Gateways, client: Client, told: Callable[[str], None]) -> None:
        """Pods come and go."""
        steady(gateways, 1)
        with watched(mesh, gateways, client) as traffic:
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
        with watched(mesh, gateways, client) as traffic:
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
        self,
        mesh: Mesh,
        operator: OperatorProcess,
        gateways: Gateways,
        client: Client,
        told: Callable[[str], None],
    ) -> None:
        """The operator is not in the way of any request; what it left half done, the next one finishes."""
        steady(gateways)
        with watched(mesh, gateways, client) as traffic:
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
        with watched(mesh, gateways, client) as traffic:
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
