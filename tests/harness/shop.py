"""A namespace of the mesh in a real cluster: a client with a sidecar, and the EgressGateways that it uses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from harness.gateways import Gateways
from harness.load import Load
from harness.objects import pod
from harness.real import HOST, RealCluster
from harness.rest import Object
from harness.wait import eventually

SECONDS: Final = 180
"""For what may have to pull images first."""


class Shop:
    """The namespace, with a pod `client`."""

    def __init__(self, real: RealCluster, namespace: str) -> None:
        self.real = real
        self.cluster = real.cluster
        self.namespace = namespace
        self.gateways = Gateways(real.cluster, namespace)

    def open(self, name: str = "client", *, node: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Start a client, and wait until it can make requests."""
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
        eventually(lambda: self.cluster.rest.exists(account), what="the default service account")
        made = pod(self.namespace, name, self.real.client, **(labels or {}))
        made["spec"]["terminationGracePeriodSeconds"] = 1
        if node:
            made["spec"]["nodeName"] = node
        self.cluster.rest.create(f"/api/v1/namespaces/{self.namespace}/pods", made)
        ready = ("wait", "--for=condition=Ready", f"pod/{name}", "--namespace", self.namespace)
        self.cluster.kubectl(*ready, f"--timeout={SECONDS}s", timeout=SECONDS + 10)

    def apply(self, name: str = "partners", *ports: Object, **spec: Any) -> None:
        """An EgressGateway that leads to the partner, and wait until it is Ready."""
        self.gateways.apply(name, self.real.partner(*ports), **self.real.spec(**spec))
        self.gateways.wait_ready(name, timeout=SECONDS)

    def run(self, *argv: str, client: str = "client", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in the client's container."""
        inside = ("exec", client, "--namespace", self.namespace, "--container", "client", "--", *argv)
        return self.cluster.kubectl(*inside, check=check)

    def curl(self, url: str, *options: str, client: str = "client") -> subprocess.CompletedProcess[str]:
        """One request by curl."""
        asked = ("curl", "--silent", "--show-error", "--max-time", "10", *options, url)
        return self.run(*asked, client=client, check=False)

    def status(self, url: str, *options: str, client: str = "client") -> str:
        """The status of the answer to a request, `000` where there is none."""
        return self.curl(url, "--output", "/dev/null", "--write-out", "%{http_code}", *options, client=client).stdout

    def ask(self, url: str = f"http://{HOST}/", *options: str) -> Object:
        """What the world's server saw of a request, as it says itself."""
        found: Object = json.loads(self.curl(url, *options).stdout)
        return found

    def load(self, url: str = f"http://{HOST}/", **options: Any) -> Load:
        """Requests at a steady rate; see `Load`."""
        return Load(self.cluster, self.namespace, "client", url, **options)

    def pods(self, name: str = "partners") -> list[Object]:
        """The pods of a gateway that are not about to end."""
        selector = f"egressgateway.dev/gateway={name}"
        found = self.cluster.rest.items(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=selector)
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def addresses(self, name: str = "partners") -> set[str]:
        """Addresses of the pods of a gateway."""
        return {each["status"]["podIP"] for each in self.pods(name) if "podIP" in each["status"]}
