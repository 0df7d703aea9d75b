"""What tenants write in their own namespaces, with all that marks a child of their own object, claims nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressgateway.refs import Key, Manifest, ObjectRef
from unit.engine import contest
from unit.engine.contest import Contest

KEEPER = "someone.example/keeps-it"
RED, GREEN, BLUE = Key("red", "one"), Key("green", "one"), Key("blue", "one")


@pytest.fixture
def world() -> Iterator[Contest]:
    world = Contest("red", "green", "blue")
    yield world
    world.close()


def child_of(world: Contest, key: Key, part: str = "d0") -> Manifest:
    """Metadata of a child of `key`, as its author can copy them."""
    return {
        "labels": {
            "egressgateway.dev/gateway": key.name,
            "egressgateway.dev/namespace": key.namespace,
            "egressgateway.dev/stage": "clients",
            "egressgateway.dev/part": part,
            "app.kubernetes.io/managed-by": "egressgateway-operator",
        },
        "annotations": {"egressgateway.dev/digest": "0" * 16},
        "ownerReferences": [
            {
                "apiVersion": "egressgateway.dev/v1alpha1",
                "kind": "EgressGateway",
                "name": key.name,
                "uid": world.uid_of(key),
            }
        ],
    }


def forge_entry(world: Contest, key: Key, host: str, number: int, **metadata: Any) -> None:
    """A ServiceEntry for everybody, on which clients speak TCP."""
    ports = [{"number": number, "name": "x", "protocol": "TCP"}]
    spec = {"hosts": [host], "exportTo": ["*"], "ports": ports}
    world.forge(key.namespace, "ServiceEntry", spec, **child_of(world, key), **metadata)


def forge_route(world: Contest, key: Key, host: str, **metadata: Any) -> None:
    """A VirtualService for everybody's sidecars."""
    route = {"destination": {"host": "thief.example", "port": {"number": 443}}}
    tls = [{"match": [{"port": 443, "sniHosts": [host]}], "route": [route]}]
    spec = {"hosts": [host], "gateways": ["mesh"], "exportTo": ["*"], "tls": tls}
    world.forge(key.namespace, "VirtualService", spec, **child_of(world, key), **metadata)


def status_of(world: Contest, key: Key) -> Manifest:
    status: Manifest = world.server.objects[ObjectRef("EgressGateway", *key)]["status"]
    return status


def deletes_in(world: Contest, namespace: str) -> list[ObjectRef]:
    return [ref for verb, ref in world.server.writes if verb == "delete" and ref.namespace == namespace]


def refuse(world: Contest, key: Key, how: str) -> None:
    """Make an object, or its second destination, one that is refused and whose children stay."""
    if how == "object":
        world.change(key, className="none")
        return
    own, d0 = world.spec_of(key)["destinations"]
    database = {"port": 5432, "protocol": "TCP"}
    world.change(key, destinations=[{**own, "ports": [*own["ports"], database]}, {**d0, "ports": [database]}])


@pytest.mark.parametrize("finalizers", [[], [KEEPER]], ids=["plain", "kept"])
@pytest.mark.parametrize("host", ["r.example.com", "x.example.com"])
@pytest.mark.parametrize("how", ["object", "part", "suspended"])
def test_a_forged_entry_of_what_is_not_judged_claims_no_port(
    world: Contest, how: str, host: str, finalizers: list[str]
) -> None:
    """One that names the older object would win the port for TCP from everybody, and end what they have."""
    world.create(RED, "r.example.com")
    world.create(GREEN, "g.example.com")
    world.settle()
    if how == "suspended":
        world.suspend(RED)
    else:
        refuse(world, RED, how)
    world.settle()
    forge_entry(world, RED, host, 443, finalizers=finalizers)
    world.settle()
    world.edit(GREEN, "g.example.com", "h.example.com")
    world.settle()
    assert deletes_in(world, "green") == []
    assert (443, True) not in {(each["port"], each.get("tcp")) for each in status_of(world, RED)["portClaims"]}
    assert world.verdict(GREEN)[0] == "True"
    assert world.steers()["h.example.com", "green"] == {GREEN}


@pytest.mark.parametrize("how", ["object", "part"])
def test_a_forged_route_of_what_is_not_judged_claims_no_namespace(world: Contest, how: str) -> None:
    world.create(RED, "r.example.com")
    world.settle()
    refuse(world, RED, how)
    world.settle()
    forge_route(world, RED, "r.example.com")
    world.settle()
    assert {each["namespace"] for each in status_of(world, RED)["consumers"]} == {"red"}
    assert not status_of(world, RED).get("scopedClaims")


def test_claims_for_everybody_hide_no_route_where_another_object_has_the_name(world: Contest) -> None:
    """The older route, for everybody, takes the calls of a namespace that its object has not won."""
    world.create(GREEN, "g.example.com", consumers=["blue"])
    world.settle()
    world.create(RED, "g.example.com", consumers=["*"])
    world.settle()
    world.suspend(RED)
    world.settle()
    forge_route(world, RED, "g.example.com")
    world.settle()
    [part] = [each for each in status_of(world, GREEN)["destinations"] if each["name"] == "d0"]
    [steered] = [each for each in part["conditions"] if each["type"] == "Steered"]
    assert (steered["status"], steered["reason"]) == ("False", "RouteConflict")


@pytest.mark.parametrize(
    ("forged", "features"), [("*.co.uk", []), ("*.example.com", ["Wildcards"])], ids=["public suffix", "denied"]
)
def test_a_route_that_no_spec_could_have_made_keeps_no_name_from_others(
    forged: str, features: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object that has claimed nothing its live routes count, as if its status had been lost."""
    monkeypatch.setattr(contest, "CLASS", {**contest.CLASS, "deniedFeatures": features})
    world = Contest("red", "blue")
    try:
        world.create(RED, "r.example.com")
        world.suspend(RED)
        forge_route(world, RED, forged, finalizers=[KEEPER])
        world.settle()
        world.create(BLUE, forged.replace("*", "b"))
        world.settle()
        assert world.verdict(BLUE)[0] == "True", world.verdict(BLUE)
    finally:
        world.close()


def test_an_entry_that_the_class_denies_keeps_no_port_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "CLASS", {**contest.CLASS, "deniedFeatures": ["TCP"]})
    world = Contest("red", "blue")
    try:
        world.create(RED, "r.example.com")
        world.suspend(RED)
        world.settle()
        forge_entry(world, RED, "r.example.com", 443, finalizers=[KEEPER])
        world.settle()
        world.create(BLUE, "b.example.com")
        world.settle()
        assert world.verdict(BLUE)[0] == "True", world.verdict(BLUE)
    finally:
        world.close()


def test_a_route_that_a_finalizer_keeps_goes_on_counting(world: Contest) -> None:
    """Istio goes by an object that is being deleted until it is gone: so the name is not free for others."""
    world.create(RED, "a.example.com", consumers=["blue"])
    world.settle()
    [route] = [ref for ref, found in world.server.objects.items() if is_route_for(ref, found, "a.example.com")]
    world.keep(route, KEEPER)
    world.edit(RED)
    world.step(30)
    world.create(GREEN, "a.example.com", consumers=["blue"])
    world.step(30)
    assert world.steers()["a.example.com", "blue"] == {RED}
    assert world.verdict(GREEN)[0] == "False"
    world.let_go(route)
    world.settle()
    assert world.steers()["a.example.com", "blue"] == {GREEN}
    assert world.verdict(GREEN)[0] == "True"


def test_a_route_that_outlives_its_object_is_said_to_be_in_the_way(world: Contest) -> None:
    world.create(RED, "a.example.com", consumers=["blue"])
    world.settle()
    [route] = [ref for ref, found in world.server.objects.items() if is_route_for(ref, found, "a.example.com")]
    world.keep(route, KEEPER)
    world.delete(RED)
    world.settle()
    world.create(GREEN, "a.example.com", consumers=["blue"])
    world.settle()
    assert not world.exists(RED)
    [part] = [each for each in status_of(world, GREEN)["destinations"] if each["name"] == "d0"]
    assert [each["reason"] for each in part["conditions"] if each["type"] == "Steered"] == ["RouteConflict"]


def is_route_for(ref: ObjectRef, found: Manifest, host: str) -> bool:
    return ref.kind == "VirtualService" and host in found["spec"]["hosts"]
