"""EgressGateways as a test handles them: build one, apply it, read its conditions and its children."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from egressgateway.refs import CHILD_BY_KIND, CHILD_RESOURCES, EGRESS_GATEWAY, Resource
from harness.cluster import Cluster
from harness.rest import ApiError, Object
from harness.wait import CONVERGE, eventually

ChildName = tuple[str, str]
"""Kind and name of a child."""

PORTS: list[Object] = [{"port": 80, "protocol": "HTTP"}, {"port": 443, "protocol": "TLS"}]
CLIENTS = {"egressgateway.dev/stage": "clients"}
NAMESPACES = "/api/v1/namespaces"


def destination(name: str, *hosts: str, ports: list[Object] | None = None) -> Object:
    """One destination; without hosts it gets one of its own name."""
    return {"name": name, "hosts": list(hosts) or [f"{name}.example.com"], "ports": ports or PORTS}


def egress_gateway(namespace: str, name: str, *destinations: Object, **spec: Any) -> Object:
    """An EgressGateway; without destinations it gets one whose host is of its own name and namespace."""
    listed = list(destinations) or [destination("api", f"{name}.{namespace}.example.com")]
    return {
        "apiVersion": EGRESS_GATEWAY.api_version,
        "kind": EGRESS_GATEWAY.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"destinations": listed, **spec},
    }


class Gateways:
    """The EgressGateways of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def path(self, name: str = "") -> str:
        return EGRESS_GATEWAY.path(self.namespace, name or None)

    def apply(self, name: str, *destinations: Object, **spec: Any) -> Object:
        """Apply as `kubectl apply --server-side` does."""
        return self.cluster.rest.apply(self.path(name), egress_gateway(self.namespace, name, *destinations, **spec))

    def get(self, name: str) -> Object:
        return self.cluster.rest.get(self.path(name))

    def delete(self, name: str) -> None:
        """Ask for the deletion; the object stays until its clients are withdrawn."""
        self.cluster.rest.delete(self.path(name))

    def exists(self, name: str) -> bool:
        return self.cluster.rest.exists(self.path(name))

    def condition(self, name: str, type_: str, part: str = "") -> Object:
        """
        One condition of the object or of a destination, judged for the newest generation.

        Raises:
            LookupError: it is not there, or stands for an older spec.
        """
        gateway = self.get(name)
        status = gateway.get("status") or {}
        if part:
            status = next((each for each in status.get("destinations") or () if each["name"] == part), {})
        found = next((each for each in status.get("conditions") or () if each["type"] == type_), None)
        if found is None or found.get("observedGeneration") != gateway["metadata"]["generation"]:
            raise LookupError(f"{name} has no current condition {type_}: {gateway.get('status')}")
        return dict(found)

    def wait(
        self, name: str, type_: str, status: str, reason: str, *, part: str = "", timeout: float = CONVERGE
    ) -> Object:
        """Wait until a condition has that status and reason; returns it."""

        def reached() -> Object:
            found = self.condition(name, type_, part)
            assert (found["status"], found["reason"]) == (status, reason), found
            return found

        return eventually(reached, timeout=timeout, what=f"{type_}={status} ({reason}) of {name}")

    def wait_ready(self, *names: str, timeout: float = CONVERGE) -> None:
        for name in names:
            self.wait(name, "Ready", "True", "Ready", timeout=timeout)

    def wait_gone(self, *names: str, timeout: float = CONVERGE) -> None:
        """Wait until the objects and all of their children are gone."""
        for name in names:
            eventually(partial(self._is_gone, name), timeout=timeout, what=f"the end of {name} without orphans")

    def _is_gone(self, name: str) -> bool:
        return not self.exists(name) and not self.children(name)

    def children(self, name: str, **labels: str) -> dict[ChildName, Object]:
        """Everything that carries the labels of an EgressGateway's children, and `labels` besides."""
        wanted = {"egressgateway.dev/gateway": name, **labels}
        return children(self.cluster, self.namespace, wanted)

    def clients(self, name: str) -> dict[ChildName, Object]:
        """The children that send clients through the gateway."""
        return self.children(name, **CLIENTS)

    def child_path(self, child: ChildName) -> str:
        return CHILD_BY_KIND[child[0]].path(self.namespace, child[1])


def children(cluster: Cluster, namespace: str | None, labels: dict[str, str]) -> dict[ChildName, Object]:
    """Objects of all kinds that the operator writes, by kind and name; `namespace=None` looks everywhere."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())

    def listed(resource: Resource) -> list[tuple[ChildName, Object]]:
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        found = items(cluster, resource, namespace, selector)
        return [((resource.kind, each["metadata"]["name"]), {**head, **each}) for each in found]

    with ThreadPoolExecutor(len(CHILD_RESOURCES)) as pool:
        return dict(pair for pairs in pool.map(listed, CHILD_RESOURCES) for pair in pairs)


def items(cluster: Cluster, resource: Resource, namespace: str | None, selector: str = "") -> list[Object]:
    """Objects of one kind; none where the kind is not served."""
    try:
        return cluster.rest.items(resource.path(namespace), labelSelector=selector)
    except ApiError as error:
        if error.code == 404:
            return []
        raise


def is_served(cluster: Cluster, resource: Resource) -> bool:
    """Whether the API server knows the kind: APISIX's are not part of every cluster."""
    return cluster.rest.exists(resource.path(None))


def deletions(cluster: Cluster, namespace: str, since: str) -> dict[ChildName, int]:
    """Children of a namespace that were deleted after the version `since`, with the version of their end."""

    def ended(resource: Resource) -> list[tuple[ChildName, int]]:
        if not is_served(cluster, resource):
            return []
        text = cluster.rest.text(f"{resource.path(namespace)}?watch=1&resourceVersion={since}&timeoutSeconds=1")
        events = [json.loads(line) for line in text.splitlines()]
        metadata = [each["object"]["metadata"] for each in events if each["type"] == "DELETED"]
        return [((resource.kind, each["name"]), int(each["resourceVersion"])) for each in metadata]

    with ThreadPoolExecutor(len(CHILD_RESOURCES)) as pool:
        return dict(pair for pairs in pool.map(ended, CHILD_RESOURCES) for pair in pairs)


def in_parallel(act: Callable[[Any], object], over: Iterable[Any], *, at_once: int = 16) -> None:
    """Call `act` with each item, `at_once` at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(act, over))
