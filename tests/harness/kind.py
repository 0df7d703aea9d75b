"""A kind cluster as the tests of the release see it; it needs docker and the Internet."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pytest_kind import KindCluster

from egressgateway import __version__
from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness import tools
from harness.cluster import Cluster
from harness.gateways import destination
from harness.objects import apply_all, namespace, service
from harness.real import HOST, RealCluster
from harness.rest import Object
from harness.session import ROOT

IMAGE: Final = "egressgateway-operator"
ISTIO: Final = os.environ.get("EGRESSGATEWAY_KIND_ISTIO", "1.30.0")
"""Release of Istio whose images are installed."""

CURL: Final = "docker.io/curlimages/curl:8.16.0"
WORLD: Final = "world"


class RealKind(RealCluster):
    """The image is loaded into the node; the partner is a pod of a namespace that is no part of the mesh."""

    class_name = WORLD

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.image = {"repository": IMAGE, "tag": __version__, "pullPolicy": "Never"}
        self.client = {"name": "client", "image": CURL, "command": ["sleep", "infinity"]}
        # From the operator's own image: nothing has to be pulled. Every path is answered, with 404.
        server = {
            "name": "server",
            "image": f"{IMAGE}:{__version__}",
            "command": ["python", "-m", "http.server", "8000"],
        }
        metadata = {"name": "partner", "namespace": WORLD, "labels": {"app": "partner"}}
        head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
        apply_all(
            cluster,
            [
                namespace(WORLD),
                {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [server]}},
                service(WORLD, "partner", {"port": 80, "targetPort": 8000}),
            ],
        )
        self._address = str(cluster.rest.get(f"/api/v1/namespaces/{WORLD}/services/partner")["spec"]["clusterIP"])
        self._class = {**head, "metadata": {"name": WORLD}, "spec": {"allowedCIDRs": [f"{self._address}/32"]}}

    def partner(self, *ports: Object) -> Object:
        # Here, as the chart brings the kind.
        apply_all(self.cluster, [self._class])
        listed = list(ports) or [{"port": 80, "protocol": "HTTP"}]
        return {**destination("partner", HOST, ports=listed), "endpoints": [{"address": self._address}]}

    def peers(self, path: str) -> set[str]:
        log = self.cluster.kubectl("logs", "pod/partner", "--namespace", WORLD).stdout
        return set(re.findall(rf'^(\S+) .*"GET {re.escape(path)} ', log, re.MULTILINE))


@contextmanager
def kind_cluster() -> Iterator[Cluster]:
    """The cluster of pytest-kind with Istio by istioctl, and the operator's image; removed at the end."""
    kind = KindCluster("egressgateway", kubectl_path=tools.find_kubectl())
    kind.create()
    try:
        kubeconfig = Path(kind.kubeconfig_path).absolute()
        install = [str(tools.find_istioctl()), "--kubeconfig", str(kubeconfig), "install", "--skip-confirmation"]
        release = ["--set", "hub=docker.io/istio", "--set", f"tag={ISTIO}", "--set", "profile=minimal"]
        subprocess.run([*install, *release], check=True, timeout=600)
        subprocess.run(["make", "image"], cwd=ROOT, check=True, timeout=900)
        kind.load_docker_image(f"{IMAGE}:{__version__}")
        cluster = Cluster(kubeconfig, tools.find_kubectl())
        yield cluster
        cluster.rest.close()
    finally:
        kind.delete()
