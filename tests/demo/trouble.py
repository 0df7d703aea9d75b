"""Steps about what goes wrong: refusals, changes by hand, a restart, and the end of the object."""

from __future__ import annotations

import copy

import yaml

from demo.observe import Change, Recorder, seconds_until
from demo.routing import is_ready, read_sample, ready_line
from demo.show import Screen
from demo.stage import Stage
from harness.gateways import ChildName, Gateways
from harness.kubeconfig import Access
from harness.rest import Object

MIRROR = {"host": "collector.elsewhere.example"}


def delete_a_child(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "A child deleted by hand", "Without this VirtualService requests would go past the gateway, with nobody told."
    )
    name = read_sample()["metadata"]["name"]
    kind, child = _clients_route(gateways, name)
    before = gateways.cluster.rest.get(gateways.child_path((kind, child)))
    screen.command("kubectl delete virtualservice", child, "-n", gateways.namespace)
    screen.text(stage.cluster.kubectl("delete", kind, child, "-n", gateways.namespace).stdout)
    seconds = seconds_until(lambda: _remade(gateways, (kind, child), before), "the child's return")
    screen.fact(f"made again, the same, {seconds * 1000:.0f} ms after kubectl returned")


def edit_a_child(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "A child edited by hand",
        "A mirror would copy each payment to somebody else. A field that is not ours is taken out of what is.",
    )
    name = read_sample()["metadata"]["name"]
    kind, child = _clients_route(gateways, name)
    path = gateways.child_path((kind, child))
    before = gateways.cluster.rest.get(path)
    patch = yaml.safe_dump([{"op": "add", "path": "/spec/http/0/mirror", "value": MIRROR}])
    screen.command("kubectl patch virtualservice", child, "--type=json  # add /spec/http/0/mirror:", MIRROR["host"])
    with Recorder(Access.read(stage.cluster.kubeconfig), gateways.namespace) as recorder:
        stage.cluster.kubectl("patch", kind, child, "-n", gateways.namespace, "--type=json", "-p", patch)
        seconds = seconds_until(lambda: gateways.cluster.rest.get(path)["spec"] == before["spec"], "the repair")
        seconds_until(lambda: len(recorder.changes) >= 2, "both changes in the record")
    screen.changes(recorder.changes)
    screen.fact(f"taken out {seconds * 1000:.0f} ms after kubectl returned")


def refuse(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "Objects that are refused", "A mistake is answered where it is made, in words; nothing is ignored in silence."
    )
    address = _variant("by-address", hosts=["203.0.113.7"])
    screen.command("kubectl apply -f -   # with", "hosts: [203.0.113.7]")
    answer = stage.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(address), check=False)
    screen.text(answer.stderr)
    assert answer.returncode != 0, "the API server took an address for a host"
    assert "spec.destinations[0].hosts[0]" in answer.stderr, "the message does not name the field"
    screen.fact("refused by the API server, by the rules of the CRD: no webhook that could be down")

    opaque = _variant(
        "over-tls", hosts=["www.example.com"], ports=[{"port": 443, "protocol": "TLS"}], traffic={"timeout": "5s"}
    )
    screen.command("kubectl apply -f -   # with", "ports: [{port: 443, protocol: TLS}], traffic: {timeout: 5s}")
    screen.text(stage.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(opaque)).stdout)
    condition = gateways.wait("over-tls", "Accepted", "False", "UnsupportedValue")
    screen.text(f"Accepted={condition['status']}  {condition['reason']}  {condition['message']}")
    assert not gateways.children("over-tls"), "something was made for an object that is not accepted"
    screen.fact(
        "what the data plane cannot do is said in the status, and nothing is made for it; the others keep working"
    )
    gateways.delete("over-tls")
    gateways.wait_gone("over-tls")


def restart(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "The operator restarted",
        "An upgrade must not touch what is right: each needless write is a push to every proxy.",
    )
    # A repaired route is pushed to clients like a new one, and until then the object is not Ready.
    name = read_sample()["metadata"]["name"]
    screen.wait("Ready", lambda: is_ready(gateways, name), lambda: ready_line(gateways, name))
    stage.wait_until_idle()
    stage.operator.stop()
    before = stage.writes()
    stage.start_operator()
    seconds_until(lambda: stage.reconciled() > 0, "a reconcile after the restart")
    stage.wait_until_idle()
    written = stage.writes() - before
    assert not written, f"written after a restart: {dict(written)}"
    screen.fact("it has looked at everything and written nothing: 0 writes, counted by the API server (Lease aside)")


def delete_object(screen: Screen, stage: Stage, gateways: Gateways) -> None:
    screen.step(
        "The object deleted",
        "Clients are withdrawn in one burst before the gateway goes; the garbage collector knows no order.",
    )
    name = read_sample()["metadata"]["name"]
    screen.command("kubectl delete egressgateway", name, "-n", gateways.namespace)
    with Recorder(Access.read(stage.cluster.kubeconfig), gateways.namespace) as recorder:
        wanted = len(gateways.children(name))
        screen.text(stage.cluster.kubectl("delete", "egressgateway", name, "-n", gateways.namespace).stdout)
        screen.wait("nothing left", lambda: not _left(gateways, name), lambda: _count(len(_left(gateways, name))))
        seconds_until(lambda: len(_deleted(recorder.changes)) == wanted, "every removal in the record")
    screen.changes(recorder.changes)
    clients = [change.version for change in _deleted(recorder.changes) if change.stage == "clients"]
    others = [change.version for change in _deleted(recorder.changes) if change.stage != "clients"]
    assert max(clients) < min(others), "a part of the gateway went before its clients were withdrawn"
    assert not gateways.exists(name), "the object is still there"
    screen.fact("clients first, then the rest; nothing is left")


def _clients_route(gateways: Gateways, name: str) -> ChildName:
    return min(child for child in gateways.clients(name) if child[0] == "VirtualService")


def _remade(gateways: Gateways, child: ChildName, before: Object) -> bool:
    found = gateways.children(before["metadata"]["labels"]["egressgateway.dev/gateway"]).get(child)
    return (
        found is not None and found["metadata"]["uid"] != before["metadata"]["uid"] and found["spec"] == before["spec"]
    )


def _variant(name: str, **destination: object) -> Object:
    """The sample under another name, its one destination changed."""
    document = copy.deepcopy(read_sample())
    document["metadata"]["name"] = name
    document["spec"]["destinations"][0].update(destination)
    return document


def _left(gateways: Gateways, name: str) -> list[ChildName]:
    return sorted(gateways.children(name))


def _deleted(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.action == "deleted"]


def _count(children: int) -> str:
    return f"{children} children left"
