"""What arrives at servers outside of the cluster, from pods that Istio injected, by way of a gateway on real nodes."""

from __future__ import annotations

from typing import Final

import pytest

from harness.node.cluster import NodeCluster
from harness.objects import apply_all, client_secret, is_ready, secret
from harness.real import HOST
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

BANK: Final = "bank.example.com"


def test_protocols_leave_by_the_gateway(nodes: NodeCluster, shop: Shop) -> None:
    """HTTP, the client's own TLS and TCP: the server sees the address of a gateway pod."""
    shop.apply(
        "partners",
        {"port": 80, "protocol": "HTTP"},
        {"port": 443, "protocol": "TLS"},
        {"port": 9000, "protocol": "TCP"},
    )
    gateways = shop.addresses()
    assert len(gateways) == 2

    eventually(lambda: shop.ask()["peer"] in gateways, what="HTTP by the gateway")
    seen = eventually(lambda: shop.ask(f"https://{HOST}/", "--insecure"), what="TLS by the gateway")
    assert seen["peer"] in gateways
    assert seen["tls"]["sni"] == HOST
    said = eventually(lambda: shop.run("/pod", "dial", f"{HOST}:9000").stdout, what="TCP by the gateway")
    assert any(f'"peer": "{address}"' in said for address in gateways), said


def test_gateway_opens_tls_to_a_server_that_it_verifies(nodes: NodeCluster, shop: Shop) -> None:
    """
    With mode Simple the gateway verifies the server by the CA of a Secret and shows no certificate of its own; one with
    a certificate for another name gets no request.
    """
    authority = nodes.world.certificates.trusted.certificate_file.read_bytes()
    apply_all(nodes, [secret(shop.namespace, "authority", {"ca.crt": authority})])
    ports = [
        {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple", "credentialName": "authority"}}
    ]
    sound, wrong = "sound.example.com", "wrong-name.example.com"
    shop.gateways.apply(
        "secured",
        *({"name": name, "hosts": [host], "ports": ports} for name, host in (("sound", sound), ("wrong", wrong))),
    )
    shop.gateways.wait_ready("secured", timeout=180)

    seen = eventually(lambda: shop.ask(f"http://{sound}/"), what="an answer by TLS")
    assert seen["peer"] in shop.addresses("secured")
    assert seen["tls"]["sni"] == sound
    assert not seen["tls"]["client"]
    assert shop.status(f"http://{wrong}/{shop.namespace}") == "503"
    assert shop.real.peers(f"/{shop.namespace}") == set()


def test_rotated_client_certificate_costs_no_request(nodes: NodeCluster, shop: Shop) -> None:
    """
    The gateway presents the client certificate of a Secret, and after the Secret has changed the new one, without a
    request lost and without a new pod.
    """
    authority = nodes.world.certificates.trusted.certificate_file.read_bytes()

    def give(name: str) -> None:
        apply_all(nodes, [client_secret(shop.namespace, "bank", nodes.world.certificates.client(name), authority)])

    give("first")
    port = {"port": 80, "protocol": "HTTP", "targetPort": 8443, "tls": {"mode": "Mutual", "credentialName": "bank"}}
    shop.gateways.apply("bank", {"name": "bank", "hosts": [BANK], "ports": [port]})
    shop.gateways.wait_ready("bank", timeout=180)
    url = f"http://{BANK}/"
    eventually(lambda: shop.ask(url)["tls"]["client"] == "first", what="the first certificate at the bank's")
    pods = {each["metadata"]["uid"] for each in shop.pods("bank")}

    with shop.load(url) as load:
        load.wait_for(20)
        give("second")

        def presented() -> bool:
            return str(shop.ask(url)["tls"]["client"]) == "second"

        # A connection that is open keeps the certificate that it began with.
        eventually(presented, timeout=120, what="the second certificate at the bank's")
        load.wait_for(20)
    assert not load.report.lost, str(load.report)
    assert load.report.peers() <= shop.addresses("bank")
    assert {each["metadata"]["uid"] for each in shop.pods("bank")} == pods


def test_gated_pods_follow_their_destination(nodes: NodeCluster, shop: Shop) -> None:
    """
    With a gate real kubelets keep gateway pods out of service while the destination fails its probe, the status names
    the reason, and all is well once it is healed.
    """
    host = f"status-503-{shop.namespace}.example.com"
    probe = {"path": "/", "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 2, "gates": "Readiness"}
    ports = [{"port": 80, "protocol": "HTTP"}]
    shop.gateways.apply("gated", {"name": "api", "hosts": [host], "ports": ports, "probe": probe})
    shop.gateways.wait("gated", "Reachable", "False", "UnexpectedStatus", part="api", timeout=180)
    shop.gateways.wait("gated", "Ready", "False", "GatewayNotReady")
    assert not any(is_ready(each) for each in shop.pods("gated"))

    nodes.world.heal(host)
    shop.gateways.wait_ready("gated", timeout=180)
    assert all(is_ready(each) for each in shop.pods("gated"))
    eventually(lambda: shop.ask(f"http://{host}/")["peer"] in shop.addresses("gated"), what="a call by the gateway")
