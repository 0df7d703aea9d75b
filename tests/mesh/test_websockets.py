"""WebSockets outlast the wish for the gateway's pod that they go through; and nothing else passes by their leave."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from egressgateway.plan.gateway.target import LISTENER_PORT
from harness.gateways import Gateways, destination
from harness.mesh import tunnel
from harness.mesh.clients import Clients
from harness.mesh.identities import identity
from harness.mesh.mesh import Mesh
from harness.wait import eventually

NAME = "chat"
IDLE_SECONDS = "20"
"""Longer than a roll takes, shorter than a pod may take to end (30 s, less five for Envoy)."""


def test_websocket_lives_through_a_roll(mesh: Mesh, gateways: Gateways, clients: Clients) -> None:
    """A new pod takes over, the old one ends; what was opened before goes on, both ways, for the time of the drain."""
    client, host = clients.get(gateways.namespace), f"ws.{gateways.namespace}.example.com"
    served = destination("ws", host, ports=[{"port": 80, "protocol": "HTTP"}])
    gateways.apply(NAME, served, gateway={"replicas": 1})
    gateways.wait_ready(NAME)
    mesh.settle()
    [before] = _pods(mesh, gateways.namespace)

    mark = mesh.journal.mark()
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(client.websocket, f"ws://{host}/room", None, "--idle", IDLE_SECONDS)
        eventually(lambda: any(each["dialled"] == host for each in mesh.journal.since(mark)), what="the WebSocket")
        gateways.apply(NAME, served, gateway={"replicas": 1, "podAnnotations": {"rolled": "once"}})
        eventually(lambda: before not in _pods(mesh, gateways.namespace), what="the end of the old pod begun")
        assert client.request(f"http://{host}/").status == 200
        assert not opened.done()
    answer = opened.result()
    assert (answer.status, answer.error) == (101, "")


def test_tunnel_is_no_upgrade(mesh: Mesh, gateways: Gateways, clients: Clients) -> None:
    """A client that may use a hop, and speaks HTTP/2 to the gateway by hand, gets its host there and no other."""
    namespace = gateways.namespace
    host, target = f"ws.{namespace}.example.com", f"elsewhere.{namespace}.example.com:80"
    gateways.apply(NAME, destination("ws", host, ports=[{"port": 80, "protocol": "HTTP"}]), gateway={"replicas": 1})
    gateways.wait_ready(NAME)
    mesh.settle()
    [pod] = _pods(mesh, namespace)
    address = mesh.cluster.rest.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["status"]["podIP"]
    name, certificate = f"http-80.{host}.{NAME}.{namespace}.egress.internal", identity(mesh, f"mesh {namespace}/app")

    mark, client = mesh.journal.mark(), clients.get(namespace, sidecar=False)
    argv = [sys.executable, "-E", tunnel.__file__, address, str(LISTENER_PORT), name, str(certificate), target]
    done = subprocess.run(client.netns.inside(*argv), capture_output=True, text=True, check=True)
    served, tunnelled = json.loads(done.stdout)
    assert served == 200
    assert tunnelled in (403, 404)
    assert [each["dialled"] for each in mesh.journal.since(mark) if namespace in each["dialled"]] == [host]


def _pods(mesh: Mesh, namespace: str) -> set[str]:
    """Pods of the gateway that nobody has begun to end."""
    pods = mesh.cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    own = (pod["metadata"] for pod in pods if pod["metadata"]["name"].startswith(NAME))
    return {metadata["name"] for metadata in own if "deletionTimestamp" not in metadata}
