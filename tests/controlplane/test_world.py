"""The world around an object changes: classes come and go, the mesh is installed after the operator."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways, destination
from harness.kinds import DEFINITIONS, install_definitions, read_definitions
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.session import Run
from harness.wait import eventually

# Every 30 s a kind that is missing is asked for again.
NEW_KINDS = 90.0


@pytest.fixture(scope="module")
def bare(run: Run) -> Iterator[ControlPlane]:
    """A control plane without Istio's kinds."""
    options = run.options()
    own = tuple(file for file in options.definitions if file.name.startswith("egressgateway.dev_"))
    with run.private(replace(options, definitions=own)) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


class TestClass:
    """A class that an object names, through its life."""

    @pytest.fixture
    def class_name(self, cluster: Cluster) -> Iterator[str]:
        """A name of the test's own, as classes belong to the whole cluster."""
        name = f"test-{secrets.token_hex(4)}"
        yield name
        if cluster.rest.exists(class_path(name)):
            cluster.rest.delete(class_path(name))

    def test_object_waits_for_its_class_and_outlives_it(self, gateways: Gateways, class_name: str) -> None:
        """Refused without the class, served with it; when it is deleted, what runs goes on."""
        gateways.apply("partners", className=class_name)
        found = gateways.wait("partners", "Accepted", "False", "ClassNotFound")
        assert class_name in found["message"]
        assert not gateways.children("partners")

        apply_class(gateways.cluster, class_name)
        gateways.wait_ready("partners")
        assert gateways.get("partners")["status"]["className"] == class_name

        children = gateways.children("partners").keys()
        gateways.cluster.rest.delete(class_path(class_name))
        gateways.wait("partners", "Accepted", "False", "ClassNotFound")
        assert gateways.children("partners").keys() == children

        apply_class(gateways.cluster, class_name)
        gateways.wait_ready("partners")

    def test_changed_class_changes_its_gateways(self, gateways: Gateways, class_name: str) -> None:
        """Defaults of the class reach a gateway that is there already; what the object says itself stays."""
        apply_class(gateways.cluster, class_name, dedicated={"replicas": 1})
        gateways.apply("follows", className=class_name)
        gateways.apply("insists", className=class_name, gateway={"replicas": 2})
        gateways.wait_ready("follows", "insists")
        apply_class(gateways.cluster, class_name, dedicated={"replicas": 3})
        eventually(lambda: replicas(gateways, "follows") == 3, what="the class's new default")
        assert replicas(gateways, "insists") == 2

    def test_host_that_the_class_forbids_is_withdrawn(self, gateways: Gateways, class_name: str) -> None:
        """What is not allowed any more is taken from its clients at once; the other destination stays as it is."""
        apply_class(gateways.cluster, class_name)
        gateways.apply("partners", destination("good"), destination("bad"), className=class_name)
        gateways.wait_ready("partners")
        apply_class(gateways.cluster, class_name, deniedHosts=["bad.example.com"])
        found = gateways.wait("partners", "Ready", "False", "PartiallyReady")
        assert "bad" in found["message"]
        eventually(
            lambda: not gateways.children("partners", **{"egressgateway.dev/part": "bad"}), what="the withdrawal"
        )
        gateways.wait("partners", "Steered", "True", "Steered", part="good")

    def test_namespace_must_be_allowed(self, gateways: Gateways, class_name: str) -> None:
        """A class for labelled namespaces serves a namespace from the moment at which it has the label."""
        selector = {"from": "Selector", "selector": {"matchLabels": {"egress": "yes"}}}
        apply_class(gateways.cluster, class_name, allowedNamespaces=selector)
        gateways.apply("partners", className=class_name)
        gateways.wait("partners", "Accepted", "False", "NamespaceNotAllowed")
        label = {"metadata": {"labels": {"egress": "yes"}}}
        gateways.cluster.rest.merge(f"{NAMESPACES}/{gateways.namespace}", label)
        gateways.wait_ready("partners")


class TestHosts:
    """Two objects want one host."""

    def test_earlier_claim_wins_and_the_other_heals(self, gateways: Gateways) -> None:
        """The second object is told who has the host; it gets it when the first one goes."""
        gateways.apply("first", destination("api", "shared.example.com"))
        gateways.wait_ready("first")
        before = gateways.get("first")["metadata"]["resourceVersion"]
        gateways.apply("second", destination("api", "shared.example.com"), destination("own"))
        found = gateways.wait("second", "Accepted", "False", "HostConflict", part="api")
        assert f"{gateways.namespace}/first" in found["message"]
        gateways.wait("second", "Steered", "True", "Steered", part="own")
        assert gateways.get("first")["metadata"]["resourceVersion"] == before

        gateways.delete("first")
        gateways.wait_ready("second")


class TestBareCluster:
    """A cluster of its own, without a mesh and without any class at the start."""

    def test_mesh_installed_later_heals_without_a_restart(
        self, run: Run, bare: ControlPlane, operator_log: Path
    ) -> None:
        """Without Istio's kinds the status says so; once they are installed the same process makes a gateway."""
        gateways = Gateways(bare, "default")
        with OperatorProcess(operator_kubeconfig(bare), operator_log):
            gateways.apply("partners")
            found = gateways.wait("partners", "ResolvedRefs", "False", "ProviderUnavailable")
            assert "VirtualService" in found["message"]
            assert not gateways.children("partners")

            install_definitions(bare.rest, read_definitions(run.options().definitions))
            gateways.wait_ready("partners", timeout=NEW_KINDS)

            # One kind is deleted with all of its objects: clients would go past the gateway, and the status says so.
            name = "virtualservices.networking.istio.io"
            definition = bare.rest.get(f"{DEFINITIONS}/{name}")
            bare.rest.delete(f"{DEFINITIONS}/{name}")
            gateways.wait("partners", "ResolvedRefs", "False", "ProviderUnavailable", timeout=NEW_KINDS)
            eventually(lambda: not bare.rest.exists(f"{DEFINITIONS}/{name}"), what="the kind's end")
            metadata = {"name": name, "annotations": definition["metadata"].get("annotations", {})}
            install_definitions(bare.rest, [{**definition, "metadata": metadata, "status": {}}])
            gateways.wait_ready("partners", timeout=NEW_KINDS)
            gateways.delete("partners")
            gateways.wait_gone("partners", timeout=NEW_KINDS)

    def test_default_class_replaces_the_built_in_one(self, run: Run, bare: ControlPlane, operator_log: Path) -> None:
        """A default class takes over objects without a class; when it goes they are refused, and not let loose."""
        install_definitions(bare.rest, read_definitions(run.options().definitions))
        gateways = Gateways(bare, "default")
        with OperatorProcess(operator_kubeconfig(bare), operator_log):
            gateways.apply("partners")
            gateways.wait_ready("partners", timeout=NEW_KINDS)
            assert "className" not in gateways.get("partners")["status"]

            default = {"egressgateway.dev/is-default-class": "true"}
            apply_class(bare, "standard", annotations=default, dedicated={"replicas": 1})
            eventually(lambda: gateways.get("partners")["status"].get("className") == "standard")
            eventually(lambda: replicas(gateways, "partners") == 1)
            gateways.wait_ready("partners")

            bare.rest.delete(class_path("standard"))
            gateways.wait("partners", "Accepted", "False", "ClassNotFound")
            assert replicas(gateways, "partners") == 1


def class_path(name: str) -> str:
    return EGRESS_GATEWAY_CLASS.path(None, name)


def apply_class(cluster: Cluster, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    body = {
        "apiVersion": EGRESS_GATEWAY_CLASS.api_version,
        "kind": EGRESS_GATEWAY_CLASS.kind,
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": spec,
    }
    return cluster.rest.apply(class_path(name), body)


def replicas(gateways: Gateways, name: str) -> int:
    return int(gateways.children(name)["Deployment", f"{name}-egress"]["spec"]["replicas"])
