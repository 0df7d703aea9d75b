"""Silent connections: each is ended when its destination says, by the gateway, and by no proxy before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.gateways import Gateways
from harness.mesh.clients import Clients
from harness.mesh.mesh import Mesh
from harness.mesh.proxies import Proxy
from harness.rest import Object

NAME = "idle"
TCP_PROXY = "envoy.filters.network.tcp_proxy"


def test_silence_ends_a_connection_when_the_destination_says(mesh: Mesh, gateways: Gateways, clients: Clients) -> None:
    """
    After a second, after four hours, never, as by default; of TCP and of the client's TLS, with whatever settings
    beside: what would take hours is read from the proxies' configuration.
    """
    client, domain = clients.get(gateways.namespace), f"{gateways.namespace}.example.com"
    verified = {"mode": "Simple", "insecureSkipVerify": True}
    gateways.apply(
        NAME,
        _destination("short", domain, {"port": 9000, "protocol": "TCP"}, "1s"),
        _destination("long", domain, {"port": 3306, "protocol": "TCP"}, "4h"),
        _destination("never", domain, {"port": 6379, "protocol": "TCP"}, "0s"),
        _destination("opaque", domain, {"port": 6380, "protocol": "TLS"}, "1s"),
        _destination("secured", domain, {"port": 5433, "targetPort": 6380, "protocol": "TCP", "tls": verified}, "0s"),
        _destination("default", domain, {"port": 5432, "protocol": "TCP"}, None),
        {
            **_destination("any", domain, {"port": 8883, "protocol": "TLS"}, "4h"),
            "hosts": [f"*.any.{domain}"],
            "wildcard": {"strategy": "DynamicResolution"},
        },
        gateway={"replicas": 1},
    )
    gateways.wait_ready(NAME)
    mesh.settle()

    cut = [
        client.tcp(f"short.{domain}", 9000, "--idle", "3"),
        client.tcp(f"opaque.{domain}", 6380, "--tls", "--idle", "3"),
    ]
    kept = [client.tcp(f"{name}.{domain}", port, "--idle", "3") for name, port in (("long", 3306), ("never", 6379))]
    assert [(each.status, "hello" in each.body) for each in cut] == [(0, True)] * 2
    assert [each.status for each in kept] == [200, 200]

    sidecar = _idle_timeouts(Proxy(mesh, gateways.namespace, "client-app"), f"{NAME}-egress")
    assert set(sidecar.values()) == {"0s"}
    assert len(sidecar) >= 7
    at_gateway = _idle_timeouts(Proxy(mesh, gateways.namespace, _pod(mesh, gateways.namespace)), "")
    expected = {"short": "1s", "long": "14400s", "never": "0s", "opaque": "1s", "secured": "0s", "default": None}
    found = {
        name: {value for cluster, value in at_gateway.items() if f"{name}.{domain}" in cluster} for name in expected
    }
    assert found == {name: {value} for name, value in expected.items()}
    dynamic = {value for cluster, value in at_gateway.items() if cluster.endswith(("-inner", "-outer"))}
    assert dynamic == {"14400s"}


def _destination(name: str, domain: str, port: Object, idle: str | None) -> Object:
    traffic = {} if idle is None else {"traffic": {"connectionPool": {"idleTimeout": idle}}}
    return {"name": name, "hosts": [f"{name}.{domain}"], "ports": [port], **traffic}


def _pod(mesh: Mesh, namespace: str) -> str:
    pods = mesh.cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    [name] = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith(NAME)]
    return str(name)


def _idle_timeouts(proxy: Proxy, part: str) -> dict[str, Any]:
    """By the cluster that it leads to, of each TCP proxy whose cluster has `part` in its name."""
    dump = json.loads(proxy.admin("/config_dump?resource=dynamic_listeners"))
    found = {each["cluster"]: each.get("idle_timeout") for each in _tcp_proxies(dump) if "cluster" in each}
    outbound = {name: value for name, value in found.items() if part in name and not name.startswith("Black")}
    return {name: value for name, value in outbound.items() if ".internal" in name or part or "-" in name}


def _tcp_proxies(node: Any) -> Iterator[Object]:
    if isinstance(node, dict):
        if node.get("name") == TCP_PROXY:
            yield node["typed_config"]
        for value in node.values():
            yield from _tcp_proxies(value)
    elif isinstance(node, list):
        for value in node:
            yield from _tcp_proxies(value)
