"""
The image as far as it can be tried without an engine: the Dockerfile's steps, and the program as a pod runs it.

It serves two namespaces with the rights that the chart gives for those, and nothing more.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from egressgateway import __version__
from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness import image, istiod
from harness.controlplane import ControlPlane, Options, free_ports
from harness.gateways import Gateways, destination
from harness.granted import requests_of
from harness.helm import RELEASE, Helm, find_helm
from harness.kubeconfig import Access
from harness.objects import apply_all, namespace, pod, service
from harness.release import RIGHTS
from harness.rest import Object
from harness.session import ROOT, Run
from harness.wait import CONVERGE, START, eventually

pytestmark = pytest.mark.controlplane

SYSTEM: Final = "egressgateway-system"
TENANT: Final = "tenant"
USER: Final = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
VALUES: Final[dict[str, Any]] = {
    "watchNamespaces": [TENANT],
    "gatewayNamespaces": ["istio-system"],
    "mesh": {"pushGraceSeconds": 0.3},
}


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """The programs of the image; in a directory that everybody may look into, as pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="egressgateway-image-") as directory:
        Path(directory).chmod(0o755)
        yield image.build(Path(directory))


def test_wheel_and_locked_packages_are_enough(programs: Path, tmp_path: Path) -> None:
    """The entry point runs where nothing else is installed, and no package lacks another."""
    environment = {"PATH": str(programs), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        ["egressgw", "version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == __version__
    check = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "check"]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    options: Options = replace(run.options(audit=True))
    with run.private(options) as plane:
        istiod.install(plane)
        yield plane


@pytest.fixture(scope="module")
def server(plane: ControlPlane, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an operator that runs as the chart's Deployment says, in what is as good as a pod."""
    if lacking := image.missing():
        pytest.skip(lacking)
    rendered = Helm(find_helm()).template(VALUES, namespace=SYSTEM)
    apply_all(plane, [namespace(SYSTEM), namespace(TENANT), *(each for each in rendered if is_a_right(each))])
    directory = tmp_path_factory.mktemp("pod")
    account = Access.read(plane.service_account_kubeconfig(SYSTEM, RELEASE, directory / "kubeconfig"))
    [port] = free_ports(1)
    command = image.pod_command(account, directory, argv_of(rendered, programs, port), environment_of(programs))
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            try:
                eventually(lambda: answers(f"{url}/readyz"), timeout=START, what="an operator that is ready")
            except TimeoutError as late:
                raise AssertionError((directory / "log").read_text()) from late
            yield url
            process.terminate()
            assert process.wait(30) == 0, (directory / "log").read_text()
        finally:
            process.kill()
            process.wait()


def is_a_right(rendered: Object) -> bool:
    return rendered["kind"] in RIGHTS and "helm.sh/hook" not in rendered["metadata"].get("annotations", {})


def argv_of(rendered: list[Object], programs: Path, port: int) -> list[str]:
    [container] = [
        each["spec"]["template"]["spec"]["containers"][0] for each in rendered if each["kind"] == "Deployment"
    ]
    flags = [each for each in container["args"] if not each.startswith("--metrics-port")]
    return [str(programs / "egressgw"), *flags, f"--metrics-port={port}", "--metrics-host=127.0.0.1"]


def environment_of(programs: Path) -> dict[str, str]:
    """Of the Dockerfile and of the Deployment."""
    declared = (ROOT / "Dockerfile").read_text().rpartition("\nENV ")[2].splitlines()[0]
    found = dict(pair.split("=", 1) for pair in declared.split())
    return {**found, "PATH": str(programs), "POD_NAME": "operator-0", "POD_NAMESPACE": SYSTEM}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_operator_works_in_a_pod_with_rights_in_its_namespaces(plane: ControlPlane, server: str) -> None:
    """As nobody, with a read-only root and the pod's own account: a gateway of its own, then one that is shared."""
    gateways = Gateways(plane, TENANT)
    gateways.apply("partners", destination("api", "api.example.com"))
    gateways.wait_ready("partners")

    spec = {"shared": {"namespace": "istio-system", "service": "egress", "selector": {"istio": "egress"}}}
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    container = {"name": "istio-proxy", "image": "proxyv2"}
    apply_all(
        plane,
        [
            service("istio-system", "egress", *ports, selector={"istio": "egress"}),
            pod("istio-system", "egress-0", container, istio="egress"),
            {**head, "metadata": {"name": "shared"}, "spec": spec},
        ],
    )
    gateways.apply("partners", destination("api", "api.example.com"), className="shared")
    gateways.wait_ready("partners", timeout=2 * CONVERGE)
    assert gateways.get("partners")["status"]["remoteChildren"]
    gateways.delete("partners")
    gateways.wait_gone("partners", timeout=2 * CONVERGE)

    asked = [
        each for each in requests_of(plane.audit_events(), USER) if not each.resource.startswith("apisix.apache.org/")
    ]
    assert [each for each in asked if each.code == 403] == []
    everywhere = {each.resource for each in asked if not each.namespace}
    assert everywhere == {
        "namespaces",
        "apiextensions.k8s.io/customresourcedefinitions",
        "egressgateway.dev/egressgatewayclasses",
        "egressgateway.dev/egressgatewayclasses/status",
    }
