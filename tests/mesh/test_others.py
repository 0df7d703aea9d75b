"""
What happens to an object by the hands of others, while its clients call: at no moment does the status say otherwise
than what becomes of requests. Which answer is right depends on the event; that the status gives it is all that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pytest

from harness.gateways import Gateways, destination
from harness.mesh.clients import Client, Clients, ensure_namespace
from harness.mesh.continuity import Traffic
from harness.mesh.detector import Call, Detector
from harness.mesh.exits import CLASSES, NAME
from harness.mesh.scene import CLOSED, HOST, RATE, STEADY, Scene
from harness.mesh.world.secrets import secret
from harness.release import allow_secrets, withdraw_secrets
from harness.rest import Object
from harness.wait import eventually

URL: Final = f"http://{HOST}/"
ONE: Final[Object] = {"replicas": 1}
TCP: Final = 9000
HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]
MUTUAL: Final = {
    "port": 80,
    "protocol": "HTTP",
    "targetPort": 8443,
    "tls": {"mode": "Mutual", "credentialName": "keyed"},
}


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes lines for the table."""
    return partial(record_property, "continuity")


class Story:
    """An exit for the clients that may call what is known and nothing else, and what they ask for all the time."""

    def __init__(self, scene: Scene, event: str, told: Callable[[str], None]) -> None:
        self.scene = scene
        self.rest = scene.mesh.cluster.rest
        self.caller = scene.callers[CLOSED]
        self.exit = Gateways(scene.mesh.cluster, scene.namespace)
        self._told = told
        self._event = event

    def put(self, *destinations: Object, **spec: Any) -> None:
        """Write the object, and wait for nothing."""
        access = {"from": [{"namespaces": [self.caller]}]}
        given = {"access": access, **({} if "className" in spec else {"gateway": ONE}), **spec}
        self.exit.apply(NAME, *(destinations or (STEADY,)), **self.scene.spec(**given))

    def serve(self, *destinations: Object, **spec: Any) -> None:
        self.put(*destinations, **spec)
        self.exit.wait_ready(NAME)

    def says(self, condition: str, status: str, reason: str, part: str = "steady") -> None:
        self.exit.wait(NAME, condition, status, reason, part=part)

    @contextmanager
    def asking(self, *urls: str, client: Client | None = None) -> Iterator[Traffic]:
        """Requests all the time, and no lie about them."""
        calls = [Call(f"{self.caller}/app", url) for url in urls or (URL,)]
        with Detector(self.scene.mesh.kubeconfig, RATE / len(calls)) as detector:
            yield detector.ask(client or self.scene.clients[CLOSED], calls)
        for call, report in detector.reports():
            self._told(report.line(f"{self._event}: {call.url}"))
        assert detector.lies() == []


@pytest.fixture
def story(scene: Scene, told: Callable[[str], None], request: pytest.FixtureRequest) -> Story:
    return Story(scene, request.node.name.removeprefix("test_").replace("_", " "), told)


def nothing_lost(traffic: Traffic) -> None:
    report = traffic.report()
    assert (report.moments()[:9], report.direct) == ([], 0)


def test_foreign_entry_on_the_tcp_port(story: Story) -> None:
    """Somebody registers another host on the port, without an address: who was there first keeps it."""
    story.serve(destination("steady", "queue.example.com", ports=[{"port": TCP, "protocol": "TCP"}]))
    path = f"/apis/networking.istio.io/v1/namespaces/{story.caller}/serviceentries/other"
    ports = [{"number": TCP, "name": "tcp", "protocol": "TCP"}]
    entry = {"hosts": ["other.example.com"], "location": "MESH_EXTERNAL", "resolution": "DNS", "ports": ports}
    with story.asking(f"tcp://queue.example.com:{TCP}") as traffic:
        traffic.wait_for(50, ok=True)
        head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "other"}}
        story.rest.apply(path, {**head, "spec": entry})
        story.scene.mesh.settle()
        traffic.wait_for(150)
        story.rest.delete(path)
        story.exit.wait_ready(NAME)
        traffic.wait_for(50, ok=True)


def test_port_of_the_shared_gateway_moves(story: Story) -> None:
    """The platform gives its Service another port, and then the old one again."""
    story.scene.add_shared_gateway()
    story.serve(className=story.scene.shared)
    path = f"/api/v1/namespaces/commons-{story.scene.shared}/services/commons"
    ports = story.rest.get(path)["spec"]["ports"]
    moved = [{**each, "port": 8443} if each["port"] == 443 else each for each in ports]
    with story.asking() as traffic:
        traffic.wait_for(50, ok=True)
        story.rest.merge(path, {"spec": {"ports": moved}})
        story.scene.mesh.settle()
        traffic.wait_for(200)
        story.rest.merge(path, {"spec": {"ports": ports}})
        story.exit.wait_ready(NAME)
        traffic.wait_for(50, ok=True)


def test_secret_is_rotated_broken_and_deleted(story: Story) -> None:
    """
    What a gateway has of it stays until there is something better: no request is lost, and the status tells of the
    Secret.
    """
    scene, name = story.scene, f"{story.scene.namespace}/keyed"
    path = f"/api/v1/namespaces/{scene.namespace}/secrets/keyed"

    def write(*left_out: str) -> None:
        # Each time another certificate.
        manifest = secret(scene.mesh.certificates, name, "client")
        data = {key: value for key, value in manifest["data"].items() if key not in left_out}
        story.rest.apply(path, {**manifest, "data": data})

    allow_secrets(scene.mesh.cluster, scene.namespace)
    try:
        write()
        story.serve(destination("steady", HOST, ports=[MUTUAL]))
        with story.asking() as traffic:
            traffic.wait_for(50, ok=True)
            write()
            scene.mesh.settle()
            traffic.wait_for(50)
            # What cannot be read istiod would push, and the proxy refuse; what lacks its key nobody pushes.
            write("tls.key")
            story.says("ResolvedRefs", "False", "SecretInvalid")
            traffic.wait_for(100)
            story.rest.delete(path)
            story.says("ResolvedRefs", "False", "SecretNotFound")
            traffic.wait_for(100)
            write()
            story.exit.wait_ready(NAME)
            traffic.wait_for(50)
        nothing_lost(traffic)
    finally:
        withdraw_secrets(scene.mesh.cluster, scene.namespace)


def test_quota_that_lets_no_pod_start(story: Story) -> None:
    """Nothing is steered to pods that cannot be; with room for them all is well."""
    path = f"/api/v1/namespaces/{story.scene.namespace}/resourcequotas/narrow"
    hard = {"hard": {"pods": "0"}}
    head = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "narrow"}}
    story.rest.apply(path, {**head, "spec": hard})
    # As the quota controller, which does not run here, would write it.
    story.rest.merge(f"{path}/status", {"status": {**hard, "used": {"pods": "0"}}})
    with story.asking() as traffic:
        story.put()
        story.says("Steered", "False", "GatewayNotReady")
        traffic.wait_for(100, ok=False)
        story.rest.delete(path)
        # The controller of ReplicaSets tries again ever more rarely; an edit of the template makes it look at once.
        story.serve(gateway={**ONE, "podAnnotations": {"try": "again"}})
        traffic.wait_for(50, ok=True)


def test_class_that_forbids(story: Story) -> None:
    """The platform takes the host back, and gives it again."""
    path = f"{CLASSES}/{story.scene.dedicated}"
    story.serve()
    with story.asking() as traffic:
        traffic.wait_for(50, ok=True)
        story.rest.merge(path, {"spec": {"deniedHosts": [HOST]}})
        story.says("Accepted", "False", "HostNotAllowed")
        traffic.wait_for(100, ok=False)
        story.rest.merge(path, {"spec": {"deniedHosts": None}})
        story.exit.wait_ready(NAME)
        traffic.wait_for(50, ok=True)


@pytest.mark.parametrize("by", ["class", "object"])
def test_consumer_is_relabelled(story: Story, by: str) -> None:
    """Its namespace loses the label by which it is served, and gets it again."""
    place = f"/api/v1/namespaces/{story.caller}"
    selector = {"matchLabels": {"egress": story.scene.namespace}}
    story.rest.merge(place, {"metadata": {"labels": selector["matchLabels"]}})
    if by == "class":
        allowed = {"allowedConsumers": {"from": "Selector", "selector": selector}}
        story.rest.merge(f"{CLASSES}/{story.scene.dedicated}", {"spec": allowed})
        story.serve()
    else:
        story.serve(access={"from": [{"namespaceSelector": selector}]})
    with story.asking() as traffic:
        traffic.wait_for(50, ok=True)
        story.rest.merge(place, {"metadata": {"labels": {"egress": None}}})
        traffic.wait_for(100, ok=False)
        story.rest.merge(place, {"metadata": {"labels": selector["matchLabels"]}})
        story.exit.wait_ready(NAME)
        traffic.wait_for(50, ok=True)


def test_clients_without_a_sidecar(story: Story, clients: Clients) -> None:
    """Their calls go straight out, and the status does not say that they take the gateway."""
    story.caller = f"plain-{story.scene.namespace}"
    ensure_namespace(story.scene.mesh, story.caller, injected=False)
    plain = clients.get(story.caller, sidecar=False)
    with story.asking(client=plain) as traffic:
        story.put()
        story.says("Steered", "False", "ConsumersNotInMesh")
        traffic.wait_for(100, ok=True)
    assert traffic.report().through == 0
    story.rest.delete(f"/api/v1/namespaces/{story.caller}")


def test_eighty_hosts_at_once(story: Story) -> None:
    """Each of them is steered when its destination says so."""
    parts = [[f"host-{part}-{number}.example.com" for number in range(16)] for part in range(5)]
    with story.asking(*(f"http://{hosts[-1]}/" for hosts in parts)) as traffic:
        story.serve(*(destination(f"part-{index}", *hosts, ports=HTTP) for index, hosts in enumerate(parts)))
        traffic.wait_for(100, ok=True)


def test_three_replacements_in_a_row(story: Story) -> None:
    """Another port at the server, other neighbours, and back again, each before the last one is done."""
    other = destination("other", "other.example.com", ports=HTTP)
    moved = destination("steady", HOST, ports=[{"port": 80, "protocol": "HTTP", "targetPort": 8080}])
    story.serve()
    with story.asking() as traffic:
        traffic.wait_for(50, ok=True)
        for destinations in ((moved, other), (other, STEADY), (STEADY,)):
            story.put(*destinations)
            traffic.wait_for(5)
        story.exit.wait_ready(NAME)
        traffic.wait_for(100)
    nothing_lost(traffic)


def test_object_is_deleted_and_made_again_three_times(story: Story) -> None:
    """Each time it is another object of the same name, and nothing said of the last one is true of it."""
    story.serve()
    with story.asking() as traffic:
        traffic.wait_for(50, ok=True)
        for _ in range(3):
            story.exit.delete(NAME)
            eventually(lambda: not story.exit.exists(NAME), what="the end of the object")
            story.put()
        story.exit.wait_ready(NAME)
        traffic.wait_for(50, ok=True)
