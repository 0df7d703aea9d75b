"""What a test sees of a cluster, whoever runs it: the embedded control plane, kind, or somebody else."""

from __future__ import annotations

import subprocess
from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.kubeconfig import Access
from harness.metrics import Metrics
from harness.proxypages import PAGE
from harness.rest import Rest

READY = "fake-kubelet/ready"
"""Annotation of a Namespace or a Pod; "false" makes pods fail their readiness probes. `kubelet` obeys it."""


class Cluster:
    """An API server, the kubectl that fits it, and the rights of an administrator."""

    def __init__(self, kubeconfig: Path, kubectl: Path) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl_binary = kubectl

    @cached_property
    def rest(self) -> Rest:
        """A client with an administrator's rights."""
        return Rest(self.kubeconfig)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """
        Run kubectl as administrator.

        Raises:
            AssertionError: it failed and `check` is set; holds what kubectl said.
        """
        argv = [str(self.kubectl_binary), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def metrics(self) -> Metrics:
        """The API server's own figures, as of now."""
        return Metrics(self.rest.text("/metrics"))

    def set_ready(self, ready: bool, namespace: str, pod: str | None = None) -> None:
        """
        Command the fake kubelet: pods of a namespace, or one pod, pass their readiness probes or not.

        A pod's own command beats its namespace's. Without any, pods are Ready.
        """
        path = f"/api/v1/namespaces/{namespace}" + (f"/pods/{pod}" if pod else "")
        self.rest.merge(path, {"metadata": {"annotations": {READY: "true" if ready else "false"}}})

    def set_page(self, namespace: str, command: Literal["frozen", "silent"] | None) -> None:
        """Command the fake kubelet: proxies of the pods of a namespace are told nothing new, or do not tell."""
        self.rest.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": {PAGE: command}}})

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path, hours: int = 12) -> Path:
        """Write a kubeconfig for a service account that exists, with a token as a pod would get it."""
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer = self.rest.create(account, {**body, "spec": {"expirationSeconds": hours * 3600}})
        admin = Access.read(self.kubeconfig)
        return Access(admin.server, admin.ca, token=answer["status"]["token"]).write(path)
