"""Single situations of steering, told by what the server sees. `test_convergence` looks for those not thought of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.cluster.result import Again, Done, Stalled, Waiting
from egressgateway.errors import Forbidden, Invalid, Unavailable
from egressgateway.facts import Acknowledgement, Answers, PodSelection
from egressgateway.refs import Key, Manifest, ObjectRef
from unit import objects
from unit.engine.routing import leaks, read_routing
from unit.engine.simulation import GRACE, Crash, World

HOST, OTHER = "a.example.com", "b.example.com"


def destination(name: str = "x", *hosts: str, port: int = 80, protocol: str = "HTTP", **more: Any) -> Manifest:
    ports = [{"port": port, "protocol": protocol}]
    return objects.destination(name, *(hosts or (HOST,)), ports=ports, **more)


def spec(*destinations: Manifest, **more: Any) -> Manifest:
    return objects.spec(*(destinations or (destination(),)), **more)


@pytest.fixture
def world() -> Iterator[World]:
    """One destination, served."""
    world = World(spec())
    world.settle()
    yield world
    world.close()


def clients(world: World, kind: str) -> list[ObjectRef]:
    label = "egressgateway.dev/stage"
    return [
        ref for ref, found in world.live.items() if ref.kind == kind and found["metadata"]["labels"][label] == "clients"
    ]


def condition(world: World, type_: str) -> tuple[str, str]:
    [found] = [each for each in world.status["conditions"] if each["type"] == type_]
    return found["status"], found["reason"]


def kinds(writes: list[tuple[str, ObjectRef]]) -> list[tuple[str, str]]:
    return sorted((verb, ref.kind) for verb, ref in writes)


def test_a_served_object_is_ready(world: World) -> None:
    """The way from nothing to Ready, as a baseline for the rest."""
    assert condition(world, "Ready") == ("True", "Ready")
    assert read_routing(world.live).registered == {(HOST, 80)}


def test_clients_wait_for_a_pod_however_long_it_takes() -> None:
    """Without a pod nothing registers the host, and nothing is asked for but a change of the Deployment."""
    world = World(spec())
    world.pods_ready = False
    world.settle()
    assert isinstance(world.outcomes[-1], Waiting)
    assert (clients(world, "ServiceEntry"), condition(world, "Ready")) == ([], ("False", "GatewayNotReady"))
    world.pods_ready = True
    assert world.kubelet()
    assert kinds(world.writes_of(world.settle)) == [("apply", "ServiceEntry"), ("apply", "VirtualService")]
    world.close()


def test_a_restart_of_every_pod_keeps_an_existing_steer(world: World) -> None:
    """Clients fail until a pod is back; sent directly, they would leave uncontrolled."""
    world.pods_ready = False
    world.kubelet()
    assert world.writes_of(world.settle) == []
    assert condition(world, "Ready") == ("False", "GatewayNotReady")
    world.pods_ready = True
    world.kubelet()
    world.settle()
    assert condition(world, "Ready") == ("True", "Ready")


def test_a_deleted_route_is_repaired_at_once_without_a_pod(world: World) -> None:
    """While it is missing requests go direct: exactly one write, in the first pass."""
    [route] = clients(world, "VirtualService")
    world.pods_ready = False
    world.kubelet()
    world.settle()
    world.remove(route)
    assert leaks(world.live) == {HOST}
    assert world.writes_of(world.reconcile) == [("apply", route)]
    assert leaks(world.live) == set()


@pytest.mark.parametrize(
    "kind",
    [
        "ServiceEntry",
        "Gateway",
        "DestinationRule",
        "VirtualService",
        "AuthorizationPolicy",
        "NetworkPolicy",
        "Deployment",
    ],
)
def test_one_child_deleted_is_one_write(world: World, kind: str) -> None:
    """Drift is repaired by that write alone, with whatever else the pass does."""
    ref = next(ref for ref in world.live if ref.kind == kind)
    world.remove(ref)
    assert world.writes_of(world.settle) == [("apply", ref)]


@pytest.mark.parametrize(
    "kind", ["ServiceEntry", "Gateway", "DestinationRule", "VirtualService", "AuthorizationPolicy", "NetworkPolicy"]
)
def test_a_foreign_field_costs_one_write_and_comes_back_never(world: World, kind: str) -> None:
    """One merge patch takes it out, and nothing of it is left to write."""
    ref = next(ref for ref in world.live if ref.kind == kind)
    before = world.live[ref]["spec"]
    world.tamper(ref, lambda found: found["spec"].update(foreign={"x": 1}))
    assert world.writes_of(world.settle) == [("patch", ref)]
    assert world.live[ref]["spec"] == before


def test_a_field_that_was_reset_still_goes_with_the_plan(world: World) -> None:
    """
    A merge patch makes its fields the patching manager's: an apply that omits one later leaves it standing.

    Here the route's `http` was restored by a reset, then the port becomes TLS: `http` must not outlive that.
    """
    [route] = clients(world, "VirtualService")
    world.tamper(route, lambda found: found["spec"].update(http=[], foreign=1))
    world.settle()
    world.edit(spec(destination(protocol="TLS")))
    world.settle()
    assert world.live[route]["spec"].keys() >= {"tls"}
    assert "http" not in world.live[route]["spec"]


def test_an_edit_over_a_foreign_field_removes_it_in_the_same_process(world: World) -> None:
    """What the apply leaves is taken out by a reset that follows it."""
    [route] = clients(world, "VirtualService")
    world.tamper(route, lambda found: found["spec"].update(foreign=1))
    world.edit(spec(destination(port=8080)))
    world.settle()
    assert "foreign" not in world.live[route]["spec"]


def test_a_moved_host_changes_hands_in_one_burst(world: World) -> None:
    """From one destination to another: never unregistered, never unsteered, by the same way throughout."""
    [way] = read_routing(world.live).in_use
    world.edit(spec(destination("y")))
    world.reconcile()
    assert read_routing(world.live).steered == {(HOST, 80): way}
    assert len(clients(world, "ServiceEntry")) == 1


def test_a_burst_is_written_whole_or_not_at_all(world: World) -> None:
    """
    A host moves to a destination whose gateway side the server refuses: it stays where it is.

    Its old part's share of the burst was carried out alone, and the host went past the gateway.
    """

    def refuse(ref: ObjectRef) -> None:
        if ref.name.startswith("partners-y-"):
            raise Invalid("apply", "refused", code=422)

    world.server.before = refuse
    world.edit(spec(destination("y")))
    world.reconcile()
    assert isinstance(world.outcomes[-1], Stalled)
    assert set(read_routing(world.live).steered) == {(HOST, 80)}
    assert leaks(world.live) == set()
    assert condition(world, "Programmed") == ("False", "ApplyFailed")


def test_a_withdrawal_needs_nothing_of_the_gateway(world: World) -> None:
    """A host that is not allowed any more goes at once, though the gateway's own objects cannot be written."""

    def refuse(ref: ObjectRef) -> None:
        if ref.name == "partners-egress":
            raise Invalid("apply", "quota", code=422)

    world.edit(spec(destination(), destination("y", OTHER)))
    world.settle()
    world.server.before = refuse
    world.set_class({"deniedHosts": [OTHER]})
    world.reconcile()
    assert read_routing(world.live).registered == {(HOST, 80)}


def test_the_servers_words_are_cut_for_the_status(world: World) -> None:
    """A refusal may be longer than the status may hold: the status is stored all the same."""

    def refuse(ref: ObjectRef) -> None:
        raise Invalid("apply", "x" * 5000, code=422)

    world.server.before = refuse
    world.edit(spec(destination(port=8080)))
    world.reconcile()
    assert condition(world, "Ready") == ("False", "ApplyFailed")


def test_writes_that_fail_for_a_while_are_made_later(world: World) -> None:
    """Every third write fails: it ends as if none had."""
    count = [0]

    def fail(ref: ObjectRef) -> None:
        count[0] += 1
        if count[0] % 3 == 0:
            raise Unavailable("apply", "down", code=503)

    world.server.before = fail
    world.edit(spec(destination(port=8080), destination("y", OTHER, port=443, protocol="TLS")))
    world.settle()
    assert condition(world, "Ready") == ("True", "Ready")
    assert set(read_routing(world.live).steered) == {(HOST, 8080), (OTHER, 443)}


def test_the_policy_narrows_with_a_changed_target_port(world: World) -> None:
    """
    A targetPort that changes leaves nothing behind.

    The old port stayed open until the next restart: nothing asked for another look.
    """
    world.edit({"destinations": [destination() | {"ports": [{"port": 80, "protocol": "HTTP", "targetPort": 8000}]}]})
    writes = kinds(world.writes_of(world.settle))
    assert writes.count(("apply", "NetworkPolicy")) == 2
    world.restart()
    assert world.writes_of(world.settle) == []


def test_a_kept_destination_does_not_save_one_that_is_not_allowed(world: World) -> None:
    """
    One destination cannot be judged, the other is denied: the first stays, the second goes.

    With nothing left to serve, everything was kept.
    """
    world.edit(spec(destination(), destination("y", OTHER)))
    world.settle()
    world.edit(spec(destination("x", resolution="DNSRoundRobin"), destination("y", OTHER)))
    world.set_class({"deniedHosts": [OTHER]})
    world.settle()
    assert set(read_routing(world.live).steered) == {(HOST, 80)}


def test_a_kept_destination_without_its_route_is_registered_no_more(world: World) -> None:
    """Its route cannot be planned anew, and the registration alone would be a way past the gateway."""
    world.edit(spec(destination("x", resolution="DNSRoundRobin")))
    world.settle()
    [route] = clients(world, "VirtualService")
    world.remove(route)
    world.settle()
    assert leaks(world.live) == set()


def test_suspended_objects_are_left_alone(world: World) -> None:
    """Only the status is written; afterwards everything that waited is done."""
    world.edit(spec(destination(port=8080), suspend=True))
    assert world.writes_of(world.settle) == []
    assert condition(world, "Ready") == ("True", "Suspended")
    world.edit(spec(destination(port=8080)))
    world.settle()
    assert set(read_routing(world.live).steered) == {(HOST, 8080)}


def test_a_deletion_that_the_server_refuses_is_told_and_tried_again(world: World) -> None:
    """
    The object says why it stays; once the server lets go, so does the operator.

    It was told in the log only: `kubectl delete` hung, and nobody could see why.
    """

    def refuse(ref: ObjectRef) -> None:
        raise Forbidden("delete", "admission webhook says no", code=403)

    world.delete()
    world.server.before = refuse
    for _ in range(2):
        with pytest.raises(Forbidden):
            world.reconcile()
    assert condition(world, "Ready") == ("False", "ApplyFailed")
    [(type_, _, note)] = [each for each in world.told if each[1] == "ApplyFailed"]
    assert type_ == "Warning"
    assert "admission webhook says no" in note
    world.server.before = lambda ref: None
    world.reconcile()
    world.loop.now += GRACE
    world.reconcile()
    assert world.owner not in world.server.objects


def test_a_deleted_object_takes_its_clients_back_in_one_burst_and_goes(world: World) -> None:
    """The finalizer goes once the mesh has been told; the gateway's side is left to the garbage collector."""
    world.delete()
    assert kinds(world.writes_of(world.reconcile)) == [("delete", "ServiceEntry"), ("delete", "VirtualService")]
    assert world.owner in world.server.objects
    world.loop.now += GRACE
    assert world.reconcile() == Again(timedelta(0)), "a last pass forgets it"
    assert world.owner not in world.server.objects
    world.collect()
    assert world.reconcile() == Done()


def test_a_lost_finalizer_write_does_not_stop_the_deletion(world: World) -> None:
    """A process that died between the burst and the finalizer is followed by one that finishes."""
    world.delete()
    world.reconcile()
    world.restart()
    world.settle()
    assert world.owner not in world.server.objects


def test_an_object_that_had_a_class_never_falls_back_to_the_built_in_one(world: World) -> None:
    """The class that denied a host is deleted: the host is not suddenly allowed, and what runs stays."""
    world.set_class({"deniedHosts": [OTHER]})
    world.edit(spec(destination(), destination("y", OTHER)))
    world.settle()
    world.classes = []
    world.restart()
    assert world.writes_of(world.settle) == []
    assert condition(world, "Accepted") == ("False", "ClassNotFound")
    assert set(read_routing(world.live).steered) == {(HOST, 80)}


def test_a_child_that_lingers_in_deletion_is_not_called_programmed(world: World) -> None:
    """A finalizer of others keeps it: the status says that not all is in place."""
    ref = next(ref for ref in world.live if ref.kind == "Service")
    world.tamper(ref, lambda found: found["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert world.writes_of(world.settle) == []
    assert condition(world, "Programmed") == ("False", "Pending")


def test_a_refused_destination_does_not_hold_back_the_others() -> None:
    """A write that is refused on every pass once counted as a change of the gateway: nobody was ever steered."""
    world = World(spec(destination("x"), destination("y", OTHER)))

    def refuse(ref: ObjectRef) -> None:
        if ref.name.startswith("partners-y-"):
            raise Invalid("apply", "refused by policy", code=422)

    world.server.before = refuse
    world.settle()
    assert read_routing(world.live).registered == {(HOST, 80)}
    assert condition(world, "Ready") == ("False", "PartiallyReady")
    world.close()


def test_a_taken_route_keeps_the_host_unregistered() -> None:
    """
    An object of somebody else, under the name of the clients' VirtualService.

    The ServiceEntry was written alone, and the host called directly.
    """
    world = World(spec())
    world.settle()
    [route] = clients(world, "VirtualService")
    [entry] = clients(world, "ServiceEntry")
    world.tamper(route, lambda found: found["metadata"].update(ownerReferences=[], annotations={}))
    world.remove(entry)
    world.settle()
    assert entry not in world.live
    assert condition(world, "Programmed") == ("False", "ResourceConflict")
    [part] = world.status["destinations"]
    assert {c["type"]: c["status"] for c in part["conditions"]}["Steered"] == "False"
    world.close()


def test_a_port_that_goes_is_unregistered_before_its_route_goes(world: World) -> None:
    """If the ServiceEntry cannot be written, its route stays: the port would be called directly without one."""
    two = destination("x")
    two["ports"].append({"port": 8080, "protocol": "HTTP"})
    world.edit(spec(two))
    world.settle()
    [entry] = clients(world, "ServiceEntry")

    def refuse(ref: ObjectRef) -> None:
        if ref == entry:
            raise Invalid("apply", "refused by policy", code=422)

    world.server.before = refuse
    world.edit(spec())
    world.settle()
    routing = read_routing(world.live)
    assert (HOST, 8080) in routing.registered
    assert (HOST, 8080) in routing.steered


def test_a_route_that_goes_while_the_object_is_refused_unregisters_its_host() -> None:
    """What is kept as it is must not leak either, nor be called steered."""
    world = World(spec(destination("x", HOST, OTHER)))
    world.settle()
    refused = {"set": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]}
    world.edit(spec(destination("x", HOST, OTHER, requestHeaders=refused)))
    world.settle()
    route = next(ref for ref in clients(world, "VirtualService") if OTHER in world.live[ref]["spec"]["hosts"])
    world.remove(route)
    world.settle()
    assert leaks(world.live) == set()
    assert read_routing(world.live).registered == {(HOST, 80)}
    world.close()


def test_an_edit_during_a_pass_is_not_reported_as_looked_at(world: World) -> None:
    """The pass judged and planned the spec before: its verdict once went into the status of the new generation."""
    ref = next(ref for ref in world.live if ref.kind == "Gateway")
    world.remove(ref)
    seen = world.status["observedGeneration"]

    def edit(_: ObjectRef) -> None:
        world.server.before = lambda _: None
        world.edit(spec(destination("x"), destination("y", OTHER)))

    world.server.before = edit
    world.reconcile()
    assert world.status["observedGeneration"] == seen
    world.settle()
    assert world.status["observedGeneration"] == seen + 1
    assert condition(world, "Ready") == ("True", "Ready")


def on_port(world: World, number: int) -> set[str]:
    """Hosts that clients are told to reach on a port."""
    entries = [world.live[ref] for ref in clients(world, "ServiceEntry")]
    return {
        host
        for entry in entries
        if any(port["number"] == number for port in entry["spec"]["ports"])
        for host in entry["spec"]["hosts"]
    }


def test_a_tcp_port_changes_hands_only_once_it_is_free() -> None:
    """
    One edit gives the port of one destination to another one, and the server refuses what would free it.

    Written at once, both had it: the clients of one reached the server of the other, and `Steered` was True.
    """
    first, second = destination("x", port=5432, protocol="TCP"), destination("y", OTHER, port=5433, protocol="TCP")
    world = World(spec(first, second))
    world.settle()
    seen: list[set[str]] = []
    world.server.after = lambda ref: seen.append(on_port(world, 5432))
    [entry] = [ref for ref in clients(world, "ServiceEntry") if world.live[ref]["spec"]["hosts"] == [HOST]]

    def refuse(ref: ObjectRef) -> None:
        if ref == entry:
            raise Invalid("apply", "denied by a webhook", code=422)

    world.server.before = refuse
    moved = destination("x", port=5440, protocol="TCP"), destination("y", OTHER, port=5432, protocol="TCP")
    world.edit(spec(*moved))
    world.settle()
    assert on_port(world, 5432) == {HOST}
    assert condition(world, "Ready")[0] == "False"

    world.server.before = lambda ref: None
    world.loop.now += 3600
    world.settle()
    assert (on_port(world, 5432), on_port(world, 5440)) == ({OTHER}, {HOST})
    assert condition(world, "Ready") == ("True", "Ready")
    assert max(map(len, seen)) == 1
    world.close()


def test_two_destinations_swap_their_tcp_ports() -> None:
    """Neither can be first without the other: they go together."""
    world = World(spec(destination("x", port=5432, protocol="TCP"), destination("y", OTHER, port=5433, protocol="TCP")))
    world.settle()
    world.edit(spec(destination("x", port=5433, protocol="TCP"), destination("y", OTHER, port=5432, protocol="TCP")))
    world.settle()
    assert (on_port(world, 5432), on_port(world, 5433)) == ({OTHER}, {HOST})
    assert condition(world, "Ready") == ("True", "Ready")
    world.close()


class CutOff:
    """In place of the reader of pods' pages: pods that have nothing new, until they are told of it."""

    def __init__(self) -> None:
        self.have = False
        self.asked = False

    def want(
        self, key: Key, pods: PodSelection, ready: int, exits: Mapping[str, frozenset[str]], secrets: frozenset[str]
    ) -> None:
        self.asked = bool(exits)

    def said(self, key: Key) -> Acknowledgement:
        if not self.asked:
            return Acknowledgement()
        return Acknowledgement(Answers.COMPLETE, {} if self.have else {"x": "partners-egress-0"})


def change_port(world: World) -> None:
    world.edit(spec(destination(port=8080)))


def refuse(*_: object) -> Manifest:
    """For all writes to the object."""
    raise Unavailable("patch", "a webhook does not answer")


def change_class(world: World) -> None:
    world.set_class({"mtls": "Disabled"})


@pytest.mark.parametrize("change", [change_port, change_class])
def test_pods_are_asked_though_the_process_died_before_it_said_what_it_had_written(
    world: World, change: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The gateway's side is written, the status not, and the next process cannot write it either: nothing in the cluster
    says that something of it is new. It asks all the same before it sends clients there; it took the time that a push
    takes for enough.
    """
    route = clients(world, "VirtualService")
    before = [world.live[ref] for ref in route]
    twin = World(spec())
    twin.settle()
    change(twin)
    last = len(twin.writes_of(twin.reconcile))
    twin.close()
    change(world)
    left = iter(range(last - 1, -1, -1))

    def die_after_the_last(ref: ObjectRef) -> None:
        if not next(left):
            raise Crash

    world.server.after = die_after_the_last
    with pytest.raises(Crash):
        world.reconcile()
    world.server.after = lambda ref: None

    world.restart()
    pods = CutOff()
    world.reconciler._observer._acknowledgements = pods  # type: ignore[assignment]  # all that it needs of a reader
    with monkeypatch.context() as refusing:
        refusing.setattr(world.server, "_patch_owner", refuse)
        for _ in range(12):
            with suppress(Unavailable):
                world.reconcile()
            world.loop.now += GRACE / 3
    assert pods.asked
    assert [world.live[ref] for ref in route] == before
    pods.have = True
    world.settle()
    assert [world.live.get(ref) for ref in route] != before
