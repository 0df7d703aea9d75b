"""An object on a gateway that somebody else runs: what protects its ways is in that one's namespace."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest

from egressgateway.refs import Manifest, ObjectRef
from unit.engine.shared import CLASS, shared_world
from unit.engine.simulation import World
from unit.objects import destination

PROBED: Manifest = {"probe": {}}
"""What a shared gateway refuses: the way of a destination that was served stays as it is."""


@pytest.fixture
def world() -> Iterator[World]:
    """Two destinations, served."""
    world = shared_world()
    yield world
    world.close()


def restore(world: World, *destinations: Manifest) -> None:
    """The object comes back from a backup, with its children and without its status."""
    world.server.edit(world.owner, lambda found: found.pop("status"))
    world.edit({"className": "standard", "destinations": list(destinations)})
    world.restart()


def served(world: World) -> set[str]:
    """Server names that the gateway answers to."""
    [gateway] = [found for ref, found in world.live.items() if ref.kind == "Gateway"]
    return {host.removeprefix("./") for server in gateway["spec"]["servers"] for host in server["hosts"]}


def denied(world: World) -> set[str]:
    """Server names that strangers may not use."""
    policies = [
        found for ref, found in world.live.items() if (ref.kind, ref.namespace) == ("AuthorizationPolicy", "edge")
    ]
    return {
        name
        for policy in policies
        for rule in policy["spec"]["rules"]
        for condition in rule["when"]
        for name in condition["values"]
        if rule["from"] == [{"source": {"notPrincipals": ["cluster.local/ns/shop/*"]}}]
    }


def cleaned(world: World) -> set[str]:
    """Server names that do not leave the gateway."""
    patches = [
        patch
        for ref, found in world.live.items()
        if ref.kind == "EnvoyFilter"
        for patch in found["spec"]["configPatches"]
    ]
    return {patch["match"]["listener"]["filterChain"]["sni"] for patch in patches}


@pytest.mark.parametrize(
    "destinations",
    [(destination("a", **PROBED),), (destination("a", **PROBED), destination("b"))],
    ids=["alone", "beside-another"],
)
def test_a_way_that_is_kept_has_its_guards_without_a_status_too(
    world: World, destinations: tuple[Manifest, ...]
) -> None:
    """Only the status names children in other namespaces; a restored object has none until the first write."""
    restore(world, *destinations)
    world.settle()
    assert len(served(world)) == len(destinations)
    assert denied(world) == cleaned(world) == served(world)
    named = {(each["kind"], each["namespace"]) for each in world.status["remoteChildren"]}
    assert named == {("AuthorizationPolicy", "edge"), ("EnvoyFilter", "edge")}


def test_a_way_is_guarded_while_its_class_has_yet_to_be_restored(world: World) -> None:
    """Nothing can be planned then: what serves stays, and with it what protects it."""
    world.classes = []
    restore(world, destination("a"), destination("b"))
    assert world.writes_of(world.settle) == []
    assert len(served(world)) == len(denied(world)) == 2
    world.set_class(CLASS)
    assert world.writes_of(world.settle) == []
    assert world.status["remoteChildren"]


def test_an_object_with_a_childs_labels_elsewhere_is_not_touched(world: World) -> None:
    """Anybody can set labels, as one does who copies a namespace with all that is in it."""
    ref = next(ref for ref in world.live if ref.kind == "AuthorizationPolicy")
    copied = deepcopy(world.live[ref])
    copied["metadata"] |= {"namespace": "lab", "uid": "theirs"}
    world.server.put(ObjectRef(ref.kind, "lab", ref.name), copied)
    world.restart()
    assert world.writes_of(world.settle) == []


def test_what_protects_a_way_goes_after_it(world: World) -> None:
    """The policies are in the gateway's namespace, where nothing is collected; the way would stand open until it is."""
    world.delete()
    deleted = [ref for verb, ref in world.writes_of(world.settle) if verb.upper() == "DELETE"]
    ways = [number for number, ref in enumerate(deleted) if ref.kind == "Gateway"]
    guards = [number for number, ref in enumerate(deleted) if ref.namespace == "edge"]
    assert ways
    assert guards
    assert max(ways) < min(guards)


EDGE = ObjectRef("Service", "edge", "egress")


def service(*ports: int) -> Manifest:
    """The Service of the shared gateway, with these ports."""
    metadata = {"namespace": "edge", "name": "egress", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"ports": [{"port": port} for port in ports]}}


def steered(world: World) -> list[tuple[str, str]]:
    """Status and reason of `Steered` of both destinations."""
    return [
        (each["status"], each["reason"])
        for section in world.status["destinations"]
        for each in section["conditions"]
        if each["type"] == "Steered"
    ]


@pytest.mark.parametrize("left", [service(80, 8443), None], ids=["port-moved", "service-gone"])
def test_route_to_a_port_that_the_service_lost_is_no_route(world: World, left: Manifest | None) -> None:
    """Its requests end with 503. What runs stays as it is, and serves again with the port."""
    world.loop.now += 10
    world.settle()
    before = len(world.server.writes)
    assert steered(world) == [("True", "Steered")] * 2
    world.set_reference(EDGE, left)
    world.reconcile()
    assert steered(world) == [("False", "GatewayNotFound")] * 2
    world.set_reference(EDGE, service(80, 443))
    world.reconcile()
    assert steered(world) == [("True", "Steered")] * 2
    assert len(world.server.writes) == before


def test_class_that_names_a_port_too_soon_leaves_clients_steered(world: World) -> None:
    """The port that clients use is still there, whatever the class says."""
    world.loop.now += 10
    world.settle()
    world.set_class({"shared": {**CLASS["shared"], "ports": {"tls": 8443}}})
    world.reconcile()
    conditions = {each["type"]: each["reason"] for each in world.status["conditions"]}
    assert conditions["ResolvedRefs"] == "GatewayNotFound"
    assert steered(world) == [("True", "Steered")] * 2
