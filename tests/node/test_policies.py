"""NetworkPolicies where something enforces them: what strangers reach of a gateway, and where its pods may go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from harness.installed import Installed
from harness.mesh.layout import METADATA_IP
from harness.node.cluster import NodeCluster
from harness.node.images import POD
from harness.real import HOST
from harness.rest import Object
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

OUTSIDE: Final = "198.19.200.5"
"""A server of the world, whichever name it has."""

CLOSED: Final[Object] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed"},
    "spec": {"podSelector": {"matchLabels": {"closed": "true"}}, "policyTypes": ["Ingress", "Egress"]},
}


def test_policies_are_enforced_here(release: Installed, new_shop: Callable[..., Shop]) -> None:
    """What the other tests say of strangers means something: a pod that a policy closes reaches nobody."""
    shop = new_shop(**{"istio-injection": "disabled"})
    path = f"/apis/networking.k8s.io/v1/namespaces/{shop.namespace}/networkpolicies/closed"
    reached = lambda: shop.curl(f"http://{HOST}/").returncode == 0  # noqa: E731
    eventually(reached, what="an answer without a policy")
    release.cluster.rest.apply(path, CLOSED)
    release.cluster.kubectl("label", "pod/client", "closed=true", "--namespace", shop.namespace)
    eventually(lambda: not reached(), what="the end of answers")


def test_strangers_reach_no_hop(nodes: NodeCluster, shop: Shop, new_shop: Callable[..., Shop]) -> None:
    """The port that consumers use is closed to a pod of another namespace, and open to the consumer beside it."""
    shop.apply()
    stranger = new_shop(**{"istio-injection": "disabled"})
    shop.open("plain", labels={"sidecar.istio.io/inject": "false"})
    [hop] = {
        port["port"]
        for policy in nodes.rest.items(f"/apis/networking.k8s.io/v1/namespaces/{shop.namespace}/networkpolicies")
        for rule in policy["spec"]["ingress"]
        if "from" in rule
        for port in rule["ports"]
    }
    for address in shop.addresses():
        target = f"{address}:{hop}"
        # Whoever may connect is told nothing without a certificate of the mesh: the connection is what counts.
        connected = ("curl", "--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{time_connect}")
        eventually(lambda: float(shop.run(*connected, f"http://{target}/", client="plain", check=False).stdout) > 0)  # noqa: B023
        assert float(stranger.run(*connected, f"http://{target}/", check=False).stdout) == 0
        # Health and metrics are open to everybody, as Prometheus may run anywhere.
        assert stranger.status(f"http://{address}:15021/healthz/ready") == "200"


def test_gateway_pods_leave_by_the_ports_of_their_destinations_alone(nodes: NodeCluster, shop: Shop) -> None:
    """From within a gateway pod's network: a destination's port answers, another does not, nor a metadata service."""
    shop.apply()
    for pod in shop.pods():
        debug = DEBUG | {"targetContainerName": "istio-proxy"}
        path = f"/api/v1/namespaces/{shop.namespace}/pods/{pod['metadata']['name']}"
        nodes.rest.merge(f"{path}/ephemeralcontainers", {"spec": {"ephemeralContainers": [debug]}})
        name = str(pod["metadata"]["name"])

        def status(target: str, name: str = name) -> str:
            asked = (
                "/usr/bin/curl",
                "--silent",
                "--max-time",
                "5",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            )
            inside = ("exec", name, "--namespace", shop.namespace, "--container", "debug", "--", *asked, target)
            return nodes.kubectl(*inside, check=False).stdout

        eventually(lambda: status(f"http://{OUTSIDE}/") == "200", what="the destination's port")
        assert status(f"http://{OUTSIDE}:8080/") == "000"
        assert status(f"http://{METADATA_IP}/") == "000"


DEBUG: Final[Object] = {
    "name": "debug",
    "image": POD,
    "command": ["/pod", "pause"],
    "securityContext": {"runAsUser": 1337, "runAsNonRoot": True, "allowPrivilegeEscalation": False},
}
