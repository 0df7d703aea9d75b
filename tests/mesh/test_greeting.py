"""A server that speaks first: its greeting is for whom `access` admits, and no byte of it for anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from egressgateway.plan.gateway.target import LISTENER_PORT
from harness.gateways import Gateways, destination
from harness.mesh import listen
from harness.mesh.clients import Client, Clients
from harness.mesh.exits import NAME
from harness.mesh.identities import identity
from harness.mesh.mesh import Mesh
from harness.mesh.scene import CLOSED, HOST, OPEN, Scene
from harness.rest import Object
from harness.wait import eventually

PORT = 5432
"""Here servers of the world speak first."""

HEARD = 200


def database(host: str) -> Object:
    return destination("pg", host, ports=[{"port": PORT, "protocol": "TCP"}])


def only(account: str, namespace: str) -> Object:
    return {"from": [{"namespaces": [namespace], "serviceAccounts": [account]}]}


def heard_by_hand(mesh: Mesh, client: Client, gateway: str, name: str, who: str) -> str:
    """What somebody hears who has a certificate, goes to the gateway past a sidecar, and says nothing."""
    argv = [sys.executable, "-S", "-E", listen.__file__, gateway, str(LISTENER_PORT), name, str(identity(mesh, who))]
    done = subprocess.run(client.netns.inside(*argv), capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["heard"])


def hears(client: Client, host: str) -> bool:
    """
    Whether the client hears the server.

    Raises:
        AssertionError: it hears a part.
    """
    answer = client.tcp(host, PORT, "--silent")
    assert answer.status == HEARD or answer.body == ""
    return answer.status == HEARD


def test_refused_identities_hear_nothing(mesh: Mesh, gateways: Gateways, clients: Clients) -> None:
    """Neither an account beside the admitted one, nor another namespace or trust domain, nor one with a stolen key."""
    namespace, host = gateways.namespace, f"pg.{gateways.namespace}.example.com"
    gateways.apply(NAME, database(host), gateway={"replicas": 1}, access=only("app", namespace))
    app, other = clients.get(namespace, "app"), clients.get(namespace, "other")
    gateways.wait_ready(NAME)
    mesh.settle()
    assert hears(app, host)
    assert not hears(other, host)

    pods = mesh.cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    [gateway] = [pod["status"]["podIP"] for pod in pods if pod["metadata"]["name"].startswith(f"{NAME}-egress")]
    outside = clients.get(namespace, sidecar=False)
    by_hand = partial(heard_by_hand, mesh, outside, gateway, f"tcp-{PORT}.{host}.{NAME}.{namespace}.egress.internal")
    assert json.loads(by_hand(f"mesh {namespace}/app"))["dialled"] == host
    for who in ("mesh {}/other", "mesh research/app", "foreign-domain {}/app", "rogue {}/app"):
        assert by_hand(who.format(namespace)) == "", who


def test_a_change_of_access_is_followed(mesh: Mesh, gateways: Gateways, clients: Clients) -> None:
    """Who is admitted later hears the server, and who is refused later does not."""
    namespace, host = gateways.namespace, f"pg.{gateways.namespace}.example.com"
    app, other = clients.get(namespace, "app"), clients.get(namespace, "other")
    for admitted, refused in ((("app", app), other), (("other", other), app)):
        account, client = admitted
        gateways.apply(NAME, database(host), gateway={"replicas": 1}, access=only(account, namespace))
        gateways.wait_ready(NAME)
        mesh.settle()
        eventually(partial(hears, client, host), what=f"the greeting for {account}")
        eventually(lambda client=refused: not hears(client, host), what="silence for the other account")


def test_at_a_shared_gateway_it_is_the_same(mesh: Mesh, scene: Scene) -> None:
    """The filter changes the object's own chain of a gateway that others use, too."""
    scene.add_shared_gateway()
    gateways = Gateways(mesh.cluster, scene.namespace)
    web = destination("steady", HOST, ports=[{"port": 80, "protocol": "HTTP"}])
    host, [admitted, refused] = f"pg.{scene.namespace}.example.com", [scene.callers[CLOSED], scene.callers[OPEN]]
    access = {
        "from": [
            {"namespaces": [admitted], "destinations": ["pg"]},
            {"namespaces": [admitted, refused], "destinations": ["steady"]},
        ]
    }
    gateways.apply(NAME, web, database(host), className=scene.shared, access=access)
    gateways.wait_ready(NAME)
    mesh.settle()
    assert hears(scene.clients[CLOSED], host)
    for client in scene.clients.values():
        assert client.request(f"http://{HOST}/").status == HEARD
    [gateway] = [
        pod["status"]["podIP"] for pod in mesh.cluster.rest.items(f"/api/v1/namespaces/commons-{scene.shared}/pods")
    ]
    patches = mesh.cluster.rest.items(
        f"/apis/networking.istio.io/v1alpha3/namespaces/commons-{scene.shared}/envoyfilters"
    )
    [name] = [
        patch["match"]["listener"]["filterChain"]["sni"]
        for found in patches
        for patch in found["spec"]["configPatches"]
        if patch["applyTo"] == "FILTER_CHAIN"
    ]
    argv = [sys.executable, "-S", "-E", listen.__file__, gateway, "8443", name]
    for namespace, wanted in ((admitted, True), (refused, False)):
        certificate = str(identity(mesh, f"mesh {namespace}/app"))
        inside = scene.mesh.world.inside(*argv, certificate)
        done = subprocess.run(inside, capture_output=True, text=True, check=True)
        assert bool(json.loads(done.stdout)["heard"]) is wanted, (namespace, done.stdout)
