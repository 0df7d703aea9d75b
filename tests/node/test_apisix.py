"""The real APISIX, installed by its chart, as the exit of a namespace: seed-000 from end to end, with curl in a pod."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from harness.cluster import Cluster
from harness.gateways import Gateways, egress_gateway
from harness.kinds import install_definitions, read_definitions
from harness.objects import apply_all, namespace
from harness.operator import OperatorProcess
from harness.real import RealCluster
from harness.wait import eventually

pytestmark = pytest.mark.kind

ROOT: Final = Path(__file__).parents[2]
REPOSITORY: Final = "https://charts.apiseven.com"
VALUES: Final = (
    "ingress-controller.enabled=true",
    "ingress-controller.apisix.adminService.namespace=ingress-apisix",
    "ingress-controller.gatewayProxy.createDefault=true",
    "service.type=ClusterIP",
)
INSTALL_SECONDS: Final = 600
CLASS: Final = {
    "apiVersion": "egressgateway.dev/v1alpha1",
    "kind": "EgressGatewayClass",
    "metadata": {"name": "apisix"},
    "spec": {
        "provider": "APISIX",
        "mtls": "Disabled",
        "shared": {
            "namespace": "ingress-apisix",
            "service": "apisix-gateway",
            "selector": {"app.kubernetes.io/name": "apisix"},
        },
    },
}
CLIENT: Final = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "consumer", "namespace": "test", "labels": {"sidecar.istio.io/inject": "true"}},
    "spec": {"containers": [{"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]}]},
}


@pytest.fixture(scope="module")
def cluster(real: RealCluster) -> Cluster:
    """The kind cluster with Istio, our CRDs, and APISIX with its ingress controller."""
    if not shutil.which("helm"):
        pytest.skip("helm: not in PATH; APISIX is installed by its chart")
    found = real.cluster
    if not found.rest.exists("/api/v1/namespaces/istio-system/services/istiod"):
        pytest.skip("the kind cluster has no Istio")
    install_definitions(found.rest, read_definitions(sorted((ROOT / "crds").glob("*.yaml"))))
    # APISIX stays out of the mesh, as its documentation wants it.
    apply_all(found, [namespace("ingress-apisix", **{"istio-injection": "disabled"}), namespace("test")])
    helm = ["helm", "--kubeconfig", str(found.kubeconfig), "upgrade", "--install", "apisix", "apisix"]
    settings = [part for value in VALUES for part in ("--set", value)]
    wait = ["--namespace", "ingress-apisix", "--wait", "--timeout", f"{INSTALL_SECONDS}s"]
    subprocess.run([*helm, "--repo", REPOSITORY, *settings, *wait], check=True, timeout=INSTALL_SECONDS + 60)
    return found


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator beside the cluster; where one runs in it already, the Lease decides between the two."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(cluster.kubeconfig, log) as operator:
        yield operator


def test_request_leaves_through_apisix(cluster: Cluster, operator: OperatorProcess) -> None:
    """What the seed shows with six objects by hand: httpbin.org answers, and APISIX has seen the request."""
    assert operator.running
    apply_all(cluster, [CLASS, CLIENT])
    destination = {"name": "httpbin", "hosts": ["httpbin.org"], "ports": [{"port": 80, "protocol": "HTTP"}]}
    apply_all(cluster, [egress_gateway("test", "httpbin", destination, className="apisix")])
    gateways = Gateways(cluster, "test")
    gateways.wait_ready("httpbin", timeout=120)
    cluster.kubectl(
        "wait", "--namespace", "test", "pod/consumer", "--for=condition=Ready", "--timeout=180s", timeout=200
    )

    def answered() -> dict[str, Any]:
        curl = ["curl", "--silent", "--fail", "--max-time", "20", "http://httpbin.org/get"]
        done = cluster.kubectl("exec", "--namespace", "test", "consumer", "-c", "curl", "--", *curl, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    answer = eventually(answered, timeout=120, what="an answer of httpbin.org")
    assert answer["headers"]["Host"] == "httpbin.org"
    # APISIX says which host was asked for; the mark of the way, and what the mesh adds, stay behind.
    assert answer["headers"]["X-Forwarded-Host"] == "httpbin.org"
    assert (
        not {"X-Egressgateway-Way", "X-Envoy-Peer-Metadata", "X-Envoy-Decorator-Operation"} & answer["headers"].keys()
    )

    without_mark = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header"]
    target = "http://apisix-gateway.ingress-apisix.svc.cluster.local/get"
    by_hand = [*without_mark, "Host: httpbin.org", target]
    done = cluster.kubectl("exec", "--namespace", "test", "consumer", "-c", "curl", "--", *by_hand)
    assert done.stdout == "404"

    gateways.delete("httpbin")
    gateways.wait_gone("httpbin", timeout=120)
