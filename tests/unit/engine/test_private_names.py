"""Private names lead no sidecar past a gateway: not while it is made, changed and ended, and not after an upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from egressgateway.cluster.result import Stalled
from egressgateway.errors import Invalid
from egressgateway.refs import Manifest, ObjectRef
from unit import objects
from unit.engine.routing import (
    PRIVATE,
    Watcher,
    leaks,
    ports_dialed,
    ports_open,
    private_names,
    read_routing,
    unguarded,
)
from unit.engine.simulation import GRACE, KEY, World
from unit.objects import spec

HOST, OTHER = "a.example.com", "b.example.com"
GUARD = ObjectRef("VirtualService", KEY.namespace, f"{KEY.name}-egress")


def destination(name: str, host: str, *ports: tuple[int, str], **more: Any) -> Manifest:
    listed = [{"port": number, "protocol": protocol} for number, protocol in ports]
    return objects.destination(name, host, ports=listed, **more)


SERVED = spec(destination("x", HOST, (80, "HTTP"), (443, "TLS")), destination("y", OTHER, (80, "HTTP")))
WILDCARD = destination("w", "*.example.org", (80, "HTTP"), (443, "TLS"), wildcard={"strategy": "DynamicResolution"})
REFUSED = {"traffic": {"connectionPool": {"idleTimeout": "0s"}}}
"""A setting that is not accepted: the destination is not planned, and stays as it is."""


@pytest.fixture
def world() -> Iterator[World]:
    """Two destinations, served."""
    world = World(SERVED)
    world.settle()
    yield world
    world.close()


def watch(world: World) -> Watcher:
    """Judge every write from now on."""
    watcher = Watcher(GRACE)
    watcher.look(world.live, world.loop.now, ready=True)
    # It knows nothing of how this came about.
    watcher.offences.clear()
    world.server.after = lambda _: watcher.look(world.live, world.loop.now, ready=True)
    return watcher


def is_of(found: Manifest, destination: Manifest) -> bool:
    """Whether a child serves the destination alone."""
    return bool(found["metadata"]["labels"].get("egressgateway.dev/part") == destination["name"])


def set_back(world: World) -> None:
    """The children as earlier versions made them: private names in the clients' routes, and in no other."""
    entries = {host for found in world.live.values() for host in found.get("spec", {}).get("hosts", ())}
    names = {hop: name if name in entries else f"*.{name}" for hop, name in private_names(world.live)}
    for ref, found in world.live.items():
        labels = found["metadata"]["labels"]
        if ref.kind == "VirtualService" and labels["egressgateway.dev/stage"] == "clients":
            world.tamper(ref, _with_private_names(names))
    world.remove(GUARD)
    world.restart()


def _with_private_names(names: dict[str, str]) -> Callable[[Manifest], None]:
    def change(found: Manifest) -> None:
        routes = [*found["spec"].get("http", ()), *found["spec"].get("tls", ())]
        found["spec"]["hosts"] += [names[route["route"][0]["destination"]["subset"]] for route in routes]
        for route in found["spec"].get("tls", ()):
            name = names[route["route"][0]["destination"]["subset"]]
            route["match"][0]["sniHosts"].append(name)
        found["metadata"]["annotations"]["egressgateway.dev/digest"] = "of-an-earlier-version"

    return change


def test_guard_stands_first_and_goes_last() -> None:
    """Before there is a private name it is taken from sidecars, and for as long as there is one."""
    world = World(SERVED)
    watcher = watch(world)
    writes = world.writes_of(world.settle)
    assert writes[0] == ("apply", GUARD)
    world.edit(spec(destination("x", HOST, (80, "HTTP")) | {"expiresAt": "2020-01-01T00:00:00Z"}))
    writes = world.writes_of(world.settle)
    assert writes[-1] == ("delete", GUARD)
    assert watcher.offences == []
    world.close()


def test_guard_is_written_once_whatever_is_served(world: World) -> None:
    """It takes names to come as well: an edit of destinations costs no write more."""
    world.edit(spec(*SERVED["destinations"], destination("z", "c.example.com", (80, "HTTP"), (8443, "TLS"))))
    assert GUARD not in {ref for _, ref in world.writes_of(world.settle)}
    assert unguarded(world.live) == set()


def test_nothing_is_entered_while_the_guard_cannot_be_written() -> None:
    """The server refuses it: no private name comes to be, and no client is sent."""

    def refuse(ref: ObjectRef) -> None:
        if ref == GUARD:
            raise Invalid("apply", "refused by policy", code=422)

    world = World(SERVED)
    world.server.before = refuse
    world.settle()
    assert isinstance(world.outcomes[-1], Stalled)
    assert [ref for ref in world.live if ref.kind == "ServiceEntry"] == []
    world.server.before = lambda _: None
    world.settle()
    assert set(read_routing(world.live).steered) == {(HOST, 80), (HOST, 443), (OTHER, 80)}
    world.close()


def test_children_of_an_earlier_version_are_moved_without_a_gap(world: World) -> None:
    """The names are taken by the guard before the clients' routes give them up, and no way breaks."""
    set_back(world)
    before = read_routing(world.live)
    assert unguarded(world.live) == set()
    watcher = watch(world)
    writes = world.writes_of(world.settle)
    assert writes[0] == ("apply", GUARD)
    assert {ref.kind for _, ref in writes} == {"VirtualService"}
    assert watcher.offences == []
    assert leaks(world.live) == set()
    assert read_routing(world.live) == before
    routes = [found for found in world.live.values() if found.get("spec", {}).get("gateways") == ["mesh"]]
    private = [host for found in routes for host in found["spec"]["hosts"] if host.endswith(PRIVATE)]
    assert private == world.live[GUARD]["spec"]["hosts"]


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("kept", [SERVED["destinations"][0], WILDCARD], ids=["hosts", "wildcard"])
def test_kept_destination_keeps_its_whole_way(kept: Manifest, *, earlier: bool) -> None:
    """
    What cannot be planned any more stays as it is, whichever version made it.

    The gateway's routes of a wildcard went, and its clients got 404s.
    """
    other = destination("z", "z.example.org", (80, "HTTP"))
    world = World(spec(kept, other))
    world.settle()
    if earlier:
        set_back(world)
    live = dict(world.live)
    world.edit(spec(kept | REFUSED, other))
    world.settle()
    assert {ref: world.live.get(ref) for ref in live if is_of(live[ref], kept)} == {
        ref: found for ref, found in live.items() if is_of(found, kept)
    }
    assert world.live.keys() == live.keys() | {GUARD}
    assert unguarded(world.live) == set()
    assert ports_open(world.live) == ports_dialed(world.live)
    world.close()
