"""What the demo runs on: an embedded control plane and the operator as a process of its own, in one directory."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from harness import tools
from harness.cluster import Cluster
from harness.controlplane import ControlPlane, Options
from harness.go import GatewayState
from harness.helm import obtain_helm
from harness.metrics import Request
from harness.operator import OperatorProcess
from harness.processes import Process, remembered
from harness.release import operator_kubeconfig
from harness.rest import ApiError
from harness.session import ROOT, definition_files
from harness.wait import START, eventually

DIRECTORY = ROOT / ".cluster" / "demo"
SAMPLE = ROOT / "deploy" / "samples" / "egressgateway.yaml"
FLAGS = ("--lease-seconds", "3", "--push-grace-seconds", "0.5")
"""Shorter than the defaults: nobody else stands for election here, and there is no istiod to wait for."""

LOOKS = (
    ("get", "egressgateways", "-o", "yaml"),
    ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    ("get", "pods,deployments,serviceentries,gateways,destinationrules,virtualservices"),
)
"""What is asked of kubectl after a failure."""


class Stage:
    """A control plane and an operator. Use it as `with`: they end with it, unless it is told to keep them."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.plane: ControlPlane
        self.operator: OperatorProcess

    @property
    def cluster(self) -> Cluster:
        return self.plane

    def start_control_plane(self) -> None:
        """
        Start it in an empty directory; what an earlier demo left running is stopped.

        Raises:
            ToolsMissing: a program is not there and cannot be built.
        """
        stop_everything()
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        obtain_helm()
        self.plane = ControlPlane(DIRECTORY, tools.obtain(GatewayState()))
        owner = None if self.keep else os.getpid()
        self.plane.start(Options(definitions=definition_files(download=True), owner=owner))

    def start_operator(self) -> None:
        """Start it, and return once it has read everything and leads."""
        log = DIRECTORY / "operator.log"
        self.operator = OperatorProcess(operator_kubeconfig(self.plane), log, *FLAGS)
        self.operator.start(wait=False)
        _remember(self.operator.pid)
        eventually(self.operator.is_ready, timeout=START, what="the operator's readiness")
        eventually(lambda: self.operator.metric("egressgateway_leader") == 1, timeout=START, what="leadership")

    def reconciled(self) -> int:
        """How many reconciles the operator has finished without an error since its start."""
        lines = (line for line in self.operator.get("/metrics").splitlines() if "egressgateway_reconcile_total" in line)
        wanted = [line for line in lines if not line.startswith("#") and "error" not in line]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in wanted)

    def wait_until_idle(self) -> None:
        """Return once the operator has neither anything to do nor anything that waits for its time."""
        eventually(lambda: self._outstanding() == 0, what="an idle operator")

    def _outstanding(self) -> float:
        series = ("egressgateway_queue_depth", "egressgateway_queue_delayed", "egressgateway_queue_processing")
        return sum(self.operator.metric(name) for name in series)

    def writes(self) -> Counter[Request]:
        """Writes by the API server's own count. Renewals of Leases are left out: they are how a leader stays one."""
        counted = self.plane.metrics().writes()
        return Counter({request: count for request, count in counted.items() if request.group != "coordination.k8s.io"})

    def dump(self, namespace: str) -> str:
        """What helps to understand a failure: objects with their status, events, the end of the operator's log."""
        parts = [self._said(*arguments, "-n", namespace) for arguments in LOOKS] if hasattr(self, "plane") else []
        if hasattr(self, "operator"):
            parts.append(f"the operator's log ends with:\n{self.operator.tail(30)}")
        return "\n".join(parts)

    def _said(self, *arguments: str) -> str:
        done = self.plane.kubectl(*arguments, "--request-timeout=5s", check=False)
        return f"$ kubectl {' '.join(arguments)}\n{done.stdout}{done.stderr}"

    def close(self) -> None:
        """Stop what was started, unless it is to be kept."""
        if not self.keep:
            stop_everything()


def stop_everything() -> bool:
    """Stop the operator and the control plane of this or an earlier demo; False when there is none."""
    operator, plane = _remembered(), ControlPlane.load(DIRECTORY)
    if operator is not None:
        operator.stop(patience=10)
        (DIRECTORY / "operator.json").unlink(missing_ok=True)
    if plane is not None:
        plane.stop()
    return operator is not None or plane is not None


def create_namespace(cluster: Cluster, name: str) -> None:
    """A namespace whose pods are in the mesh."""
    labels = {"istio-injection": "enabled"}
    try:
        cluster.rest.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    except ApiError as error:
        if error.code != 409:
            raise


def _remember(pid: int) -> None:
    # In a file, so that an operator whose demo was killed is found by the next one.
    record = remembered(pid, ("egressgw",))
    (DIRECTORY / "operator.json").write_text(json.dumps(asdict(record)))


def _remembered() -> Process | None:
    path: Path = DIRECTORY / "operator.json"
    if not path.exists():
        return None
    return Process.load(json.loads(path.read_text()))
