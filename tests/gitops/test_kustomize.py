"""The kustomize base is what the chart installs by default, and an API server takes it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from gitops.tools import ROOT
from harness.cluster import Cluster
from harness.golden import Golden
from harness.helm import Helm, find_helm
from harness.tools import ToolsMissing

BASE = ROOT / "deploy" / "kustomize"
HEAD = "# What the chart installs by default, without its hooks and CRDs. Written by `make golden`: do not edit.\n"
OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")


def without_helm(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object without what only Helm puts there; selectors keep what they have."""
    found = copy.deepcopy(manifest)
    metadata = found["metadata"]
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in OF_HELM}
    return found


def is_installed(manifest: dict[str, Any]) -> bool:
    """Whether it stays: no hook, and no CRD, which has a directory of its own."""
    hook = "helm.sh/hook" in (manifest["metadata"].get("annotations") or {})
    return not hook and manifest["kind"] != "CustomResourceDefinition"


def test_base_is_what_the_chart_installs(golden: Golden) -> None:
    """Who uses no Helm gets the same operator with the same rights."""
    try:
        helm = Helm(find_helm())
    except ToolsMissing as missing:
        pytest.skip(str(missing))
    found = [without_helm(each) for each in helm.template() if is_installed(each)]
    assert {each["kind"] for each in found} >= {"Deployment", "ClusterRole", "Role", "ServiceAccount"}
    text = yaml.safe_dump_all(found, sort_keys=False, width=140)
    Golden(golden.update, BASE)("operator.yaml", HEAD + text)


def test_api_server_takes_the_base(cluster: Cluster) -> None:
    """Every object is one that the server would store; those of a namespace that is not there yet are left to it."""
    built = [each for each in yaml.safe_load_all(cluster.kubectl("kustomize", str(BASE)).stdout) if each]
    images = [
        each["spec"]["template"]["spec"]["containers"][0]["image"] for each in built if each["kind"] == "Deployment"
    ]
    assert images == ["registry.example.com/egressgateway-operator:0.1.0"]
    for each in built:
        if each["kind"] != "Namespace" and "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = "default"
    done = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(built))
    assert len(done.stdout.splitlines()) == len(built)
