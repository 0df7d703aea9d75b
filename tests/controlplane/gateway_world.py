"""A cluster with the traces of a mesh and one operator, as the tests of the Istio provider have it to themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from apicases.corpus import shared_case
from egressgateway.refs import CHILD_RESOURCES
from harness import istiod
from harness.controlplane import ControlPlane
from harness.gateways import ChildName, Gateways, children, items
from harness.istioctl import ENVOY_FILTER, Istioctl, Message
from harness.objects import apply_all, namespace, path_of
from harness.operator import OperatorProcess
from harness.pki import Authority
from harness.release import operator_kubeconfig
from harness.rest import ApiError, Object
from harness.wait import eventually

FLAGS: Final = ("--lease-seconds", "15", "--push-grace-seconds", "0.3")
"""A lease as in a cluster: hundreds of objects at once on a busy machine would cost a short one."""

PROXY: Final = {"name": "istio-proxy", "image": "proxyv2"}
ISTIO_GROUPS: Final = ("networking.istio.io", "security.istio.io", "telemetry.istio.io")


@dataclass(frozen=True)
class GatewayWorld:
    """The control plane, its operator, and an authority for certificates."""

    plane: ControlPlane
    operator: OperatorProcess
    istioctl: Istioctl
    authority: Authority

    @cached_property
    def authority_certificate(self) -> bytes:
        return self.authority.certificate_file.read_bytes()

    def of(self, name: str) -> Gateways:
        """The EgressGateways of a namespace, which is made if it is not there."""
        self.make_namespaces(name)
        return Gateways(self.plane, name)

    def make_namespaces(self, *names: str) -> None:
        for name in names:
            if not self.plane.rest.exists(path_of(namespace(name))):
                apply_all(self.plane, [namespace(name)])

    def apply(self, *manifests: Object) -> None:
        """Apply objects, and before them the namespaces that they lie in."""
        self.make_namespaces(*{each["metadata"]["namespace"] for each in manifests if "namespace" in each["metadata"]})
        apply_all(self.plane, manifests)

    def configure_mesh(self, **mesh: Any) -> None:
        """What the mesh's configuration says from now on."""
        apply_all(self.plane, [istiod.mesh_config(**mesh)])

    def delete(self, *manifests: Object) -> None:
        """Delete objects that may be gone already."""
        for each in manifests:
            try:
                self.plane.rest.delete(path_of(each))
            except ApiError as error:
                if error.code != 404:
                    raise

    def children_of(self, gateway: Object) -> dict[ChildName, Object]:
        """The children of an EgressGateway, in whichever namespace they are."""
        metadata = gateway["metadata"]
        labels = {
            "egressgateway.dev/gateway": metadata["name"],
            "egressgateway.dev/namespace": metadata["namespace"],
        }
        return children(self.plane, None, labels)

    def wait_gone(self, *gateways: Object) -> None:
        """Wait for the end of objects that are being deleted, and of all that they had in any namespace."""
        for gateway in gateways:
            eventually(
                lambda each=gateway: not self.plane.rest.exists(path_of(each)) and not self.children_of(each),
                what=f"the end of {gateway['metadata']['name']} without orphans",
            )

    def judged(self) -> list[Message]:
        """
        What `istioctl analyze` says of the whole cluster, but that EnvoyFilters exist.

        Those are told of each by each; a message about any other object stays in.
        """
        istiod.give_addresses(self.plane)
        found = self.istioctl.analyze(self.plane.kubeconfig)
        return [each for each in found if each.code != ENVOY_FILTER or not each.origin.startswith("EnvoyFilter ")]

    def invalid(self, manifests: Iterable[Object]) -> str:
        """What `istioctl validate` says of the objects among `manifests` that are Istio's."""
        return self.istioctl.validate(each for each in manifests if each["apiVersion"].split("/")[0] in ISTIO_GROUPS)


def open_world(plane: ControlPlane, istioctl: Istioctl, directory: Path, **mesh: Any) -> Iterator[GatewayWorld]:
    """
    A mesh that says `mesh` of itself, and an operator that leads, for as long as the caller's fixture lives.

    It has the rights that the chart gives by default: it looks at Secrets only where a test calls `allow_secrets`.
    """
    istiod.install(plane, revisions=("canary",), **mesh)
    with (
        TemporaryDirectory() as keys,
        OperatorProcess(operator_kubeconfig(plane), directory / "operator.log", *FLAGS) as operator,
    ):
        authority = Authority(Path(keys))
        authority.create()
        eventually(lambda: operator.leads, what="a leader")
        yield GatewayWorld(plane, operator, istioctl, authority)


def worked_case(name: str) -> list[Object]:
    """The objects of a worked case; the test is skipped where the cases are not beside the repository."""
    found = shared_case(name)
    if not found:
        pytest.skip("the project's worked cases are not beside the repository")
    return found


def conditions(holder: Object) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition of an object's status, or of a part of it."""
    return {each["type"]: (each["status"], each["reason"]) for each in holder.get("conditions") or ()}


def parts(gateway: Object, listed: str = "destinations") -> dict[str, dict[str, tuple[str, str]]]:
    """The conditions of each part, by its name."""
    return {each["name"]: conditions(each) for each in gateway["status"].get(listed) or ()}


def versions(found: dict[ChildName, Object]) -> dict[ChildName, tuple[str, object]]:
    """What changes with every write to a child that is not one of its status alone."""
    return {
        name: (
            each["metadata"]["uid"],
            each["metadata"].get("generation") or each["metadata"]["annotations"],
        )
        for name, each in found.items()
    }


def foreign_objects(plane: ControlPlane, namespace_: str) -> dict[ChildName, Object]:
    """Objects of a namespace that are nobody's children, of the kinds that children may have."""
    return {
        (resource.kind, each["metadata"]["name"]): each
        for resource in CHILD_RESOURCES
        for each in items(plane, resource, namespace_, "!egressgateway.dev/gateway")
    }
