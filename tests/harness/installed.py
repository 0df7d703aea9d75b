"""The operator as its users have it: its image, by its chart, where PodSecurity `restricted` is enforced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, LEASE
from harness.gateways import NAMESPACES
from harness.helm import CHART, RELEASE, Helm, find_helm
from harness.kinds import DEFINITIONS
from harness.objects import apply_all, namespace
from harness.real import SYSTEM, RealCluster
from harness.rest import Object
from harness.wait import eventually

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
SECONDS: Final = 180
LEASE_PATH: Final = LEASE.path(SYSTEM, RELEASE)
DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{RELEASE}"
PODS: Final = f"/api/v1/namespaces/{SYSTEM}/pods"
_SELECTOR: Final = f"app.kubernetes.io/name={RELEASE}"


class Installed:
    """The release in a real cluster, installed or not."""

    def __init__(self, real: RealCluster, helm_major: int = 4) -> None:
        self.real = real
        self.cluster = real.cluster
        self.major = helm_major
        self.helm = Helm(find_helm(helm_major), real.cluster.kubeconfig)

    def exists(self) -> bool:
        return self.cluster.rest.exists(DEPLOYMENT)

    def install(self, chart: str = str(CHART), values: Mapping[str, Any] | None = None) -> None:
        """Install the release, or upgrade it, and wait until all of its pods are ready."""
        apply_all(self.cluster, [namespace(SYSTEM, **RESTRICTED)])
        argv = ("upgrade", "--install", RELEASE, chart, "--namespace", SYSTEM, "--wait", "--timeout", f"{SECONDS}s")
        self.helm.run(*argv, values={"image": self.real.image, **(values or {})}, timeout=SECONDS + 30)

    def uninstall(self) -> None:
        """Uninstall it, and wait until its pods are gone."""
        argv = ("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", f"{SECONDS}s")
        self.helm.run(*argv, timeout=SECONDS + 30)
        eventually(lambda: not self.pods(), timeout=SECONDS, what="the end of the operator's pods")

    def end(self) -> None:
        """Uninstall it if it is there, and remove the CRDs that it keeps, with all objects."""
        if self.exists():
            self.uninstall()
        for each in (EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS):
            path = f"{DEFINITIONS}/{each.plural}.{each.group}"
            if self.cluster.rest.exists(path):
                self.cluster.rest.delete(path)
            gone = lambda path=path: not self.cluster.rest.exists(path)  # noqa: E731
            eventually(gone, timeout=SECONDS, what=f"the end of the CRD of {each.kind}")

    def remove_namespace(self) -> None:
        """Delete the namespace of the release, and wait until it is gone."""
        self.cluster.rest.delete(f"{NAMESPACES}/{SYSTEM}")
        gone = lambda: not self.cluster.rest.exists(f"{NAMESPACES}/{SYSTEM}")  # noqa: E731
        eventually(gone, timeout=SECONDS, what=f"the end of {SYSTEM}")

    def pods(self) -> list[Object]:
        """The operator's pods."""
        return self.cluster.rest.items(PODS, labelSelector=_SELECTOR)

    def log(self) -> str:
        """What all replicas have logged."""
        ask = ("logs", f"deployment/{RELEASE}", "--namespace", SYSTEM, "--all-pods", "--tail=-1")
        return self.cluster.kubectl(*ask).stdout

    def lease(self) -> Object:
        """What the Lease says."""
        return dict(self.cluster.rest.get(LEASE_PATH)["spec"])

    def leader(self) -> str:
        """
        Name of the pod that leads.

        Raises:
            LookupError: none does.
        """
        holder = str(self.lease().get("holderIdentity") or "")
        found = [each["metadata"]["name"] for each in self.pods() if holder.startswith(each["metadata"]["name"])]
        if not found:
            raise LookupError(f"no pod leads: {holder!r}")
        return str(found[0])

    def wait_for_leader(self, *, other_than: str = "", timeout: float = SECONDS) -> str:
        """The pod that leads, once there is one, and another than that."""

        def leads() -> str:
            found = self.leader()
            assert found != other_than
            return found

        return eventually(leads, timeout=timeout, what="a leader")

    def move_leader_to(self, node: str) -> str:
        """Delete the pod that leads until one on `node` does; its name."""

        def leads_there() -> str:
            leader = self.wait_for_leader()
            [pod] = [each for each in self.pods() if each["metadata"]["name"] == leader]
            if pod["spec"]["nodeName"] == node:
                return leader
            self.cluster.kubectl("delete", "pod", leader, "--namespace", SYSTEM)
            raise LookupError(f"{leader} leads on another node")

        return eventually(leads_there, timeout=SECONDS, what=f"a leader on {node}")
