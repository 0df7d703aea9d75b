"""The repository to copy: what its parts refer to is there, and comes in an order that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.tools import ROOT, expressions
from harness.cluster import Cluster

REPOSITORY = ROOT / "deploy" / "gitops" / "repository"
PRODUCTION = REPOSITORY / "clusters" / "production"
WAVE = "argocd.argoproj.io/sync-wave"
DIRECTORIES = sorted(path.parent for path in REPOSITORY.rglob("kustomization.yaml"))

Object = dict[str, Any]


def documents(directory: Path) -> list[Object]:
    """Every object in the files of a directory, but kustomize's own."""
    found = [each for path in sorted(directory.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if not each["apiVersion"].startswith("kustomize.config")]


def of_kind(directory: Path, kind: str) -> dict[str, Object]:
    """The specs of a kind by name."""
    return {each["metadata"]["name"]: each["spec"] for each in documents(directory) if each["kind"] == kind}


@pytest.mark.controlplane
@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_kustomize_builds_every_directory(directory: Path, cluster: Cluster) -> None:
    """Nothing in a directory is left out of its kustomization, and nothing that it names is missing."""
    built = [each for each in yaml.safe_load_all(cluster.kubectl("kustomize", str(directory)).stdout) if each]
    names = sorted((each["kind"], each["metadata"]["name"]) for each in built)
    assert names == sorted((each["kind"], each["metadata"]["name"]) for each in documents(directory))


def test_paths_of_flux_exist() -> None:
    """Every path is a directory of the repository, every source and every dependency an object beside it."""
    kustomizations = of_kind(PRODUCTION / "flux", "Kustomization")
    sources = of_kind(PRODUCTION / "flux", "GitRepository")
    assert len(kustomizations) == 4
    for spec in kustomizations.values():
        assert (REPOSITORY / spec["path"] / "kustomization.yaml").exists()
        assert spec["sourceRef"]["name"] in sources
        assert {each["name"] for each in spec.get("dependsOn", ())} <= kustomizations.keys()
        assert spec["wait"] is True
        # With `wait: true` Flux ignores them.
        assert "healthChecks" not in spec
    for release in of_kind(PRODUCTION / "flux" / "operator", "HelmRelease").values():
        assert release["chart"]["spec"]["sourceRef"]["name"] in sources


def test_flux_waits_for_the_operator_before_classes_and_for_classes_before_tenants() -> None:
    """A class fails while there are no CRDs; a tenant's object that comes before its class is reported as failed."""
    kustomizations = of_kind(PRODUCTION / "flux", "Kustomization")
    release = REPOSITORY / kustomizations["egress-operator"]["path"]
    assert list(of_kind(release, "HelmRelease")) == ["egressgateway-operator"]
    assert kustomizations["egress-classes"]["dependsOn"] == [{"name": "egress-operator"}]
    tenants = [spec for name, spec in kustomizations.items() if name.startswith("tenant-")]
    assert [spec["dependsOn"] for spec in tenants] == [[{"name": "egress-classes"}]] * 2


def test_expressions_of_flux_are_those_that_are_judged() -> None:
    """The copy in the repository is the one of which the matrix of states was made."""
    spec = of_kind(PRODUCTION / "flux", "Kustomization")["tenant-payments"]
    assert {each["kind"]: each for each in spec["healthCheckExprs"]} == {
        "EgressGateway": expressions()["EgressGateway"]
    }


def test_paths_of_argo_cd_exist() -> None:
    """Every directory that Argo CD is pointed at is there."""
    (spec,) = of_kind(PRODUCTION / "argocd", "ApplicationSet").values()
    paths = [each["path"] for each in spec["generators"][0]["list"]["elements"]]
    assert sorted(paths) == ["classes", "tenants/payments", "tenants/shop"]
    assert all((REPOSITORY / path / "kustomization.yaml").exists() for path in paths)


def test_waves_of_argo_cd_are_in_order() -> None:
    """Namespaces come before classes, classes before EgressGateways."""
    directories = (REPOSITORY / "classes", *(REPOSITORY / "tenants").iterdir())
    found = [each for directory in directories for each in documents(directory)]
    waves = {(each["kind"], int(each["metadata"]["annotations"][WAVE])) for each in found}
    assert [kind for kind, _ in sorted(waves, key=lambda each: each[1])] == [
        "Namespace",
        "EgressGatewayClass",
        "EgressGateway",
    ]
