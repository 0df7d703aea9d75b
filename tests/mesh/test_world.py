"""The parts of the tier itself do what they are called, mostly as a pod without a sidecar sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from harness.mesh import istio, netns
from harness.mesh.clients import Client, Clients
from harness.mesh.layout import METADATA_IP, WORLD_NETWORK_6
from harness.mesh.mesh import Mesh
from harness.rest import Object
from harness.wait import eventually

NAMESPACE = "tier"
SERVICE_ENTRIES = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/serviceentries"


@pytest.fixture
def plain(clients: Clients) -> Client:
    """A pod without a sidecar: nothing stands between it and the world."""
    return clients.get(NAMESPACE, sidecar=False)


def test_websocket_echoes_in_the_clear_and_within_tls(plain: Client) -> None:
    clear = plain.websocket("ws://chat.example.com/room", {"x-own": "kept"})
    assert (clear.status, clear.error, clear.seen["dialled"]) == (101, "", "chat.example.com")
    assert (clear.seen["headers"]["x-own"], clear.seen["tls"]) == ("kept", None)
    within = plain.websocket("wss://chat.example.com/room")
    assert (within.status, within.seen["tls"]["sni"]) == (101, "chat.example.com")


def test_echo_within_tls(plain: Client) -> None:
    answer = plain.tcp("cache.example.com", 6380, "--tls")
    assert (answer.status, answer.seen["tls"]["sni"], answer.peer) == (200, "cache.example.com", plain.address)
    assert "CERTIFICATE_VERIFY_FAILED" in plain.tcp("private-cache.example.com", 6380, "--tls").error


def test_silent_client_reads_a_greeting(plain: Client) -> None:
    assert plain.tcp("db.example.com", 5432, "--silent").seen["dialled"] == "db.example.com"


def test_certificate_that_does_not_follow_the_name_that_is_asked_for(plain: Client) -> None:
    """curl refuses it by another name, and takes it by its own."""
    elsewhere = ("--connect-to", "::fixed-api.example.com:443")
    refused = plain.request("https://other.example.com/", options=elsewhere)
    assert (refused.status, refused.seen) == (0, {})
    assert "no alternative certificate subject name matches" in refused.error
    seen = plain.request("https://other.example.com/", options=(*elsewhere, "--insecure")).seen
    assert (seen["tls"]["sni"], seen["dialled"]) == ("other.example.com", "fixed-api.example.com")
    assert plain.request("https://fixed-api.example.com/").status == 200


@pytest.mark.parametrize("address", ["10.128.0.5", METADATA_IP])
def test_names_lead_inwards(plain: Client, address: str) -> None:
    """The world's servers answer there: a request that gets so far is seen."""
    answer = plain.request(f"http://at-{address.replace('.', '-')}.corp.example/")
    assert (answer.status, answer.seen["dialled"], answer.peer) == (200, address, plain.address)


def test_name_that_leads_to_the_pod_itself(plain: Client) -> None:
    """Nobody listens there in a pod without a proxy; it is not the world that answers."""
    assert "Couldn't connect" in plain.request("http://at-127-0-0-1.corp.example/").error


@pytest.mark.skipif(not netns.knows_ipv6(), reason="this machine knows no IPv6")
def test_ipv6_reaches_the_world(plain: Client) -> None:
    """By names that have no other address, by those that have both, and by addresses."""
    six = plain.request("http://six-api.example.com/")
    assert (six.status, six.seen["dialled"]) == (200, "six-api.example.com")
    dual = {each: plain.request("http://dual-api.example.com/", options=(each,)).peer for each in ("-4", "-6")}
    assert dual == {"-4": plain.address, "-6": six.peer}
    assert plain.request(f"http://[{WORLD_NETWORK_6[5]}]/").seen["peer"] == six.peer


@pytest.mark.skipif(not netns.knows_ipv6(), reason="this machine knows no IPv6")
def test_ipv6_is_no_way_past_a_sidecar(clients: Clients) -> None:
    """A proxy that is configured for IPv4 alone listens there alone."""
    answer = clients.get(NAMESPACE).request("http://six-api.example.com/")
    assert (answer.status, answer.seen) == (0, {})


@pytest.fixture
def registered(mesh: Mesh, clients: Clients) -> Iterator[str]:
    """A TCP host without an address, in a ServiceEntry that somebody wrote by hand."""
    clients.get(NAMESPACE)
    host = "by-hand.tier.example"
    ports: list[Object] = [{"number": 9000, "name": "tcp", "protocol": "TCP"}]
    spec = {"hosts": [host], "ports": ports, "resolution": "DNS", "location": "MESH_EXTERNAL", "exportTo": ["."]}
    entry = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "by-hand"}}
    mesh.cluster.rest.apply(f"{SERVICE_ENTRIES}/by-hand", {**entry, "spec": spec})
    yield host
    mesh.cluster.rest.delete(f"{SERVICE_ENTRIES}/by-hand")


def test_dns_capture_gives_hosts_addresses_of_their_own(mesh: Mesh, clients: Clients, registered: str) -> None:
    """With it a sidecar answers; without it the answer is the world's. Names that it does not know stay the world's."""
    captured, other = clients.get(NAMESPACE, dns_capture=True), clients.get(NAMESPACE)
    mesh.settle()
    assert resolved(captured, registered).startswith("240.240.")
    assert resolved(other, registered).startswith("198.19.")
    assert resolved(captured, "unknown.tier.example").startswith("198.19.")
    assert captured.tcp(registered, 9000).seen["dialled"] == registered


def resolved(client: Client, name: str) -> str:
    """The first address of IPv4 that a program in the pod gets for a name."""
    argv = client.netns.inside("getent", "ahostsv4", name)
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[0]


def test_istiod_pushes_when_it_is_asked_to(mesh: Mesh, clients: Clients) -> None:
    """The harness asks for it where an acknowledgement was missed; see `harness.mesh.sync`."""
    clients.get("payments")
    mesh.settle()
    before = mesh.sync_states()
    istio.push_all(mesh.node)
    eventually(lambda: mesh.sync_states() != before, what="a push")
    mesh.settle()
