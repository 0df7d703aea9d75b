"""
One edit gives a TCP port of a destination to another one: clients never have it for both.

A sidecar listens for TCP on every address: bytes for the one would end at the other's server, with both `Steered`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from egressgateway.errors import Invalid
from egressgateway.refs import ObjectRef
from unit.engine.simulation import World

Spec = list[dict[str, Any]]


def tcp(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "hosts": [f"db.{name}.example"], "ports": [{"port": port, "protocol": "TCP"}]}


def http(name: str, port: int) -> dict[str, Any]:
    return {**tcp(name, port), "ports": [{"port": port, "protocol": "HTTP"}]}


MOVES = {
    "moved": ([tcp("a", 5432)], [tcp("a", 5440), tcp("b", 5432)]),
    "moved-first": ([tcp("z", 5432)], [tcp("b", 5432), tcp("z", 5440)]),
    "removed": ([tcp("a", 5432)], [tcp("b", 5432)]),
    "to-requests": ([tcp("a", 5432)], [tcp("a", 5440), http("b", 5432)]),
    "along-a-chain": ([tcp("a", 5432), tcp("b", 5433)], [tcp("a", 5440), tcp("b", 5432), tcp("c", 5433)]),
}


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    opened: list[World] = []
    yield opened
    for world in opened:
        world.close()


def begin(worlds: list[World], destinations: Spec) -> World:
    world = World({"destinations": destinations})
    worlds.append(world)
    world.settle()
    return world


def entries(world: World) -> dict[str, set[int]]:
    """By destination, the ports that clients have."""
    return {
        labels["egressgateway.dev/part"]: {port["number"] for port in found["spec"]["ports"]}
        for ref, found in world.server.objects.items()
        if ref.kind == "ServiceEntry"
        and (labels := found["metadata"].get("labels") or {}).get("egressgateway.dev/stage") == "clients"
    }


def condition(world: World, type_: str, part: str = "") -> str:
    """The status of a condition, of the object or of a destination."""
    parts = {each["name"]: each for each in world.status.get("destinations") or ()}
    return next(
        each["status"] for each in (parts[part] if part else world.status)["conditions"] if each["type"] == type_
    )


def shared(world: World) -> set[int]:
    found = [number for numbers in entries(world).values() for number in numbers]
    return {number for number in found if found.count(number) > 1}


@pytest.mark.parametrize(("before", "after"), MOVES.values(), ids=MOVES)
def test_a_port_is_let_go_of_before_it_is_taken(worlds: list[World], before: Spec, after: Spec) -> None:
    """After each single write, and at the end all have what they ask for."""
    world = begin(worlds, before)
    seen: list[set[int]] = []
    world.server.after = lambda ref: seen.append(shared(world))
    world.edit({"destinations": after})
    world.settle()
    assert set().union(*seen) == set()
    assert entries(world) == {each["name"]: {each["ports"][0]["port"]} for each in after}
    assert condition(world, "Ready") == "True"


def test_two_destinations_swap_their_ports(worlds: list[World]) -> None:
    """Each waits for the other, so both are written at once."""
    world = begin(worlds, [tcp("a", 5432), tcp("b", 5433)])
    world.edit({"destinations": [tcp("a", 5433), tcp("b", 5432)]})
    world.settle()
    assert entries(world) == {"a": {5433}, "b": {5432}}
    assert condition(world, "Ready") == "True"


@pytest.mark.parametrize("name", ["moved", "moved-first", "removed", "to-requests"])
def test_a_port_that_is_not_let_go_of_is_not_taken(worlds: list[World], name: str) -> None:
    """The server refuses the write that would free it: who waits for the port says so, and gets it in the end."""
    before, after = MOVES[name]
    world = begin(worlds, before)
    part = before[0]["name"]
    refuses = True

    def refuse(ref: ObjectRef) -> None:
        labels = world.server.objects[ref]["metadata"]["labels"] if ref in world.server.objects else {}
        tells_clients = ref.kind == "ServiceEntry" and labels.get("egressgateway.dev/stage") == "clients"
        if refuses and tells_clients and labels["egressgateway.dev/part"] == part:
            raise Invalid("apply", "a policy refuses it", code=422)

    world.server.before = refuse
    world.edit({"destinations": after})
    with suppress(AssertionError):  # it never comes to rest
        world.settle()
    assert entries(world) == {part: {5432}}
    assert condition(world, "Steered", "b") == "False"
    refuses = False
    world.settle()
    assert entries(world) == {each["name"]: {each["ports"][0]["port"]} for each in after}
