"""The operator as its users have it: image and chart in a real cluster, real Istio, and calls from real pods."""

from __future__ import annotations

from typing import Final

import pytest

from egressgateway import __version__
from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness.gateways import Gateways, destination
from harness.helm import RELEASE
from harness.kind import IMAGE, SHARED_FILES, SYSTEM, Release, run_files
from harness.objects import apply_all, namespace, service
from harness.rest import Object
from harness.wait import eventually

pytestmark = pytest.mark.kind

SLOW: Final = 180
"""Seconds for what pulls images first."""

HOST: Final = "partner.example"


def test_helm_test_passes(release: Release) -> None:
    """The pod of `helm test` reaches the operator, which has read everything."""
    release.helm.run("test", RELEASE, "--namespace", SYSTEM, "--timeout", "2m", timeout=180)


def test_curl_goes_through_the_gateway(release: Release) -> None:
    """
    A call of a client's pod leaves by the gateway: its name is in the gateway's log, and without it there is no answer.

    The partner is a server without a sidecar, in a namespace that is no part of the mesh.
    """
    cluster = release.cluster
    labels = {"istio-injection": "enabled"}
    apply_all(cluster, [namespace("world"), namespace("shop", **labels), *partner(), client()])
    address = cluster.rest.get("/api/v1/namespaces/world/services/partner")["spec"]["clusterIP"]
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    apply_all(cluster, [{**head, "metadata": {"name": "world"}, "spec": {"allowedCIDRs": [f"{address}/32"]}}])
    gateways = Gateways(cluster, "shop")
    ports = [{"port": 80, "protocol": "HTTP"}]
    gateways.apply(
        "partners",
        {**destination("partner", HOST, ports=ports), "endpoints": [{"address": address}]},
        className="world",
        telemetry={"accessLog": "Enabled"},
    )
    gateways.wait_ready("partners", timeout=SLOW)
    cluster.kubectl(
        "wait", "--for=condition=Ready", "pod/client", "--namespace", "shop", f"--timeout={SLOW}s", timeout=SLOW
    )

    asks = ("exec", "client", "--namespace", "shop", "--container", "curl", "--")
    call = ("curl", "--silent", "--show-error", "--max-time", "10", f"http://{HOST}/by-the-gateway")
    eventually(
        lambda: "Error response" in cluster.kubectl(*asks, *call).stdout, timeout=60, what="the partner's answer"
    )
    log = ("logs", "deployment/partners-egress", "--namespace", "shop", "--all-pods", "--container", "istio-proxy")
    eventually(lambda: "/by-the-gateway" in cluster.kubectl(*log).stdout, what="the call in the gateway's log")

    gateways.delete("partners")
    gateways.wait_gone("partners", timeout=SLOW)


def partner() -> list[Object]:
    """A server that answers every path with 404, from the operator's own image: nothing has to be pulled."""
    container = {"name": "server", "image": image(), "command": ["python", "-m", "http.server", "8000"]}
    metadata = {"name": "partner", "namespace": "world", "labels": {"app": "partner"}}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}},
        service("world", "partner", {"port": 80, "targetPort": 8000}),
    ]


def client() -> Object:
    container = {"name": "curl", "image": "docker.io/curlimages/curl:8.16.0", "command": ["sleep", "infinity"]}
    metadata = {"name": "client", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def image() -> str:
    return f"{IMAGE}:{__version__}"


def test_files_of_the_control_plane_tier_hold_here(release: Release) -> None:
    """An operator of the tests' own, on this cluster: what is true on the embedded control plane is true here."""
    # The release would serve the same objects: it rests meanwhile.
    scale = ("scale", "deployment", RELEASE, "--namespace", SYSTEM)
    release.cluster.kubectl(*scale, "--replicas=0")
    try:
        done = run_files(release.cluster, *SHARED_FILES)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        release.cluster.kubectl(*scale, "--replicas=2")
