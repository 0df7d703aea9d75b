"""Probes tell the truth of destinations: each fault by its own reason, and a healed destination by itself."""

from __future__ import annotations

from functools import partial

from harness.gateways import Gateways, destination
from harness.mesh.clients import Clients
from harness.mesh.mesh import Mesh
from harness.mesh.proxies import Proxy
from harness.operator import OperatorProcess
from harness.rest import Object
from harness.wait import eventually

NAME = "exit"
OFTEN: Object = {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 2}
HTTP: list[Object] = [{"port": 80, "protocol": "HTTP"}]
ORIGINATED: list[Object] = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple"}}]
OPAQUE: list[Object] = [{"port": 443, "protocol": "TLS"}]

LIVENESS_FAILURES = 6
"""After which the kubelet restarts a pod; here it asks once a second."""

FAULTS = {
    "sound": ("sound.example.com", ORIGINATED, {"path": "/healthz"}, "Reachable"),
    "opaque": ("opaque.example.com", OPAQUE, {}, "Reachable"),
    "absent": ("absent-api.example.com", HTTP, {}, "DnsFailed"),
    "dead": ("dead-api.example.com", HTTP, {}, "ConnectFailed"),
    "wrong": ("wrong-api.example.com", ORIGINATED, {"path": "/"}, "TlsNameMismatch"),
    "untrusted": ("private-api.example.com", ORIGINATED, {}, "TlsFailed"),
    "failing": ("status-503-api.example.com", ORIGINATED, {"path": "/"}, "UnexpectedStatus"),
    "expected": ("status-401-api.example.com", HTTP, {"path": "/", "statuses": [401]}, "Reachable"),
}
"""By destination: host, ports, probe, and the reason that it must come to."""


def probed(name: str, host: str, ports: list[Object], **probe: object) -> Object:
    return {**destination(name, host, ports=ports), "probe": {**OFTEN, **probe}}


def test_each_fault_has_its_reason_and_heals(
    mesh: Mesh, operator: OperatorProcess, gateways: Gateways, clients: Clients
) -> None:
    """What is wrong with a destination is told, costs no other anything, and ends when it ends."""
    listed = [probed(name, host, ports, **probe) for name, (host, ports, probe, _) in FAULTS.items()]
    client = clients.get(gateways.namespace)
    gateways.apply(NAME, *listed, gateway={"replicas": 1})
    for name, (_, _, _, reason) in FAULTS.items():
        gateways.wait(NAME, "Reachable", str(reason == "Reachable"), reason, part=name)
    gateways.wait_ready(NAME)
    mesh.settle()
    assert client.request("http://sound.example.com/").status == 200
    # The probe does not decide where requests go: what the server answers is what the client gets.
    assert client.request("http://status-503-api.example.com/").seen["authority"] == "status-503-api.example.com"

    def series(name: str, status: str) -> float:
        labels = f'destination="{name}",name="{NAME}",namespace="{gateways.namespace}",status="{status}"'
        return operator.metric(f"egressgateway_destination_reachable{{{labels}}}")

    assert (series("sound", "True"), series("failing", "True"), series("failing", "False")) == (1, 0, 1)
    # A name that DNS does not know is asked for once a minute (Istio's dnsRefreshRate), too seldom for a test.
    mesh.heal("status-503-api.example.com")
    gateways.wait(NAME, "Reachable", "True", "Reachable", part="failing")


def test_probe_takes_the_way_of_requests_and_nothing_of_the_mesh_with_it(mesh: Mesh, gateways: Gateways) -> None:
    """The server sees the gateway's address, the host's name, the headers of the destination, and no header besides."""
    host = f"seen-{gateways.namespace}.example.com"
    mark = mesh.journal.mark()
    one = {
        **probed("seen", host, ORIGINATED, path="/healthz?a=b"),
        "requestHeaders": {"set": [{"name": "x-client", "value": "100%"}]},
    }
    gateways.apply(NAME, one, gateway={"replicas": 1})
    gateways.wait(NAME, "Reachable", "True", "Reachable", part="seen")
    saw = next(each for each in mesh.journal.since(mark) if each.get("dialled") == host and "headers" in each)
    assert (saw["method"], saw["path"], saw["authority"], saw["tls"]["sni"]) == ("GET", "/healthz?a=b", host, host)
    assert saw["tls"]["client"] is None
    assert saw["headers"] == {"host": host, "user-agent": "egressgateway-probe", "x-client": "100%"}


def test_pods_that_follow_a_destination(mesh: Mesh, gateways: Gateways) -> None:
    """
    They are ready while they reach it, and restarted once when they lose it: never before they have reached it, and not
    again until they have. Nobody notices when they need not follow it any more.
    """
    host = f"status-503-{gateways.namespace}.example.com"
    gateways.apply(NAME, probed("lead", host, HTTP, path="/", gates="Liveness"), gateway={"replicas": 1})
    gateways.wait(NAME, "Reachable", "False", "UnexpectedStatus", part="lead")
    gateways.wait(NAME, "Ready", "False", "GatewayNotReady")
    _until_checked(mesh, gateways, 2 * LIVENESS_FAILURES)
    assert _restarts(mesh, gateways) == 0
    mesh.heal(host)
    gateways.wait_ready(NAME)
    mesh.unheal(host)
    eventually(lambda: _restarts(mesh, gateways) == 1, what="a restart")
    _until_checked(mesh, gateways, 2 * LIVENESS_FAILURES)
    assert _restarts(mesh, gateways) == 1
    gateways.wait(NAME, "Ready", "False", "GatewayNotReady")
    mesh.heal(host)
    gateways.wait_ready(NAME)
    gateways.apply(NAME, probed("lead", host, HTTP, path="/"), gateway={"replicas": 1})
    eventually(partial(_without_gate, gateways), what="the end of the gate")
    gateways.wait_ready(NAME)


def _pod(mesh: Mesh, gateways: Gateways) -> Object:
    path = f"/api/v1/namespaces/{gateways.namespace}/pods"
    (pod,) = mesh.cluster.rest.items(path, labelSelector=f"egressgateway.dev/gateway={NAME}")
    return pod


def _restarts(mesh: Mesh, gateways: Gateways) -> int:
    return int(_pod(mesh, gateways)["status"]["containerStatuses"][0]["restartCount"])


def _until_checked(mesh: Mesh, gateways: Gateways, times: int) -> None:
    """Return when the Envoy that runs has checked so often, one second apart, and failed."""
    proxy = Proxy(mesh, gateways.namespace, _pod(mesh, gateways)["metadata"]["name"])
    eventually(lambda: sum(proxy.stats(r"egress.internal.*health_check\.failure").values()) >= times, what="checks")


def _without_gate(gateways: Gateways) -> bool:
    patches = gateways.children(NAME)["EnvoyFilter", f"{NAME}-egress-probes"]["spec"]["configPatches"]
    return [each["applyTo"] for each in patches] == ["CLUSTER"]
