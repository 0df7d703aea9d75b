"""WebSockets that last: longer than the pod of the gateway to which they were opened is wanted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.gateways import Gateways, destination
from harness.mesh.clients import Clients
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


def _pods(mesh: Mesh, namespace: str) -> set[str]:
    """Pods of the gateway that nobody has begun to end."""
    pods = mesh.cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    own = (pod["metadata"] for pod in pods if pod["metadata"]["name"].startswith(NAME))
    return {metadata["name"] for metadata in own if "deletionTimestamp" not in metadata}
