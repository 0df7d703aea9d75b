"""
A name that moves from one object of a namespace to another is steered all the time, and by one of the two in the end.

A hand-over takes six seconds here: the next object's gateway is pushed, then its clients' way, then the other one goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.engine.reconcile.handovers import LINGER, MOST, next_look
from egressgateway.facts import Handover
from egressgateway.refs import Key, Manifest
from unit.engine.contest import CLASS, Contest
from unit.engine.simulation import default_class
from unit.objects import HTTP, TLS, destination

HOST, OTHER = "api.example.com", "other.example.com"
OLD, NEW, ALIEN = Key("shop", "old"), Key("shop", "new"), Key("platform", "alien")
BOTH = pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
HANDOVER = [frozenset({OLD}), frozenset({OLD, NEW}), frozenset({NEW})]
GAP = [frozenset({OLD}), frozenset(), frozenset({NEW})]
UNSUPPORTED: Manifest = {"ports": [HTTP], "traffic": {"connectionPool": {"idleTimeout": "0s"}}}
"""Of a destination that is rejected, for Istio accepts no zero for requests: what runs of it is kept."""


class Watch(Contest):
    """Remembers who steered a name after each write of a child, and which objects were judged."""

    def __init__(self, *namespaces: str) -> None:
        self.seen: dict[str, list[frozenset[Key]]] = {}
        self.judged: list[Key] = []
        self.registered: set[tuple[int, str]] = set()
        """Ports and protocols on which the old object's clients were ever told of the host."""
        self.stuck: Key | None = None
        """Whose pods never become ready."""
        super().__init__("shop", "platform", "lab", *namespaces)

    def restrict(self, **policy: Any) -> None:
        """The class does not allow something any more."""
        assert self._caches is not None
        self._caches.classes.put(default_class({**CLASS, **policy}, "2"))
        self._look_at(self.everybody())

    def put_class(self, name: str, version: str, **policy: Any) -> None:
        """A class for objects that name it."""
        assert self._caches is not None
        made = default_class({**CLASS, **policy}, version)
        self._caches.classes.put({**made, "metadata": {**made["metadata"], "name": name, "annotations": {}}})
        self._look_at(self.everybody())

    def holders(self, host: str, place: str = "shop") -> frozenset[Key]:
        """Who steers a name."""
        return self.steers().get((host, place), frozenset())

    def history(self, host: str) -> list[frozenset[Key]]:
        """Who steered it for the namespace of both, without repetitions, since the last call."""
        seen = self.seen.pop(host, [])
        return [now for number, now in enumerate(seen) if not number or seen[number - 1] != now]

    def step_until(self, moment: float) -> None:
        """All passes that are due before a moment."""
        while self._due and min(self._due.values()) < moment:
            self.step(1)

    def settle_one(self, *, backwards: bool) -> None:
        """One pass, of those that are due at one time the last one first if `backwards`."""
        with suppress(AssertionError):
            self.settle(passes=1, backwards=backwards)

    def entries(self, key: Key) -> list[Manifest]:
        """What an object registers with its clients."""
        return [
            found["spec"]
            for ref, found in self.server.objects.items()
            if ref.kind == "ServiceEntry"
            and found["metadata"]["labels"]["egressgateway.dev/stage"] == "clients"
            and (ref.namespace, found["metadata"]["labels"]["egressgateway.dev/gateway"]) == key
        ]

    def _look(self, ref: Any) -> None:
        for host in (HOST, OTHER):
            self.seen.setdefault(host, []).append(self.holders(host))
        own = [port for entry in self.entries(OLD) if HOST in entry["hosts"] for port in entry["ports"]]
        self.registered.update((port["number"], port["protocol"]) for port in own)
        super()._look(ref)

    def _pass(self, key: Key) -> None:
        self.judged.append(key)
        super()._pass(key)

    def _run_controllers(self) -> None:
        name = f"{self.stuck.name}-egress" if self.stuck else ""
        waiting = {
            ref: found for ref, found in self.server.objects.items() if (ref.kind, ref.name) == ("Deployment", name)
        }
        for ref in waiting:
            del self.server.objects[ref]
        super()._run_controllers()
        self.server.objects.update(waiting)


@pytest.fixture
def world() -> Iterator[Watch]:
    it = Watch()
    yield it
    it.close()


def served(world: Watch, *hosts: str, consumers: tuple[str, ...] = ()) -> None:
    """The old object serves the hosts, the new one has none of them."""
    world.create(OLD, *hosts, consumers=consumers)
    world.create(NEW)
    world.settle()
    for host in hosts:
        assert world.holders(host.partition(":")[0]) == {OLD}
        world.history(host)


def moved(world: Watch) -> None:
    """Both edits, in one apply."""
    world.edit(NEW, HOST)
    world.edit(OLD)


@BOTH
@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)], ids=["given-first", "taken-first"])
def test_host_moved_in_one_apply_is_steered_all_the_time(world: Watch, order: tuple[Key, Key], backwards: bool) -> None:
    """Whichever edit comes first: the new object's route is there before the old one's is gone."""
    served(world, HOST)
    for key in order:
        world.edit(key, *((HOST,) if key == NEW else ()))
        world.step(1)
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.verdict(NEW)[0] == world.verdict(OLD)[0] == "True"
    assert world.offences == world.misplaced() == []


@BOTH
def test_renamed_object_hands_its_hosts_over(world: Watch, backwards: bool) -> None:
    """GitOps applies the new object, then deletes the old one."""
    world.create(OLD, HOST)
    world.settle()
    world.history(HOST)
    world.create(NEW, HOST)
    world.settle(backwards=backwards)
    assert world.holders(HOST) == {OLD}
    world.delete(OLD)
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert not world.exists(OLD)
    assert world.offences == world.misplaced() == []


@BOTH
def test_swapped_hosts_are_steered_all_the_time(world: Watch, backwards: bool) -> None:
    """Each object waits for the other, and neither waits for ever."""
    world.create(OLD, HOST)
    world.create(NEW, OTHER)
    world.settle()
    world.history(HOST), world.history(OTHER)
    world.edit(OLD, OTHER)
    world.edit(NEW, HOST)
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.history(OTHER) == [frozenset({NEW}), frozenset({OLD, NEW}), frozenset({OLD})]
    assert world.offences == world.misplaced() == []


def test_clients_are_told_of_as_steered_once_the_old_route_is_gone(world: Watch) -> None:
    """Istio follows the older of two routes: until it is gone, the new object's gateway has no requests."""
    served(world, HOST)
    moved(world)
    while world.holders(HOST) != {NEW}:
        assert steered(world, NEW, "d0") == "False"
        world.step(1)
    assert steered(world, OLD, "own") == "True"
    world.settle()
    assert steered(world, NEW, "d0") == "True"


def steered(world: Watch, key: Key, section: str) -> str:
    """What the status says of a destination's clients; False before it is there."""
    [found] = [each for ref, each in world.server.objects.items() if ref[0] == "EgressGateway" and ref[1:] == key]
    said = {each["name"]: each["conditions"] for each in found["status"].get("destinations", ())}
    return next((each["status"] for each in said.get(section, ()) if each["type"] == "Steered"), "False")


def test_host_that_nobody_takes_over_is_withdrawn(world: Watch) -> None:
    """Another object's edit may be a moment behind; nobody else's is waited for."""
    served(world, HOST)
    began = world.loop.now
    world.edit(OLD)
    world.step(1)
    assert world.holders(HOST) == {OLD}
    world.step_until(began + LINGER.total_seconds() + 0.5)
    assert world.holders(HOST) == frozenset()
    world.settle()
    assert world.misplaced() == world.offences == []


@pytest.mark.parametrize("end", ["edited", "deleted"])
def test_host_waits_for_an_object_whose_pods_never_start_but_not_for_ever(world: Watch, end: str) -> None:
    """It is served all that time, and then withdrawn; an object that is being deleted is then gone."""
    world.create(OLD, HOST)
    world.settle()
    world.stuck = NEW
    world.create(NEW, HOST)
    began, passes = world.loop.now, len(world.judged)
    if end == "edited":
        world.edit(OLD)
    else:
        world.delete(OLD)
    world.step_until(began + MOST.total_seconds())
    assert world.holders(HOST) == {OLD}
    # It looks again each second, and no more often.
    assert len(world.judged) - passes < 1.5 * MOST.total_seconds()
    world.settle()
    assert world.holders(HOST) == frozenset()
    assert world.exists(OLD) == (end == "edited")
    assert world.verdict(NEW)[0] == "True"
    assert world.offences == []


@pytest.mark.parametrize("stages", [set(Handover), *({each} for each in Handover)], ids=str)
def test_no_wait_is_a_busy_loop(stages: set[Handover]) -> None:
    """Whatever a name waits for, and for however long: the next look is some time away."""
    look = next_look(stages)
    assert look is None or look >= timedelta(seconds=1)


@pytest.mark.parametrize("end", ["edited", "deleted"])
@pytest.mark.parametrize(
    "policy",
    [{"deniedHosts": [HOST]}, {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}],
    ids=["host", "namespace"],
)
def test_what_is_forbidden_is_not_handed_over(world: Watch, policy: dict[str, Any], end: str) -> None:
    """What a class forbids ends at once, in the hands of either."""
    world.stuck = NEW
    served(world, HOST)
    world.edit(NEW, HOST)
    if end == "edited":
        world.edit(OLD)
    else:
        world.delete(OLD)
    world.step(4)
    assert world.holders(HOST) == {OLD}
    world.restrict(**policy)
    at = world.loop.now
    while world.holders(HOST):
        world.step(1)
    assert world.loop.now == at


def test_what_the_class_of_the_old_object_forbids_is_not_handed_over(world: Watch) -> None:
    """The next object's class may allow it: that one serves it by its own way, and the old one ends."""
    world.stuck = NEW
    world.put_class("own", "1")
    world.create(OLD, HOST)
    world.change(OLD, className="own")
    world.create(NEW)
    world.settle()
    world.edit(NEW, HOST)
    world.edit(OLD)
    world.change(OLD, className="own")
    world.step(4)
    assert world.holders(HOST) == {OLD}
    world.put_class("own", "2", deniedHosts=[HOST])
    at = world.loop.now
    while world.holders(HOST):
        world.step(1)
    assert world.loop.now == at


@pytest.mark.parametrize("why", ["suspended", "rejected", "fewer-consumers", "other-protocol"])
def test_object_that_would_not_serve_all_clients_as_before_is_not_waited_for(world: Watch, why: str) -> None:
    """Then the old way ends as it does where nobody asks for the name: at once, or after the moment for an edit."""
    served(world, HOST, consumers=("shop", "lab") if why == "fewer-consumers" else ())
    world.edit(NEW, HOST)
    if why == "suspended":
        world.change(NEW, suspend=True)
    elif why == "rejected":
        world.change(NEW, destinations=[destination("d0", HOST, **UNSUPPORTED)])
    elif why == "other-protocol":
        world.change(NEW, destinations=[destination("d0", HOST, ports=[{**HTTP, "port": 443}])])
    world.settle()
    world.history(HOST)
    world.edit(OLD, consumers=("shop", "lab") if why == "fewer-consumers" else ())
    began = world.loop.now
    while world.holders(HOST):
        world.step(1)
    asks = why in ("fewer-consumers", "other-protocol")
    assert world.loop.now == began + (0 if asks else LINGER.total_seconds())
    world.settle()
    assert world.holders(HOST) == ({NEW} if asks else frozenset())
    assert frozenset({OLD, NEW}) not in world.history(HOST)
    assert world.offences == []


@BOTH
@pytest.mark.parametrize("asked", [("shop", "platform"), ("lab", "platform"), ("*",)], ids="+".join)
@pytest.mark.parametrize("stuck", [False, True], ids=["ready", "stuck"])
def test_host_does_not_go_to_another_namespace_in_between(
    world: Watch, asked: tuple[str, ...], stuck: bool, backwards: bool
) -> None:
    """Who waits longer in another namespace does not get a name that moves within one, in any of its namespaces."""
    world.create(OLD, HOST, consumers=("shop", "lab"))
    world.settle()
    world.stuck = NEW if stuck else None
    world.create(ALIEN, HOST, consumers=asked)
    world.create(NEW, consumers=("shop", "lab"))
    world.settle()
    world.history(HOST)
    world.edit(NEW, HOST, consumers=("shop", "lab"))
    world.edit(OLD, consumers=("shop", "lab"))
    world.settle(backwards=backwards)
    for place in ("shop", "lab"):
        assert world.holders(HOST, place) == (frozenset() if stuck else {NEW})
    assert world.history(HOST) == ([frozenset({OLD}), frozenset()] if stuck else HANDOVER)
    assert world.offences == []


@BOTH
def test_host_that_another_namespace_has_in_part_is_handed_over_where_it_is_had(world: Watch, backwards: bool) -> None:
    """A claim for one namespace gives nobody anything in another one."""
    world.create(ALIEN, HOST, consumers=("lab",))
    world.settle()
    world.create(OLD, HOST, consumers=("shop", "lab"))
    world.create(NEW, consumers=("shop", "lab"))
    world.settle()
    world.history(HOST)
    world.edit(NEW, HOST, consumers=("shop", "lab"))
    world.edit(OLD, consumers=("shop", "lab"))
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.holders(HOST, "lab") == {ALIEN}
    assert world.offences == world.misplaced() == []


@pytest.mark.parametrize("writes", range(1, 12))
def test_process_that_ends_at_any_write_leaves_the_host_steered(world: Watch, writes: int) -> None:
    """The next one goes on where it ended."""
    served(world, HOST)
    moved(world)
    world.crash_after(writes)
    world.settle()
    assert world.history(HOST) == HANDOVER
    assert world.offences == world.misplaced() == []


@BOTH
def test_host_among_others_of_a_destination_is_handed_over(world: Watch, backwards: bool) -> None:
    """The destination goes on with its other hosts; what it registers has the name until it is gone."""
    world.create(OLD)
    world.create(NEW)
    world.change(OLD, destinations=[destination("all", HOST, OTHER, ports=[TLS])])
    world.settle()
    world.history(HOST), world.history(OTHER)
    world.change(OLD, destinations=[destination("all", OTHER, ports=[TLS])])
    world.change(NEW, destinations=[destination("one", HOST, ports=[TLS])])
    while world._due:
        world.settle_one(backwards=backwards)
        assert OLD not in world.holders(HOST) or any(HOST in entry["hosts"] for entry in world.entries(OLD))
    assert world.history(HOST) == HANDOVER
    assert world.history(OTHER) == [frozenset({OLD})]
    assert world.offences == world.misplaced() == []
    assert [each["hosts"] for each in world.entries(OLD)] == [[OTHER]]
    assert [each["hosts"] for each in world.entries(NEW)] == [[HOST]]


@pytest.mark.parametrize(
    ("ports", "next_port"),
    [([TLS, {**TLS, "port": 8443}], TLS), ([{**TLS, "protocol": "TCP"}], {**TLS, "port": 8443})],
    ids=["more-ports", "tcp"],
)
def test_host_is_never_registered_on_ports_that_its_destination_gets_without_it(
    world: Watch, ports: list[Manifest], next_port: Manifest
) -> None:
    """One entry has one list of ports for all of its hosts, and a port that is not routed leads nowhere."""
    world.create(OLD)
    world.create(NEW)
    world.change(OLD, destinations=[destination("all", HOST, OTHER, ports=[TLS])])
    world.change(NEW, destinations=[destination("own", ports=[HTTP])])
    world.settle()
    world.history(HOST)
    world.change(NEW, destinations=[destination("own", ports=[HTTP]), destination("one", HOST, ports=[next_port])])
    world.change(OLD, destinations=[destination("all", OTHER, ports=ports)])
    world.settle()
    assert world.registered == {(443, "TLS")}
    assert world.holders(HOST) == {NEW}
    assert world.offences == world.misplaced() == []


@BOTH
@pytest.mark.parametrize("addresses", [False, True], ids=["names", "addresses"])
def test_tcp_moves_with_a_gap(world: Watch, addresses: bool, backwards: bool) -> None:
    """No byte of TCP says which host is meant: its clients have one way at a time, and entries keep their addresses."""
    fields = {"ports": [{"port": 5432, "protocol": "TCP"}]}
    at = [{"addresses": ["93.184.216.1"]}, {"addresses": ["93.184.216.2"]}] if addresses else [{}, {}]
    one, other = destination("one", HOST, **fields, **at[0]), destination("other", OTHER, **fields, **at[1])
    world.restrict(allowedCIDRs=["93.184.216.0/24"])
    world.create(OLD)
    world.create(NEW)
    # Without addresses one object may have the port, and so only one of the two moves.
    world.change(OLD, destinations=[one, other] if addresses else [one])
    world.change(NEW, destinations=[destination("own", ports=[TLS])])
    world.settle()
    world.history(HOST)
    registered = {each["hosts"][0]: each.get("addresses") for each in world.entries(OLD)}
    world.change(NEW, destinations=[destination("own", ports=[TLS]), one])
    world.change(OLD, destinations=[other] if addresses else [destination("rest", ports=[TLS])])
    world.settle(backwards=backwards)
    assert world.history(HOST) == GAP
    assert world.offences == []
    found = {each["hosts"][0]: each.get("addresses") for key in (OLD, NEW) for each in world.entries(key)}
    assert {host: found[host] for host in registered} == registered


def test_tcp_that_nobody_takes_over_ends_at_once(world: Watch) -> None:
    """Nobody could take it over at once, so no edit is waited for."""
    world.create(OLD, f"{HOST}:5432")
    world.settle()
    assert world.holders(HOST) == {OLD}
    began = world.loop.now
    world.edit(OLD)
    world.step(1)
    assert (world.holders(HOST), world.loop.now) == (frozenset(), began)


def test_name_does_not_wait_on_a_port_that_its_object_wants_for_tcp(world: Watch) -> None:
    """Sidecars would send its clients to the TCP destination: the port has one use at a time."""
    served(world, HOST)
    world.change(OLD, destinations=[destination("own", ports=[HTTP]), destination("d0", HOST, ports=[TLS])])
    world.change(NEW, destinations=[destination("one", HOST, ports=[{**TLS, "port": 8443}])])
    world.settle()
    database = destination("db", OTHER, ports=[{**TLS, "protocol": "TCP"}])
    world.change(OLD, destinations=[destination("own", ports=[HTTP]), database])
    world.history(HOST)
    world.settle()
    assert world.history(HOST) == GAP
    assert world.holders(OTHER) == {OLD}
    assert world.offences == world.misplaced() == []


@pytest.mark.parametrize("passes", range(1, 14))
@pytest.mark.parametrize(
    ("section", "backwards"), [("same-section", False), ("same-section", True), ("other-section", True)]
)
def test_host_that_is_taken_back_has_one_way_in_the_end(
    world: Watch, passes: int, section: str, backwards: bool
) -> None:
    """The author changes his mind while it moves, and both objects ask for it: one has it, and clients always do."""
    served(world, HOST)
    moved(world)
    world.step(passes)
    world.edit(OLD, *((HOST,) if section == "same-section" else (OTHER, HOST)))
    world.settle(backwards=backwards)
    assert frozenset() not in world.history(HOST)
    assert len(world.holders(HOST)) == 1
    assert world.misplaced() == []
    assert {world.verdict(OLD)[0], world.verdict(NEW)[0]} == {"True", "False"}


@BOTH
@pytest.mark.parametrize("how", ["section", "object"])
def test_host_that_a_rejected_edit_drops_has_one_owner_in_the_end(world: Watch, how: str, backwards: bool) -> None:
    """What is rejected goes on as it was, but not with a name that its spec leaves to another object."""
    served(world, HOST)
    world.edit(NEW, HOST)
    if how == "section":
        world.change(OLD, destinations=[destination("d0", OTHER, **UNSUPPORTED)])
    else:
        world.change(OLD, destinations=[destination("d0", OTHER, ports=[TLS])], className="nobodys")
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.offences == []
    assert world.verdict(NEW)[0] == "True"

    world.edit(OLD, OTHER)
    world.settle(backwards=backwards)
    assert world.misplaced() == world.offences == []


@pytest.mark.parametrize("how", ["section", "object"])
def test_host_of_a_rejected_section_goes_on_until_another_object_serves_it(world: Watch, how: str) -> None:
    """Its edit is no reason to end what works, however long the other one's pods take."""
    world.stuck = NEW
    served(world, HOST)
    world.edit(NEW, HOST)
    if how == "section":
        world.change(OLD, destinations=[destination("d0", OTHER, **UNSUPPORTED)])
    else:
        world.change(OLD, destinations=[destination("d0", OTHER, ports=[TLS])], className="nobodys")
    world.step_until(world.loop.now + 2 * MOST.total_seconds())
    assert world.holders(HOST) == {OLD}
    world.stuck = None
    world._run_controllers()
    world.step_until(world.loop.now + MOST.total_seconds())
    assert world.history(HOST) == HANDOVER
    assert world.offences == []


def test_host_of_a_destination_that_is_rejected_is_not_let_go(world: Watch) -> None:
    """The spec still asks for it: who else does waits."""
    served(world, HOST)
    world.change(OLD, destinations=[destination("d0", HOST, **UNSUPPORTED)])
    world.edit(NEW, HOST)
    world.settle()
    assert world.holders(HOST) == {OLD}
    assert world.history(HOST) in ([], [frozenset({OLD})])
    assert str(OLD) in world.verdict(NEW)[1]


@pytest.mark.parametrize("passes", range(1, 14))
@pytest.mark.parametrize(
    ("suspended", "backwards"), [(OLD, False), (OLD, True), (NEW, False)], ids=["old", "old-backwards", "new"]
)
def test_suspension_while_a_host_moves_leaves_one_owner(
    world: Watch, suspended: Key, passes: int, backwards: bool
) -> None:
    """What is suspended stays as it is, but not beside an object that has the name by now."""
    served(world, HOST)
    moved(world)
    world.step(passes)
    world.suspend(suspended)
    world.settle(backwards=backwards)
    assert len(world.holders(HOST)) == (suspended == OLD or world.holders(HOST) != frozenset())
    assert world.offences == []
    rest = world.server.writes.copy()
    world.stop()
    world.start()
    world.settle(backwards=backwards)
    assert world.server.writes == rest

    world.suspend(suspended, suspended=False)
    world.settle(backwards=backwards)
    assert world.holders(HOST) == {NEW}
    assert world.misplaced() == world.offences == []


@BOTH
@pytest.mark.parametrize("passes", range(1, 14, 2))
def test_suspension_of_an_object_that_takes_a_host_back_leaves_one_owner(
    world: Watch, passes: int, backwards: bool
) -> None:
    """Its spec asks for the name again, it is suspended, and the other one has it."""
    served(world, HOST)
    moved(world)
    world.step(passes)
    world.edit(OLD, HOST)
    world.suspend(OLD)
    world.settle(backwards=backwards)
    assert len(world.holders(HOST)) == 1
    assert frozenset() not in world.history(HOST)
    world.suspend(OLD, suspended=False)
    world.settle(backwards=backwards)
    assert len(world.holders(HOST)) == 1
    assert world.misplaced() == []


@BOTH
def test_lost_statuses_leave_one_owner(world: Watch, backwards: bool) -> None:
    """A restore in the middle: what shows who has the name is gone, and the specs ask for it once."""
    for passes in range(1, 14, 3):
        world.create(OLD, HOST) if not world.exists(OLD) else world.edit(OLD, HOST)
        world.create(NEW) if not world.exists(NEW) else world.edit(NEW)
        world.settle(backwards=backwards)
        assert world.holders(HOST) == {OLD}
        moved(world)
        world.step(passes)
        world.stop()
        world.wipe_status(OLD, NEW)
        world.start()
        world.settle(backwards=backwards)
        assert world.holders(HOST) == {NEW}
        assert world.misplaced() == world.offences == []


def test_popular_host_wakes_only_the_objects_between_which_it_moves() -> None:
    """Others have the same host for clients of their own namespaces: nothing of it concerns them."""
    tenants = [f"tenant-{number}" for number in range(20)]
    world = Watch(*tenants)
    try:
        for tenant in tenants:
            world.create(Key(tenant, "own"), HOST)
        served(world, HOST)
        world.judged.clear()
        moved(world)
        world.settle()
        assert world.history(HOST) == HANDOVER
        assert set(world.judged) == {OLD, NEW}
    finally:
        world.close()
