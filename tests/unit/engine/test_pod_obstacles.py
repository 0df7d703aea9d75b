"""What keeps pods from starting: in the status while it lasts, in one event for each cause, and watched only then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressgateway.cluster.result import Waiting
from egressgateway.plan.gateway.references import pods_of_gateway
from egressgateway.refs import Manifest, ObjectRef
from unit.engine.simulation import KEY, World

SPEC = {"destinations": [{"name": "api", "hosts": ["api.example.com"], "ports": [{"port": 443, "protocol": "TLS"}]}]}
DEPLOYMENT = ObjectRef("Deployment", KEY.namespace, f"{KEY.name}-egress")
PODS = pods_of_gateway(KEY)
QUOTA = "exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2"


@pytest.fixture
def world() -> Iterator[World]:
    world = World(SPEC)
    yield world
    world.close()


def rolled(world: World, *, ready: int = 0, updated: int = 2, replicas: int = 2, refusal: str = "") -> None:
    """The Deployment's controller reports."""
    message = f'pods "partners-egress-5f-{world.server._version}" is forbidden: {refusal}'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    status: dict[str, Any] = {
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "conditions": [failure] if refusal else [],
    }
    world.tamper(DEPLOYMENT, lambda found: found.update(status=status))
    world.reconcile()


def unscheduled(name: str) -> Manifest:
    why = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."}
    return {"metadata": {"namespace": KEY.namespace, "name": name}, "status": {"conditions": [why]}}


def message(world: World, type_: str = "Ready") -> str:
    found: str = next(each["message"] for each in world.status["conditions"] if each["type"] == type_)
    return found


def announced(world: World) -> list[str]:
    return [note for _, reason, note in world.told if reason == "PodNotStarted"]


def test_reason_is_said_while_it_lasts_and_announced_once(world: World) -> None:
    """Numbers in it move, a restart of the controller repeats it: one cause is one event. Mended, it is gone."""
    world.pods_ready = False
    world.settle()
    assert message(world) == "no gateway pod is ready yet"
    for used in (QUOTA, QUOTA.replace("=2", "=3"), QUOTA):
        rolled(world, replicas=0, updated=0, refusal=used)
        assert message(world) == f"no gateway pod is ready yet; the cluster cannot create a pod: {used}"
    assert announced(world) == [f"the cluster cannot create a pod: {QUOTA}"]
    rolled(world, replicas=0, updated=0, refusal="minimum cpu usage per Container is 1")
    assert len(announced(world)) == 2
    world.pods_ready = True
    world.kubelet()
    world.settle()
    assert message(world) == "2/2 gateway pods ready, 1 destination routed"


def test_rollout_that_cannot_start_is_said_of_a_gateway_that_serves(world: World) -> None:
    """Old pods go on: Ready stays True, and names what its next restart would meet."""
    world.settle()
    rolled(world, ready=2, updated=0, refusal=QUOTA)
    assert next(each["status"] for each in world.status["conditions"] if each["type"] == "Ready") == "True"
    told = f"2/2 gateway pods ready, 1 destination routed; the cluster cannot create a pod: {QUOTA}"
    assert message(world) == told
    assert announced(world) == [f"the cluster cannot create a pod: {QUOTA}"]
    rolled(world, ready=2)
    assert message(world) == "2/2 gateway pods ready, 1 destination routed"
    rolled(world, ready=2, updated=0, refusal=QUOTA)
    assert len(announced(world)) == 2, "it came back after it was mended"


def test_pods_are_watched_only_while_some_do_not_start(world: World) -> None:
    """At rest nothing is; what they say is news only where it changes."""
    watched: list[str] = []
    world.caches.references.on_looked_at = lambda wanted: watched.append(f"+{wanted == PODS}")
    world.caches.references.on_unwanted = lambda wanted: watched.append(f"-{wanted == PODS}")
    world.pods_ready = False
    world.settle()
    assert watched == ["+True"]
    references = world.caches.references
    assert references.put_pods(PODS, [unscheduled("a")]) == {KEY}
    assert references.put_pods(PODS, [unscheduled("a"), unscheduled("b")]) == frozenset()
    assert isinstance(world.reconcile(), Waiting)
    words = "no node takes a pod: 0/2 nodes are available: 2 Insufficient cpu"
    assert message(world) == f"no gateway pod is ready yet; {words}"
    assert announced(world) == [words]
    rolled(world, ready=2)
    assert watched == ["+True", "-True"]


def test_what_cannot_be_created_comes_before_what_does_not_start(world: World) -> None:
    """The pods that exist may be those of the last template."""
    world.pods_ready = False
    world.settle()
    world.caches.references.put_pods(PODS, [unscheduled("a")])
    rolled(world, replicas=1, updated=0, refusal=QUOTA)
    assert message(world).endswith(QUOTA)


def test_shared_gateways_pods_say_it_too(world: World) -> None:
    """Its admins read the message; the event is theirs to make."""
    shared = {"namespace": "edge", "service": "egress", "selector": {"istio": "egress"}}
    world.set_class({"shared": shared})
    service = {"metadata": {"namespace": "edge", "name": "egress"}, "spec": {"ports": [{"port": 443}]}}
    world.set_reference(ObjectRef("Service", "edge", "egress"), service)
    pod = {**unscheduled("egress"), "metadata": {"namespace": "edge", "name": "egress"}}
    world.set_pods(type(PODS)("edge", (("istio", "egress"),)), pod)
    world.settle()
    assert message(world).endswith("no node takes a pod: 0/2 nodes are available: 2 Insufficient cpu")
    assert announced(world) == []
