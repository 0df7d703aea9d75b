"""
What a tenant can do to another one's exit: nothing.

Each test is an attack that worked once. The intruder has the role `edit` in his own namespaces and may write Istio's
kinds there, as teams do; the victim is another team with an EgressGateway of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from egressgateway.refs import CHILD_BY_KIND, EGRESS_GATEWAY_CLASS
from harness.cluster import Cluster
from harness.gateways import Gateways, destination, egress_gateway
from harness.operator import OperatorProcess
from harness.rest import Object, Rest
from harness.wait import eventually

TLS: list[Object] = [{"port": 443, "protocol": "TLS"}]
DATABASE: list[Object] = [{"port": 5432, "protocol": "TCP"}]


@dataclass(frozen=True)
class Team:
    """A namespace, its EgressGateways, and a client with the rights of its people."""

    namespace: str
    gateways: Gateways
    rest: Rest

    def apply(self, name: str, *destinations: Object, **spec: Any) -> Object:
        """As the team's people do."""
        manifest = egress_gateway(self.namespace, name, *destinations, **spec)
        return self.rest.apply(self.gateways.path(name), manifest)

    def create(self, manifest: Object) -> Object:
        resource = CHILD_BY_KIND[manifest["kind"]]
        return self.rest.create(resource.path(manifest["metadata"]["namespace"]), manifest)


@pytest.fixture
def new_team(
    operator: OperatorProcess,
    cluster: Cluster,
    new_namespace: Callable[[str], str],
    new_tenant: Callable[..., Rest],
) -> Callable[..., Team]:
    """`new_team("victim")`: a team with a namespace of that name's beginning, and more of `also`."""

    def make(name: str, *also: str) -> Team:
        namespace = new_namespace(name)
        return Team(namespace, Gateways(cluster, namespace), new_tenant(namespace, *also))

    return make


@pytest.fixture
def open_class(cluster: Cluster, new_namespace: Callable[[str], str]) -> str:
    """A class that lets objects serve every namespace."""
    name = new_namespace("open")
    spec = {"allowedConsumers": {"from": "All"}}
    manifest = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": "EgressGatewayClass", "spec": spec}
    cluster.rest.apply(EGRESS_GATEWAY_CLASS.path(name=name), {**manifest, "metadata": {"name": name}})
    return name


def labels_of(namespace: str, name: str) -> dict[str, str]:
    """All labels of a client's child of an EgressGateway."""
    return {
        "egressgateway.dev/gateway": name,
        "egressgateway.dev/namespace": namespace,
        "egressgateway.dev/stage": "clients",
        "app.kubernetes.io/managed-by": "egressgateway-operator",
        "app.kubernetes.io/part-of": "egressgateway",
    }


def service_entry(namespace: str, host: str, port: Object, exported: str, **metadata: Any) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "forged", "namespace": namespace, **metadata},
        "spec": {
            "hosts": [host],
            "exportTo": [exported],
            "ports": [port],
            "resolution": "DNS",
            "location": "MESH_EXTERNAL",
        },
    }


def virtual_service(namespace: str, host: str, exported: str, **metadata: Any) -> Object:
    to = {"destination": {"host": f"thief.{namespace}.svc.cluster.local", "port": {"number": 443}}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "forged", "namespace": namespace, **metadata},
        "spec": {
            "hosts": [host],
            "exportTo": [exported],
            "gateways": ["mesh"],
            "tls": [{"match": [{"port": 443, "sniHosts": [host]}], "route": [to]}],
        },
    }


def owned_by(gateway: Object) -> list[Object]:
    return [
        {
            "apiVersion": gateway["apiVersion"],
            "kind": gateway["kind"],
            "name": gateway["metadata"]["name"],
            "uid": gateway["metadata"]["uid"],
        }
    ]


def snapshot(team: Team, name: str) -> dict[tuple[str, str], str]:
    """Every child that steers clients, by its version: equal snapshots mean that nobody wrote one in between."""
    return {ref: child["metadata"]["uid"] for ref, child in team.gateways.clients(name).items()}


def look_again(team: Team, name: str) -> None:
    """Make the operator judge the object anew, and wait until it has."""
    request = {"metadata": {"annotations": {"egressgateway.dev/reconcile-requested-at": "now"}}}
    team.rest.merge(team.gateways.path(name), request)
    eventually(
        lambda: (team.gateways.get(name).get("status") or {}).get("lastHandledReconcileAt") == "now",
        what="an answer to the request",
    )


class TestForgedObjects:
    """Labels, names and owner references that the intruder wrote are no evidence against anybody else."""

    @pytest.mark.parametrize("protocol", ["TCP", "TLS"])
    def test_forged_service_entry_takes_no_port_from_others(
        self, new_team: Callable[..., Team], new_namespace: Callable[[str], str], protocol: str
    ) -> None:
        """It names an older object as its gateway; younger ones keep the port, their routes and their status."""
        second = new_namespace("second")
        intruder = new_team("intruder", second)
        intruder.apply("first", destination("d", "first.evil.example.com", ports=[{"port": 8443, "protocol": "TLS"}]))
        intruder.gateways.wait_ready("first")
        victim = new_team("victim")
        host = f"api.{victim.namespace}.example.com"
        victim.apply("mine", destination("d", host, ports=[{"port": 443, "protocol": protocol}]))
        victim.gateways.wait_ready("mine")
        before = snapshot(victim, "mine")

        port = {"number": 443, "name": "tcp", "protocol": "TCP"}
        labels = labels_of(intruder.namespace, "first")
        intruder.create(service_entry(second, "whatever.example.com", port, "*", labels=labels))
        look_again(victim, "mine")
        assert victim.gateways.condition("mine", "Accepted")["status"] == "True"
        victim.gateways.wait_ready("mine")
        assert snapshot(victim, "mine") == before

    def test_child_of_the_intruders_own_object_takes_no_port_either(
        self, new_team: Callable[..., Team], open_class: str
    ) -> None:
        """Owned by an object that is suspended, so that nobody puts it right; the class would even let it serve."""
        intruder, victim = new_team("intruder"), new_team("victim")
        intruder.apply("first", destination("d", "first.evil.example.com", ports=DATABASE), className=open_class)
        gateway = intruder.gateways.get("first")
        intruder.gateways.wait_ready("first")
        intruder.rest.merge(intruder.gateways.path("first"), {"spec": {"suspend": True}})
        victim.apply("mine", destination("d", f"db.{victim.namespace}.example.com", ports=DATABASE))
        victim.gateways.wait_ready("mine")
        before = snapshot(victim, "mine")

        port = {"number": 5432, "name": "tcp", "protocol": "TCP"}
        metadata = {"labels": labels_of(intruder.namespace, "first"), "ownerReferences": owned_by(gateway)}
        intruder.create(service_entry(intruder.namespace, "whatever.example.com", port, victim.namespace, **metadata))
        look_again(victim, "mine")
        assert victim.gateways.condition("mine", "Accepted")["status"] == "True"
        assert snapshot(victim, "mine") == before

    @pytest.mark.parametrize("of_whom", ["victim", "nobody", "intruder"])
    def test_stolen_route_is_reported_whatever_its_labels(
        self, new_team: Callable[..., Team], open_class: str, of_whom: str
    ) -> None:
        """It is older, so Istio goes by it: the victim must not read that its clients take the gateway."""
        intruder, victim = new_team("intruder"), new_team("victim")
        host = f"api.{victim.namespace}.example.com"
        owner = {"victim": (victim.namespace, "mine"), "nobody": (intruder.namespace, "ghost")}
        metadata: Object = {"labels": labels_of(*owner.get(of_whom, (intruder.namespace, "own")))}
        if of_whom == "intruder":
            # Of a class that lets it serve the victim: what is not allowed would be removed at once.
            own = destination("d", "own.evil.example.com", ports=TLS)
            intruder.apply("own", own, className=open_class)
            intruder.gateways.wait_ready("own")
            intruder.apply("own", own, className=open_class, suspend=True)
            metadata["ownerReferences"] = owned_by(intruder.gateways.get("own"))
        intruder.create(virtual_service(intruder.namespace, host, victim.namespace, **metadata))
        victim.apply("mine", destination("d", host, ports=TLS))
        found = victim.gateways.wait("mine", "Steered", "False", "RouteConflict", part="d", timeout=60)
        assert f"VirtualService {intruder.namespace}/forged" in found["message"]

        intruder.rest.delete(CHILD_BY_KIND["VirtualService"].path(intruder.namespace, "forged"))
        victim.gateways.wait_ready("mine", timeout=60)

    def test_forged_steer_blocks_no_claim(self, new_team: Callable[..., Team]) -> None:
        """A route for a host that nobody has is a route in the way, and no claim of the object that it names."""
        intruder, third, victim = new_team("intruder"), new_team("third"), new_team("victim")
        third.apply("old", destination("d", f"old.{third.namespace}.example.com", ports=TLS))
        third.gateways.wait_ready("old")
        host = f"fresh.{victim.namespace}.example.com"
        labels = labels_of(third.namespace, "old")
        intruder.create(virtual_service(intruder.namespace, host, "*", labels=labels))
        victim.apply("mine", destination("d", host, ports=TLS))
        victim.gateways.wait("mine", "Accepted", "True", "Accepted", part="d")
        assert [claim["host"] for claim in victim.gateways.get("mine")["status"]["claims"]] == [host]

    def test_object_that_only_says_whose_it_is_stays_as_it_is(self, new_team: Callable[..., Team]) -> None:
        """A person may let an EgressGateway own his objects, to have them collected with it."""
        team = new_team("team")
        team.apply("mine", destination("d", f"api.{team.namespace}.example.com", ports=TLS))
        team.gateways.wait_ready("mine")
        owned = virtual_service(
            team.namespace, "own.example.com", ".", ownerReferences=owned_by(team.gateways.get("mine"))
        )
        made = team.create(owned)
        look_again(team, "mine")
        path = CHILD_BY_KIND["VirtualService"].path(team.namespace, "forged")
        assert team.rest.get(path)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


class TestClaims:
    """A right is to one name in one consumer namespace, since it was asked for there."""

    def test_running_host_is_not_taken_over_by_a_detour(self, new_team: Callable[..., Team], open_class: str) -> None:
        """Claimed for himself, served the victim's namespace by another name, then widened."""
        intruder, victim = new_team("intruder"), new_team("victim")
        host, junk = f"bank.{victim.namespace}.example.com", f"junk.{victim.namespace}.example.com"

        def widened(*names: str) -> None:
            access = {
                "from": [
                    {"namespaces": [intruder.namespace]},
                    {"namespaces": [victim.namespace], "destinations": [*names]},
                ]
            }
            destinations = (destination("junk", junk, ports=TLS), destination("bank", host, ports=TLS))
            intruder.apply("old", *destinations, className=open_class, access=access)

        widened("junk")
        intruder.gateways.wait_ready("old")
        victim.apply("mine", destination("bank", host, ports=TLS), className=open_class)
        victim.gateways.wait_ready("mine")
        before = snapshot(victim, "mine")

        widened("junk", "bank")
        found = intruder.gateways.wait("old", "Accepted", "False", "HostConflict", part="bank")
        assert f"EgressGateway {victim.namespace}/mine" in found["message"]
        look_again(victim, "mine")
        victim.gateways.wait_ready("mine")
        assert snapshot(victim, "mine") == before
        steering = [
            child["metadata"]["name"]
            for (kind, _), child in intruder.gateways.clients("old").items()
            if kind in {"VirtualService", "ServiceEntry"}
            and host in child["spec"]["hosts"]
            and victim.namespace in child["spec"]["exportTo"]
        ]
        assert steering == []

    def test_port_of_others_is_not_taken_over_by_a_detour(self, new_team: Callable[..., Team], open_class: str) -> None:
        """The same of TCP ports: an old claim of the number elsewhere is none here."""
        intruder, victim = new_team("intruder"), new_team("victim")
        name = f"db.{intruder.namespace}.example.com"

        def serve(*namespaces: str) -> None:
            access = {"from": [{"namespaces": [*namespaces]}]}
            intruder.apply("old", destination("db", name, ports=DATABASE), className=open_class, access=access)

        serve(intruder.namespace)
        intruder.gateways.wait_ready("old")
        victim.apply("mine", destination("db", f"db.{victim.namespace}.example.com", ports=DATABASE))
        victim.gateways.wait_ready("mine")
        before = snapshot(victim, "mine")
        serve(intruder.namespace, victim.namespace)
        found = intruder.gateways.wait("old", "Accepted", "False", "PortConflict", part="db")
        assert f"{victim.namespace}/mine" in found["message"]
        look_again(victim, "mine")
        victim.gateways.wait_ready("mine")
        assert snapshot(victim, "mine") == before
