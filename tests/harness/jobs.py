"""
A stand-in for what runs the Jobs of a release: no container ever runs here, but the operator's program does.

Each Job's container says which command of `egressgw` it is, and its account with which rights.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from harness.background import Background
from harness.cluster import Cluster
from harness.rest import ApiError, Object


class JobRunner(Background):
    """Runs each Job of a namespace once, for as long as a `with` block takes. `said`: what each of them printed."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path) -> None:
        super().__init__("jobs")
        self.said: dict[str, str] = {}
        self._cluster = cluster
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._namespace = namespace
        self._directory = directory

    def work(self) -> None:
        """Carry out what has no outcome yet."""
        while not self.ended.wait(0.2):
            for job in self._cluster.rest.items(self._path):
                if not (job.get("status") or {}).get("conditions"):
                    self._carry_out(job)

    def _carry_out(self, job: Object) -> None:
        name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
        kubeconfig = self._cluster.service_account_kubeconfig(
            self._namespace, pod["serviceAccountName"], self._directory / f"{name}.kubeconfig"
        )
        [container] = pod["containers"]
        done = subprocess.run(
            [sys.executable, "-m", "egressgateway", *container["args"]],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said[name] = done.stdout + done.stderr
        try:
            self._cluster.rest.merge(f"{self._path}/{name}/status", {"status": _status(ok=done.returncode == 0)})
        except ApiError as error:
            # A Job that is gone meanwhile waits for nobody.
            if error.code != 404:
                raise


def _status(*, ok: bool) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": type_, "status": "True", "lastTransitionTime": now, "reason": "Ran", "message": ""}
        for type_ in (("SuccessCriteriaMet", "Complete") if ok else ("FailureTarget", "Failed"))
    ]
    return {"startTime": now, "conditions": conditions, **({"completionTime": now, "succeeded": 1} if ok else {})}
