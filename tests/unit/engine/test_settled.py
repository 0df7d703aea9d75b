"""A pass that would come to what the last one came to is not made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.cluster.result import Again, Done, Waiting
from egressgateway.engine.reconcile import reconciler as story
from egressgateway.refs import ObjectRef
from unit.engine.simulation import GRACE, START, World

SPEC: dict[str, Any] = {
    "destinations": [{"name": "x", "hosts": ["a.example.com"], "ports": [{"port": 80, "protocol": "HTTP"}]}]
}
GATEWAY = ObjectRef("Gateway", "shop", "partners-egress")


@pytest.fixture
def world() -> Iterator[World]:
    """One destination, served, and looked at once more."""
    world = World(SPEC)
    world.settle()
    come_to_rest(world)
    yield world
    world.close()


def come_to_rest(world: World) -> Done:
    """Let the mesh be told, and look at what that left."""
    world.loop.now += 2 * GRACE
    world.settle()
    outcome = world.reconcile()
    assert isinstance(outcome, Done)
    return outcome


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Facts that were judged."""
    seen: list[object] = []

    def accept(facts: Any) -> Any:
        seen.append(facts)
        return real(facts)

    real = story.accept
    monkeypatch.setattr(story, "accept", accept)
    return seen


def test_equal_facts_are_judged_once(world: World, judged: list[object]) -> None:
    """However often the queue asks: at a resync, after a change that is none."""
    outcomes = [world.reconcile() for _ in range(5)]
    assert outcomes == [Done()] * 5
    assert judged == []


def steered(world: World) -> str:
    """`Steered` of the destination: its status."""
    conditions = world.status["destinations"][0]["conditions"]
    return next(str(each["status"]) for each in conditions if each["type"] == "Steered")


def test_new_route_is_no_evidence_before_its_push(world: World) -> None:
    """
    A change of where requests go takes `Steered` to Unknown until proxies were told; a change of who may go, does not.
    """
    assert steered(world) == "True"
    world.edit({"destinations": [{**SPEC["destinations"][0], "ports": [{"port": 8080, "protocol": "HTTP"}]}]})
    seen = [steered(world)]
    for _ in range(20):
        world.reconcile()
        world.loop.now += GRACE / 4
        seen.append(steered(world))
    assert seen[-1] == "True"
    assert "Unknown" in seen
    assert "False" not in seen

    world.set_class({"allowedConsumers": {"from": "All"}})
    world.set_namespace("billing")
    access = {"from": [{"namespaces": ["shop", "billing"]}]}
    spec = {"destinations": [{**SPEC["destinations"][0], "ports": [{"port": 8080, "protocol": "HTTP"}]}]}
    world.edit({**spec, "access": access})
    for _ in range(20):
        world.reconcile()
        world.loop.now += GRACE / 4
        assert steered(world) == "True"


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.tamper(GATEWAY, lambda found: found["spec"].update(servers=[])),
        lambda world: world.remove(GATEWAY),
        lambda world: world.edit({"destinations": [{**SPEC["destinations"][0], "hosts": ["b.example.com"]}]}),
        lambda world: world.set_class({"deniedHosts": ["a.example.com"]}),
        lambda world: world.tamper(world.owner, lambda found: found["status"].update(claims=[])),
        lambda world: world.restart(),
    ],
    ids=["child-changed", "child-deleted", "spec", "class", "status", "restart"],
)
def test_whatever_changes_is_judged_anew(world: World, judged: list[object], change: Callable[[World], object]) -> None:
    """Of the object, its class, its children; and nothing is remembered over a restart."""
    change(world)
    world.reconcile()
    assert judged


def test_an_end_that_was_foreseen_is_judged_in_time(world: World, judged: list[object]) -> None:
    """Nothing changes but the time: until a destination ends nothing is judged, then it is withdrawn."""
    ends = START + timedelta(days=30)
    world.edit({"destinations": [{**SPEC["destinations"][0], "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}]})
    world.settle()
    outcome = come_to_rest(world)
    judged.clear()
    assert outcome.after is not None
    world.loop.now += outcome.after.total_seconds() - 10
    assert world.reconcile() == Done(timedelta(seconds=10))
    assert judged == []
    world.loop.now += 8 * 86_400
    world.settle()
    assert not any(ref.kind == "VirtualService" for ref in world.live)


def test_push_that_nothing_waits_for_is_no_reason_to_judge_again(world: World, judged: list[object]) -> None:
    """After a restart the operator has to assume that everything was written just now; here nothing follows from it."""
    world.restart()
    assert world.reconcile() == Done()
    assert judged
    judged.clear()
    world.loop.now += 2 * GRACE
    assert world.reconcile() == Done()
    assert judged == []


def test_equal_facts_are_judged_once_on_the_way_to_ready(judged: list[object]) -> None:
    """While pods start, and while the mesh is told, whatever wakes the object is no reason to judge it again."""
    world = World(SPEC)
    try:
        world.pods_ready = False
        world.settle()
        waiting = world.reconcile()
        assert isinstance(waiting, Waiting)
        judged.clear()
        assert [world.reconcile() for _ in range(5)] == [waiting] * 5
        assert judged == []

        world.pods_ready = True
        assert world.kubelet()
        pushed = world.reconcile()
        assert isinstance(pushed, Again)
        judged.clear()
        world.loop.now += 0.5
        assert world.reconcile() == Again(pushed.after - timedelta(seconds=0.5))
        assert judged == []
        world.loop.now += pushed.after.total_seconds()
        world.settle()
        assert any(ref.kind == "VirtualService" for ref in world.live)
    finally:
        world.close()


def test_four_passes_make_an_object_ready(judged: list[object]) -> None:
    """
    One writes the gateway's side, one sees its pods ready, one writes the clients' side when the mesh was told of the
    gateway, and one says that they are steered when it was told of that.
    """
    world = World(SPEC)
    try:
        assert world.settle() == 4
        assert len(judged) == 4
        ready = next(each for each in world.status["conditions"] if each["type"] == "Ready")
        assert ready["status"] == "True"
    finally:
        world.close()
