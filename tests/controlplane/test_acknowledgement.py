"""Clients are sent to a gateway whose proxies have the way out, and the status says what speaks for that."""

from __future__ import annotations

from harness.cluster import Cluster
from harness.gateways import Gateways, destination
from harness.wait import eventually

LACKING = "a gateway pod does not have the configuration yet, and may be cut off from istiod: partners-egress-"
BY_TIME = "not every gateway pod tells what its proxy has"


def test_gateway_that_is_cut_off_gets_no_new_clients(cluster: Cluster, gateways: Gateways) -> None:
    """What it has goes on. A destination that is added waits, with the name of a pod, until the push arrives."""
    api, pay = (destination(name, f"{name}.{gateways.namespace}.example.com") for name in ("api", "pay"))
    gateways.apply("partners", api)
    gateways.wait("partners", "Ready", "True", "Ready")
    clients = gateways.clients("partners")

    cluster.set_page(gateways.namespace, "frozen")
    gateways.apply("partners", api, pay)
    eventually(
        lambda: gateways.condition("partners", "Steered", part="pay")["message"].startswith(LACKING),
        what="the name of the pod that lacks it",
    )
    assert gateways.condition("partners", "Steered", part="pay")["status"] == "False"
    assert gateways.condition("partners", "Steered", part="api")["status"] == "True"
    assert gateways.clients("partners") == clients, "clients were sent to a gateway that does not know the host"

    cluster.set_page(gateways.namespace, None)
    gateways.wait("partners", "Steered", "True", "Steered", part="pay")
    gateways.wait("partners", "Ready", "True", "Ready")
    assert BY_TIME not in gateways.condition("partners", "Steered", part="pay")["message"]


def test_time_decides_where_no_pod_tells_and_the_message_says_so(cluster: Cluster, gateways: Gateways) -> None:
    """It is said until a pod tells."""
    api, pay = (destination(name, f"{name}.{gateways.namespace}.example.com") for name in ("api", "pay"))
    cluster.set_page(gateways.namespace, "silent")
    gateways.apply("partners", api)
    said = gateways.wait("partners", "Steered", "True", "Steered", part="api")
    assert BY_TIME in said["message"]
    gateways.wait("partners", "Ready", "True", "Ready")

    cluster.set_page(gateways.namespace, None)
    gateways.apply("partners", api, pay)
    gateways.wait("partners", "Steered", "True", "Steered", part="pay")
    eventually(
        lambda: BY_TIME not in gateways.condition("partners", "Steered", part="api")["message"],
        what="a message without the doubt",
    )
