"""
Private names, by which a gateway distinguishes its ways, lead nobody past it, not even where its own ServiceEntries are
visible: in the namespace of its pods.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harness.gateways import Gateways, destination
from harness.mesh.clients import Answer, Client, Clients
from harness.mesh.exits import NAME
from harness.mesh.proxies import Proxy
from harness.mesh.scene import CLOSED, MODES, Scene
from harness.rest import Object

SOMEWHERE = "198.19.0.1"
"""An address of the world that belongs to no host of these tests."""

TCP_PORT = 5432
PRIVATE = ".egress.internal"
ENTRIES = "/apis/networking.istio.io/v1/namespaces/{}/serviceentries"


@pytest.mark.parametrize("mode", MODES)
def test_neighbours_of_a_gateway(scene: Scene, clients: Clients, mode: str) -> None:
    """A workload in the gateway's own namespace that is no consumer, with every private name and address there is."""
    if mode != CLOSED:
        scene.let_out(scene.namespace)
    _try_all(scene, clients.get(scene.namespace), tcp=True, spec=scene.spec(gateway={"replicas": 1}))


def test_neighbours_of_a_shared_gateway(scene: Scene, clients: Clients) -> None:
    """The same in the namespace of a gateway that the platform runs, where the entries of all its users are visible."""
    scene.add_shared_gateway()
    stranger = clients.get(f"commons-{scene.shared}")
    _try_all(scene, stranger, tcp=False, spec=scene.spec(className=scene.shared))


def _try_all(scene: Scene, stranger: Client, *, tcp: bool, spec: Object) -> None:
    """Consumers are served through the gateway, and the stranger by nobody."""
    mesh, token = scene.mesh, scene.namespace
    plain, secured, opaque, database = (f"{kind}-{token}.example.com" for kind in ("plain", "secured", "opaque", "db"))
    ports: dict[str, list[Object]] = {
        plain: [{"port": 80, "protocol": "HTTP"}, {"port": 8080, "protocol": "HTTP2"}],
        secured: [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple"}}],
        opaque: [{"port": 443, "protocol": "TLS"}],
    }
    if tcp:
        ports[database] = [{"port": TCP_PORT, "protocol": "TCP"}]
    gateways = Gateways(mesh.cluster, scene.namespace)
    gateways.apply(NAME, *(destination(host.partition("-")[0], host, ports=ports[host]) for host in ports), **spec)
    gateways.wait_ready(NAME)
    mesh.settle()
    consumer = scene.clients[CLOSED]
    served = [
        consumer.request(f"http://{plain}/"),
        consumer.request(f"http://{secured}/"),
        consumer.request(f"https://{opaque}/"),
        *([consumer.tcp(database, TCP_PORT)] if tcp else ()),
    ]
    # Each of these hosts is there, and only the gateway's pods were seen by it.
    assert [(each.status, each.peer == consumer.address) for each in served] == [(200, False)] * len(served)

    known = _names_known_to(Proxy(mesh, *consumer.name.split("/")))
    assert known & ports.keys() == ports.keys()
    assert {name for name in known if PRIVATE in name} == set()

    entries = [each for each in mesh.cluster.rest.items(ENTRIES.format(scene.namespace)) if _is_private(each)]
    assert len(entries) == sum(map(len, ports.values()))
    mark = mesh.journal.mark()
    answers = {what: answer for entry in entries for what, answer in _attempts(stranger, entry)}
    assert len(answers) >= len(entries)
    saw = [each for each in mesh.journal.since(mark) if each.get("dialled") in ports]
    assert saw == [], "a server was reached past the gateway"
    assert {what: answer for what, answer in answers.items() if answer.status == 200} == {}


def _is_private(entry: Object) -> bool:
    return all(host.endswith(PRIVATE) for host in entry["spec"]["hosts"])


def _names_known_to(proxy: Proxy) -> set[str]:
    """Domains of a sidecar's routes, and hosts of its clusters: what each of them costs it memory and pushes for."""
    configs = json.loads(proxy.admin("/config_dump"))["configs"]
    routes = [route["route_config"] for each in configs for route in each.get("dynamic_route_configs", ())]
    clusters = [found["cluster"]["name"] for each in configs for found in each.get("dynamic_active_clusters", ())]
    hosts = [host for route in routes for host in route.get("virtual_hosts", ())]
    return {domain for host in hosts for domain in host["domains"]} | {name.rpartition("|")[2] for name in clusters}


def _attempts(client: Client, entry: Object) -> Iterator[tuple[str, Answer]]:
    """All that a client can do with what it may know of a private entry: its name, its port, and its addresses."""
    (host,), (port,) = entry["spec"]["hosts"], entry["spec"]["ports"]
    number = port["number"]
    listed = [each["value"] for each in (entry.get("status") or {}).get("addresses") or ()]
    addresses = [*entry["spec"].get("addresses", ()), *listed]
    if port["protocol"] == "TCP":
        # No byte of TCP says a name.
        assert addresses
        for address in addresses:
            yield f"TCP {host} at {address}", client.tcp(address, number)
        return
    for address in (SOMEWHERE, *addresses):
        where = ("--connect-to", f"::{address}:{number}")
        if port["protocol"] == "TLS":
            url = f"https://{host}:{number}/"
            yield f"TLS {host} at {address}", client.request(url, options=("--insecure", *where))
        else:
            url = f"http://{host}:{number}/"
            yield f"HTTP {host} at {address}", client.request(url, options=where)
            yield f"HTTP/2 {host} at {address}", client.request(url, options=("--http2-prior-knowledge", *where))
