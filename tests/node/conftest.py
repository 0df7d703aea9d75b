"""
A kind cluster with Istio, and the operator in it as its users have it: its image, by its chart.

Tests here need docker and the Internet. Whoever brings an operator of their own uses `kind_cluster` alone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from egressgateway import __version__
from harness import tools
from harness.cluster import Cluster
from harness.helm import CHART, RELEASE, Helm, find_helm
from harness.kind import IMAGE, ISTIO, RESTRICTED, SYSTEM, Release
from harness.objects import apply_all, namespace
from harness.session import ROOT


@pytest.fixture(scope="session")
def kind_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KindCluster]:
    """The cluster of pytest-kind, with Istio by istioctl; removed when the run ends."""
    cluster = KindCluster("egressgateway", kubectl_path=tools.find_kubectl())
    cluster.create()
    try:
        istioctl = [
            str(tools.find_istioctl()),
            "--kubeconfig",
            str(cluster.kubeconfig_path),
            "install",
            "--skip-confirmation",
        ]
        release = ["--set", "hub=docker.io/istio", "--set", f"tag={ISTIO}", "--set", "profile=minimal"]
        subprocess.run([*istioctl, *release], check=True, timeout=600)
        yield cluster
    finally:
        cluster.delete()


@pytest.fixture(scope="session")
def release(kind_cluster: KindCluster) -> Release:
    """The chart, with the image that is built from this tree, where PodSecurity `restricted` is enforced."""
    image = f"{IMAGE}:{__version__}"
    subprocess.run(["make", "image"], cwd=ROOT, check=True, timeout=900)
    kind_cluster.load_docker_image(image)
    cluster = Cluster(Path(kind_cluster.kubeconfig_path).absolute(), tools.find_kubectl())
    helm = Helm(find_helm(), cluster.kubeconfig)
    apply_all(cluster, [namespace(SYSTEM, **RESTRICTED)])
    values = {"image": {"repository": IMAGE, "tag": __version__, "pullPolicy": "Never"}}
    helm.run(
        "install", RELEASE, str(CHART), "--namespace", SYSTEM, "--wait", "--timeout", "3m", values=values, timeout=300
    )
    return Release(cluster, helm)
