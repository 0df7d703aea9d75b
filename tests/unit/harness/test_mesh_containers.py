"""The mesh tier's kubelet reads a container's specification as a real one does."""

from __future__ import annotations

from typing import Any

import pytest

from harness.mesh.containers import Container, arguments, environment, init_containers, resource_of, user_of

POD: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "1", "labels": {"app": "web", "b": 'say "x"'}},
    "spec": {"serviceAccountName": "seller", "nodeName": "node", "containers": []},
}


def proxy(**spec: Any) -> Container:
    return Container("istio-proxy", {"name": "istio-proxy", **spec})


def test_variables_of_every_source() -> None:
    """Plain values, earlier variables, fields of the pod, and resources in units of their divisor."""
    container = proxy(
        env=[
            {"name": "A", "value": "one"},
            {"name": "B", "value": "$(A)-$(MISSING)-$$(A)"},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1"}}},
        ],
        resources={"limits": {"memory": "1Gi"}},
    )
    assert environment(POD, container, "10.0.0.9") == {
        "A": "one",
        "B": "one-$(MISSING)-$(A)",
        "C": "shop",
        "D": "10.0.0.9",
        "E": "web",
        "F": str(2**30),
    }


def test_arguments_name_variables() -> None:
    """`$(NAME)` in an argument is the container's variable."""
    assert arguments(proxy(args=["--domain", "$(NS).svc"]), {"NS": "shop"}) == ["--domain", "shop.svc"]


@pytest.mark.parametrize(("limit", "expected"), [("2000m", "2"), ("1500m", "2"), ("100m", "1"), ("3", "3")])
def test_resources_are_rounded_up(limit: str, expected: str) -> None:
    """Part of a core is a core to whoever counts in cores."""
    container = proxy(resources={"limits": {"cpu": limit}})
    assert resource_of(container, {"resource": "limits.cpu", "divisor": "1"}) == expected


def test_container_beats_pod_in_identity() -> None:
    """The container's user, else the pod's, else that of injected proxies."""
    pod = {**POD, "spec": {**POD["spec"], "securityContext": {"runAsUser": 7}}}
    assert user_of(pod, proxy(securityContext={"runAsUser": 8})) == 8
    assert user_of(pod, proxy()) == 7
    assert user_of(POD, proxy()) == 1337


def test_init_container_that_restarts_is_a_sidecar() -> None:
    """`restartPolicy: Always` makes it one, whatever it is called."""
    listed = [{"name": "istio-init"}, {"name": "istio-proxy", "restartPolicy": "Always"}]
    found = init_containers({"metadata": {}, "spec": {"initContainers": listed}})
    assert [(each.name, each.sidecar) for each in found] == [("istio-init", False), ("istio-proxy", True)]
