"""The page on what was tried on which versions: made from what the programs of the tiers say of themselves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from harness.helm import MAJORS, RELEASE, find_helm
from harness.mesh import istio
from harness.node.cluster import NodeCluster
from harness.real import SYSTEM
from harness.session import ROOT
from harness.shop import Shop
from harness.tools import required_version

PAGE: Final = ROOT / "docs" / "tested.md"
_WORKFLOW: Final = ROOT / ".github" / "workflows" / "test.yaml"

_HEAD: Final = """# What was tested with what

Made by the tests: tier `node` compares this page with what the programs that it runs say of themselves. The tiers:

- **unit**: no cluster. **controlplane**: etcd, kube-apiserver, kube-controller-manager. **mesh**: the same with istiod
  and Envoys.
- **node**: real nodes (kubelet, containerd, kube-proxy, pod network, NetworkPolicies that are enforced), Istio with
  injected sidecars, and the operator's image by its chart under PodSecurity `restricted`.
- **kind**: the same tests on kind, with Istio's released images.

| part | version | tiers |
|---|---|---|
"""

_FOOT: Final = """
These are the versions that run, not all that may: [Install](install.md#requirements) says what is required. Not tested:
architectures other than amd64, other container runtimes, clusters without IPv4, other network plugins.
"""


def page(nodes: NodeCluster, shop: Shop) -> str:
    """The page, by a cluster in which the operator runs, and a client with a sidecar in it."""
    rows = [f"| {part} | {version} | {tiers} |\n" for part, version, tiers in _rows(nodes, shop)]
    return f"{_HEAD}{''.join(rows)}{_FOOT}"


def _rows(nodes: NodeCluster, shop: Shop) -> list[tuple[str, str, str]]:
    info = nodes.rest.items("/api/v1/nodes")[0]["status"]["nodeInfo"]
    server = nodes.rest.get("/version")["gitVersion"]
    assert server == info["kubeletVersion"]
    runtime, _, version = info["containerRuntimeVersion"].partition("://")
    return [
        ("Kubernetes", str(server).removeprefix("v"), "controlplane, mesh, node"),
        ("container runtime", f"{runtime} {version}, with runc of Debian", "node"),
        ("kube-proxy", "mode nftables", "node"),
        ("NetworkPolicies", f"kube-router {required_version('kube-router', _KUBE_ROUTER)}", "node"),
        ("cluster DNS", f"CoreDNS {required_version('coredns', 'github.com/coredns/coredns')}", "node"),
        ("Istio", _istio(nodes), "mesh, node"),
        ("Envoy", _envoy(shop), "mesh, node"),
        *((f"Helm {major}", _helm(find_helm(major)), "controlplane, node") for major in sorted(MAJORS)),
        ("Python of the image", _python(nodes), "node, and `make test-313`"),
        ("Python elsewhere", ", ".join(_pythons()), "unit"),
    ]


_KUBE_ROUTER: Final = "github.com/cloudnativelabs/kube-router/v2"


def _istio(nodes: NodeCluster) -> str:
    ask = (
        "exec",
        "deployment/istiod",
        "--namespace",
        istio.NAMESPACE,
        "--",
        "pilot-discovery",
        "version",
        "--output",
        "json",
    )
    told = re.search(r'"version": "([^"]+)"', nodes.kubectl(*ask).stdout)
    built = re.search(r"(\d{4})(\d\d)(\d\d)\d{6}-([0-9a-f]+)", required_version("istio", "istio.io/istio"))
    assert told
    assert built
    return f"{told[1]}, commit {built[4]} of {built[1]}-{built[2]}-{built[3]}"


def _envoy(shop: Shop) -> str:
    within = ("client", "--namespace", shop.namespace, "--container", "istio-proxy")
    ask = ("exec", *within, "--", "envoy", "--version")
    found = re.search(r"/(\d+\.\d+\.\d+)/", shop.cluster.kubectl(*ask).stdout)
    assert found
    return found[1]


def _helm(binary: Path) -> str:
    argv = [binary, "version", "--template", "{{.Version}}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.removeprefix("v")


def _python(nodes: NodeCluster) -> str:
    ask = ("exec", f"deployment/{RELEASE}", "--namespace", SYSTEM, "--", "python", "--version")
    # Its last number depends on who built the base image.
    return nodes.kubectl(*ask).stdout.split()[1].rpartition(".")[0]


def _pythons() -> list[str]:
    workflow: Any = yaml.safe_load(_WORKFLOW.read_text())
    return [str(each) for each in workflow["jobs"]["pythons"]["strategy"]["matrix"]["python"]]
