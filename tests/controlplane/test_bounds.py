"""
What one tenant may ask for, tried with a tenant's rights: refused with the numbers, and nobody else waits for it.

How much memory and time the worst of it takes is measured by `make bench-hostile`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.pages import list_all
from egressgateway.cluster.store import Store
from egressgateway.names import CHILD_SELECTOR
from egressgateway.refs import CHILD_BY_KIND, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS
from harness.cluster import Cluster
from harness.gateways import Gateways, destination, egress_gateway
from harness.objects import apply_all
from harness.rest import ApiError, Object, Rest

pytestmark = pytest.mark.controlplane
HTTP: list[Object] = [{"port": 8000 + number, "protocol": "HTTP"} for number in range(16)]


@pytest.fixture
def intruder(new_namespace: Callable[[str], str], new_tenant: Callable[..., Rest]) -> tuple[Rest, str]:
    """A tenant beside the test's own namespace, and the namespace it has."""
    namespace = new_namespace("intruder")
    return new_tenant(namespace), namespace


def test_product_of_names_and_ports_is_refused_by_the_server(intruder: tuple[Rest, str]) -> None:
    """64 destinations of 16 hosts and 16 ports were 33,865 children and 834 MiB."""
    client, namespace = intruder
    wanted = [destination(f"d{d}", *(f"h{h}.d{d}.example.com" for h in range(16)), ports=HTTP) for d in range(64)]
    with pytest.raises(ApiError) as refused:
        client.create(EGRESS_GATEWAY.path(namespace), egress_gateway(namespace, "bomb", *wanted))
    assert refused.value.code == 422
    assert "512 in all" in refused.value.message


def test_requirements_of_selectors_are_refused_by_the_server(intruder: tuple[Rest, str]) -> None:
    """32 selectors of 8 requirements were asked for each destination about each namespace of the cluster."""
    client, namespace = intruder
    requirements = [{"key": f"k{number}", "operator": "NotIn", "values": ["x"]} for number in range(8)]
    access = {"from": [{"namespaceSelector": {"matchExpressions": requirements}} for _ in range(32)]}
    with pytest.raises(ApiError) as refused:
        client.create(EGRESS_GATEWAY.path(namespace), egress_gateway(namespace, "bomb", access=access))
    assert "64 labels and expressions" in refused.value.message


def test_policy_of_megabytes_is_invalid_and_nobody_waits(
    cluster: Cluster, gateways: Gateways, intruder: tuple[Rest, str]
) -> None:
    """It was accepted, never written, and sent again for ever; now its author reads both numbers."""
    client, namespace = intruder
    class_: dict[str, Any] = {
        "apiVersion": EGRESS_GATEWAY_CLASS.api_version,
        "kind": EGRESS_GATEWAY_CLASS.kind,
        "metadata": {"name": namespace},
        "spec": {"allowedConsumers": {"from": "All"}},
    }
    apply_all(cluster, [class_])
    accounts = [f"account-{number}" for number in range(16)]
    entries = [
        {"namespaces": [f"n{start + n}" for n in range(128)], "serviceAccounts": accounts}
        for start in (0, 128, 256, 384, 0)
    ]
    body = egress_gateway(namespace, "bomb", className=namespace, access={"from": entries})
    client.create(EGRESS_GATEWAY.path(namespace), body)
    theirs = Gateways(cluster, namespace)
    theirs.wait("bomb", "Accepted", "False", "Invalid")
    message = theirs.condition("bomb", "Accepted")["message"]
    assert "10240 identities" in message
    assert "the limit of 8192" in message
    gateways.apply("partners")
    gateways.wait_ready("partners")
    cluster.rest.delete(EGRESS_GATEWAY_CLASS.path(None, namespace))


def test_forged_children_with_megabytes_leave_the_victim_alone(gateways: Gateways, intruder: tuple[Rest, str]) -> None:
    """Labels of somebody's children and a quarter of a megabyte each, in another namespace: he is served as before."""
    client, namespace = intruder
    gateways.apply("partners")
    gateways.wait_ready("partners")
    labels = {
        "app.kubernetes.io/managed-by": "egressgateway-operator",
        "egressgateway.dev/gateway": "partners",
        "egressgateway.dev/namespace": gateways.namespace,
    }
    for number in range(20):
        metadata = {"name": f"forged-{number}", "labels": labels, "annotations": {"x": "y" * 250_000}}
        client.create(CHILD_BY_KIND["ServiceAccount"].path(namespace), {"metadata": metadata})
    gateways.apply("partners", destination("api", "other.example.com"))
    gateways.wait_ready("partners")


@pytest.mark.asyncio
async def test_object_that_grows_as_it_is_read_keeps_nobody_from_starting(
    cluster: Cluster, intruder: tuple[Rest, str]
) -> None:
    """
    The API server stores a megabyte of `<`, and answers with six bytes for each (Go's JSON).

    A list that could not be read to its end would keep a new operator from starting, for all namespaces.
    """
    client, namespace = intruder
    labels = {"app.kubernetes.io/managed-by": "egressgateway-operator"}
    container = {"name": "a", "image": "a", "env": [{"name": "A", "value": "<" * 1_480_000}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = CHILD_BY_KIND["Deployment"]
    client.create(deployment.path(namespace), {"metadata": {"name": "wide", "labels": labels}, "spec": spec})
    async with await ApiClient.connect(kubeconfig=str(cluster.kubeconfig)) as operator:
        found, _ = await list_all(operator, deployment, namespace, Store().gathering, label_selector=CHILD_SELECTOR)
    assert [each["metadata"]["name"] for each in found] == ["wide"]


@pytest.mark.asyncio
async def test_object_of_any_depth_ends_no_list_and_no_watch(
    cluster: Cluster, gateways: Gateways, intruder: tuple[Rest, str]
) -> None:
    """
    The API server takes 9,000 levels, of `managedFields` in any object of anybody; parsers here give up at 1,000.

    Neither the operator that runs, nor one that starts, may lose a kind by it.
    """
    client, namespace = intruder
    labels = {"app.kubernetes.io/managed-by": "egressgateway-operator"}
    nested = b'{"f:a":' * 9_000 + b"{}" + b"}" * 9_000
    patch = {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": "DEEP"}}
    bodies: dict[str, Object] = {
        "ServiceAccount": {},
        "EnvoyFilter": {"spec": {"configPatches": [patch]}},
        "ServiceEntry": {"spec": {"hosts": ["deep.example.com"], "ports": [{"number": 1, "name": "a"}]}},
    }
    for kind, body in bodies.items():
        resource = CHILD_BY_KIND[kind]
        head = {"apiVersion": resource.api_version, "kind": kind}
        fields = {"manager": "deep", "operation": "Apply", "apiVersion": resource.api_version, "fieldsType": "FieldsV1"}
        told = [{**fields, "time": "2026-01-01T00:00:00Z", "fieldsV1": "DEEP"}]
        metadata = {"name": "deep", "labels": labels, "managedFields": told}
        text = json.dumps({**head, **body, "metadata": metadata}).encode().replace(b'"DEEP"', nested)
        client.create_text(resource.path(namespace), text)
    gateways.apply("partners")
    gateways.wait_ready("partners")
    async with await ApiClient.connect(kubeconfig=str(cluster.kubeconfig)) as operator:
        for kind in bodies:
            found, _ = await list_all(operator, CHILD_BY_KIND[kind], namespace, Store().gathering)
            assert "deep" in [each["metadata"]["name"] for each in found]
