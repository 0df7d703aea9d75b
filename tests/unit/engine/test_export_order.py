"""
At every moment, and after a refusal at any write: what a namespace has registered is routed there, and the hop known.

A ServiceEntry without its route is a host that ends refused or goes past the gateway; a route without the hop's
DestinationRule is a 503. Judged by each namespace, as sidecars do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from egressgateway.errors import Invalid
from egressgateway.refs import Manifest, ObjectRef
from unit import objects
from unit.engine.simulation import World

A, B, C = "a.example.com", "b.example.com", "c.example.com"
EVERYWHERE = ("shop", "blog", "news")


def spec(hosts: list[str], namespaces: list[str], port: int = 80) -> Manifest:
    found = objects.destination("x", *hosts, ports=[{"port": port, "protocol": "HTTP"}])
    return objects.spec(found, access={"from": [{"namespaces": namespaces}]})


START = spec([A, B], ["shop", "blog"])
EDITS = {
    "a consumer comes": spec([A, B], ["shop", "blog", "news"]),
    "a consumer goes": spec([A, B], ["shop"]),
    "one consumer for another": spec([A, B], ["shop", "news"]),
    "all consumers for others": spec([A, B], ["news"]),
    "a host for another": spec([A, C], ["shop", "blog"]),
    "a host comes, a consumer goes": spec([A, B, C], ["shop"]),
    "a host goes, a consumer comes": spec([A], ["shop", "blog", "news"]),
    "all hosts for another": spec([C], ["shop", "blog"]),
    "the port for another": spec([A, B], ["shop", "blog"], port=8080),
}


@pytest.fixture
def world() -> Iterator[World]:
    """Two hosts for two namespaces, served."""
    world = World(START)
    for name in EVERYWHERE:
        world.set_namespace(name)
    world.set_class({"allowedConsumers": {"from": "All"}})
    world.settle()
    yield world
    world.close()


def clients(live: Mapping[ObjectRef, Manifest], kind: str) -> list[Manifest]:
    return [
        found
        for ref, found in live.items()
        if ref.kind == kind and found["metadata"]["labels"].get("egressgateway.dev/stage") == "clients"
    ]


def exports(found: Manifest) -> set[str]:
    return {"shop" if name == "." else name for name in found["spec"]["exportTo"]} - {"~"}


def registered(live: Mapping[ObjectRef, Manifest]) -> set[tuple[str, str, int]]:
    return {
        (namespace, host, port["number"])
        for found in clients(live, "ServiceEntry")
        for namespace in exports(found)
        for host in found["spec"]["hosts"]
        for port in found["spec"]["ports"]
    }


def routed(live: Mapping[ObjectRef, Manifest]) -> set[tuple[str, str, int]]:
    return {
        (namespace, host, match["port"])
        for found in clients(live, "VirtualService")
        for namespace in exports(found)
        for host in found["spec"]["hosts"]
        for route in found["spec"]["http"]
        for match in route["match"]
    }


def asked_for(edit: Manifest) -> set[tuple[str, str, int]]:
    [destination] = edit["destinations"]
    namespaces = {name for entry in edit["access"]["from"] for name in entry["namespaces"]}
    return {(name, host, destination["ports"][0]["port"]) for name in namespaces for host in destination["hosts"]}


def offences(live: Mapping[ObjectRef, Manifest]) -> set[str]:
    """What a sidecar would do wrong now."""
    [rule] = [found for ref, found in live.items() if ref == ObjectRef("DestinationRule", "shop", "partners-egress")]
    unrouted = {
        f"{host}:{port} is registered in {name} and not routed" for name, host, port in registered(live) - routed(live)
    }
    unknown = {
        f"clients of {name} are sent to a hop that they do not know"
        for found in clients(live, "VirtualService")
        for name in exports(found) - exports(rule)
    }
    return unrouted | unknown


def watch(world: World, found: set[str]) -> Callable[[ObjectRef], None]:
    """To be called after each write: collects what is wrong then."""

    def look(_: ObjectRef) -> None:
        found.update(offences(world.live))

    return look


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_no_write_leaves_a_namespace_with_a_host_and_no_route(world: World, edit: Manifest) -> None:
    """Between any two writes; afterwards exactly what was asked for, and no wider DestinationRule."""
    found: set[str] = set()
    world.server.after = watch(world, found)
    world.edit(edit)
    world.settle()
    assert found == set()
    assert registered(world.live) == asked_for(edit)
    rule = world.live[ObjectRef("DestinationRule", "shop", "partners-egress")]
    assert exports(rule) == {name for name, _, _ in asked_for(edit)}
    world.restart()
    assert world.writes_of(world.settle) == []


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_write_that_is_refused_at_any_position_leaves_no_host_without_a_route(world: World, edit: Manifest) -> None:
    """
    A webhook says no to one object, whichever; the object is refused for good, then allowed again.

    A consumer was added, its route refused: its namespace had the host registered, and every call ended refused.
    """
    hop = ObjectRef("DestinationRule", "shop", "partners-egress")
    refs = [ref for ref, found in world.live.items() if ref == hop or found in clients(world.live, ref.kind)]
    assert {ref.kind for ref in refs} == {"ServiceEntry", "VirtualService", "DestinationRule"}
    for refused in refs:
        found: set[str] = set()

        def refuse(ref: ObjectRef, refused: ObjectRef = refused) -> None:
            if ref == refused:
                raise Invalid("apply", "denied by a webhook", code=422)

        world.server.before = refuse
        world.server.after = watch(world, found)
        world.edit(edit)
        world.settle()
        world.restart()
        world.settle()
        world.server.before = lambda _: None
        world.edit(START)
        world.settle()
        assert found == set(), refused


@pytest.mark.parametrize("edit", [EDITS["one consumer for another"], EDITS["a host for another"]], ids=["ns", "host"])
def test_a_process_that_ends_between_two_writes_leaves_what_the_next_one_finishes(world: World, edit: Manifest) -> None:
    """Every position of a refusal once: the next process ends where an undisturbed one would."""
    for position in range(8):
        count = [0]

        def refuse(ref: ObjectRef, count: list[int] = count, position: int = position) -> None:
            count[0] += 1
            if count[0] == position + 1:
                raise Invalid("apply", "denied once", code=422)

        found: set[str] = set()
        world.server.before = refuse
        world.server.after = watch(world, found)
        world.edit(edit)
        world.reconcile()
        world.settle()
        # Refused for good, as far as the process knows: it would try again in minutes. The next one does at once.
        world.restart()
        world.server.before = lambda _: None
        world.settle()
        assert found == set()
        assert registered(world.live) == asked_for(edit)
        world.edit(START)
        world.settle()
