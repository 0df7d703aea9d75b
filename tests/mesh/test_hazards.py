"""
Objects of other people that come between a client and its route: at no moment does the status say otherwise than what
becomes of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from harness.gateways import Gateways
from harness.mesh.continuity import Traffic
from harness.mesh.detector import StatusWatch, claims_of, lies
from harness.mesh.exits import NAME, ByOperator
from harness.mesh.scene import CLOSED, HOST, RATE, STEADY, Scene
from harness.rest import Object

_SELECTOR: Final = {"workloadSelector": {"labels": {"app": "nobody"}}}

_PORT: Final = {"number": 80, "protocol": "HTTP", "name": "http"}

IN_THE_WAY: Final[dict[str, tuple[str, Object]]] = {
    "Sidecar without the host": ("sidecars", {"egress": [{"hosts": ["./*", "istio-system/*"]}]}),
    "Sidecar with a listener for the port alone": ("sidecars", {"egress": [{"port": _PORT, "hosts": ["*/*"]}]}),
    "Sidecar whose listener for the port lacks the host": (
        "sidecars",
        {"egress": [{"port": _PORT, "hosts": ["./*"]}, {"hosts": ["*/*"]}]},
    ),
    "rule for *.local": ("destinationrules", {"host": "*.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
    "rule for *.local and other pods": (
        "destinationrules",
        {"host": "*.local", "workloadSelector": {"matchLabels": {"app": "nobody"}}},
    ),
}

HARMLESS: Final[dict[str, tuple[str, Object]]] = {
    "Sidecar with the host": ("sidecars", {"egress": [{"hosts": ["./*", f"*/{HOST}"]}]}),
    "Sidecar for other pods": ("sidecars", {**_SELECTOR, "egress": [{"hosts": ["./*"]}]}),
    "Sidecar with a listener for the port and one for the rest": (
        "sidecars",
        {"egress": [{"port": _PORT, "hosts": ["*/*"]}, {"hosts": ["*/*"]}]},
    ),
    "rule for another Service": ("destinationrules", {"host": "*.shop.svc.cluster.local"}),
    "rule for other namespaces": ("destinationrules", {"host": "*.local", "exportTo": ["shop"]}),
}

KINDS: Final = {"sidecars": "Sidecar", "destinationrules": "DestinationRule"}


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes lines for the table."""
    return partial(record_property, "continuity")


class Place:
    """One namespace of clients that has an object of its own for a while."""

    def __init__(self, scene: Scene, plural: str, spec: Object) -> None:
        self._rest = scene.mesh.cluster.rest
        self._path = f"/apis/networking.istio.io/v1/namespaces/{scene.callers[CLOSED]}/{plural}/other"
        self._manifest = {
            "apiVersion": "networking.istio.io/v1",
            "kind": KINDS[plural],
            "metadata": {"name": "other"},
            "spec": spec,
        }

    def put(self) -> None:
        self._rest.apply(self._path, self._manifest)

    def remove(self) -> None:
        self._rest.delete(self._path)


def serve(scene: Scene) -> Gateways:
    """An exit for the clients that may call what is known, and nobody else."""
    gateways = Gateways(scene.mesh.cluster, scene.namespace)
    access = {"from": [{"namespaces": [scene.callers[CLOSED]]}]}
    ByOperator(gateways).put(STEADY, **scene.spec(gateway={"replicas": 1}, access=access))
    return gateways


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_is_in_the_way_is_told(name: str, scene: Scene, told: Callable[[str], None]) -> None:
    """Requests fail while it is there; the status names it then, and neither before nor after."""
    gateways, place = serve(scene), Place(scene, *IN_THE_WAY[name])
    watch = StatusWatch(scene.mesh.kubeconfig)
    with watch, Traffic(scene.clients[CLOSED], f"http://{HOST}/", rate=RATE) as traffic:
        traffic.wait_for(50, ok=True)
        place.put()
        gateways.wait(NAME, "Steered", "False", "RouteConflict", part="steady")
        traffic.wait_for(50, ok=False)
        place.remove()
        gateways.wait_ready(NAME)
        traffic.wait_for(50, ok=True)
    report = traffic.report()
    told(report.line(f"{name}, for a while"))
    assert report.direct == 0
    assert lies(report, claims_of(watch.seen, scene.namespace, NAME, "steady/Steered")) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_what_harms_nobody_is_not_told(name: str, scene: Scene, told: Callable[[str], None]) -> None:
    serve(scene)
    place = Place(scene, *HARMLESS[name])
    watch = StatusWatch(scene.mesh.kubeconfig)
    with watch, Traffic(scene.clients[CLOSED], f"http://{HOST}/", rate=RATE) as traffic:
        traffic.wait_for(50, ok=True)
        place.put()
        scene.mesh.settle()
        traffic.wait_for(100, ok=True)
        place.remove()
        scene.mesh.settle()
        traffic.wait_for(50, ok=True)
    report = traffic.report()
    told(report.line(f"{name}, for a while"))
    assert (report.moments()[:9], report.direct) == ([], 0)
    assert lies(report, claims_of(watch.seen, scene.namespace, NAME, "steady/Steered")) == []
