"""The main promise: whatever is edited, whenever the process dies, traffic never breaks and all ends as asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.refs import ObjectRef
from unit.engine.routing import Watcher, leaks, ports_dialed, ports_open, read_routing
from unit.engine.simulation import GRACE, Crash, World

HOSTS = ("a.example.com", "b.example.com", "c.example.com")
PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([80, 443, 8080]), "protocol": st.sampled_from(["HTTP", "TLS"])},
        optional={"targetPort": st.sampled_from([8443, 9080])},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda port: port["port"],
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A valid spec: each of three hosts in at most one of three destinations, some of which cannot be served."""
    places = draw(st.lists(st.sampled_from(["x", "y", "z", ""]), min_size=3, max_size=3).filter(any))
    destinations = []
    for name in sorted(set(places) - {""}):
        hosts = [host for host, place in zip(HOSTS, places, strict=True) if place == name]
        destination = {"name": name, "hosts": hosts, "ports": draw(PORTS)}
        flaw = draw(
            st.sampled_from([{}, {}, {}, {"expiresAt": "2020-01-01T00:00:00Z"}, {"resolution": "DNSRoundRobin"}])
        )
        destinations.append(destination | flaw)
    return {"destinations": destinations}


EDITS = st.lists(
    st.tuples(
        specs(),
        st.none() | st.integers(0, 25),  # the write during which the process is killed
        st.booleans(),  # whether that write still reached the server
        st.sampled_from([{}, {}, {"deniedHosts": [HOSTS[0]]}]),
    ),
    min_size=1,
    max_size=5,
)


@contextmanager
def world(spec: dict[str, Any]) -> Iterator[tuple[World, Watcher]]:
    """A world in which every write is judged."""
    it = World(spec)
    watcher = Watcher(GRACE)

    def look(ref: ObjectRef) -> None:
        ready = it.server.objects.get(ObjectRef("Deployment", "shop", "partners-egress"), {}).get("status", {})
        watcher.look(it.live, it.loop.now, ready=bool(ready.get("readyReplicas")))

    it.server.after = look
    try:
        yield it, watcher
    finally:
        it.close()


def kill_at(it: World, number: int, *, written: bool) -> None:
    """Kill the process at its next write but `number`: after it reached the server, or before."""
    judge = it.server.after
    left = [number]

    def before(ref: ObjectRef) -> None:
        left[0] -= 1
        if left[0] < (-1 if written else 0):
            raise Crash

    def after(ref: ObjectRef) -> None:
        judge(ref)
        if left[0] < 0:
            raise Crash

    it.server.before, it.server.after = before, after


def spare(it: World, judge: Any) -> None:
    it.server.before, it.server.after = (lambda ref: None), judge


def check_settled(it: World, watcher: Watcher) -> None:
    """Nothing offended on the way, nothing is left to do, nothing too much stands."""
    assert watcher.offences == []
    assert leaks(it.live) == set()
    it.restart()
    assert it.writes_of(it.settle) == []
    it.loop.now += GRACE
    before = it.server.objects[it.owner]
    assert it.writes_of(it.settle) == []
    assert it.server.objects[it.owner] == before
    routing = read_routing(it.live)
    assert routing.registered == set(routing.steered)
    assert routing.in_use == routing.complete
    if routing.in_use:
        assert ports_open(it.live) == ports_dialed(it.live)
    for destination in it.status.get("destinations", ()):
        conditions = {each["type"]: each["status"] for each in destination["conditions"]}
        if conditions["Accepted"] == "True":
            assert set(conditions.values()) == {"True"}, destination


@given(first=specs(), edits=EDITS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_edits_and_kills_end_as_asked_without_a_broken_way(first: dict[str, Any], edits: list[Any]) -> None:
    """Edits of every kind, a kill between any two writes: no way breaks, and a restart finds nothing to do."""
    with world(first) as (it, watcher):
        judge = it.server.after
        it.settle()
        for spec, killed_at, written, class_spec in edits:
            it.edit(spec)
            it.set_class(class_spec)
            if killed_at is not None:
                kill_at(it, killed_at, written=written)
                try:
                    it.settle()
                except Crash:
                    it.restart()
                spare(it, judge)
                watcher.excused |= leaks(it.live)
            it.settle()
            watcher.excused.clear()
            assert leaks(it.live) == set()
            check_settled(it, watcher)
