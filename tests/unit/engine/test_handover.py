"""A name that moves from one object of a namespace to another is steered all the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressgateway.engine.reconcile.handovers import LINGER, MOST
from egressgateway.refs import Key
from unit.engine.contest import CLASS, Contest
from unit.engine.simulation import default_class
from unit.objects import TLS, destination

HOST, OTHER, TCP = "api.example.com", "other.example.com", "db.example.com:5432"
OLD, NEW, ALIEN = Key("shop", "old"), Key("shop", "new"), Key("platform", "alien")
BOTH = pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
HOSTS = pytest.mark.parametrize("host", [HOST, TCP], ids=["tls", "tcp"])


class Watch(Contest):
    """Remembers who steered a name after each write of a child."""

    def __init__(self) -> None:
        self.seen: dict[str, list[frozenset[Key]]] = {}
        self.stuck: Key | None = None
        """Whose pods never become ready."""
        super().__init__("shop", "platform", "lab")

    def _look(self, ref: Any) -> None:
        for host in (HOST, OTHER, "db.example.com"):
            self.seen.setdefault(host, []).append(self.holders(host))
        super()._look(ref)

    def _run_controllers(self) -> None:
        name = f"{self.stuck.name}-egress" if self.stuck else ""
        waiting = {
            ref: found for ref, found in self.server.objects.items() if (ref.kind, ref.name) == ("Deployment", name)
        }
        for ref in waiting:
            del self.server.objects[ref]
        super()._run_controllers()
        self.server.objects.update(waiting)

    def restrict(self, **policy: Any) -> None:
        """The class does not allow something any more."""
        assert self._caches is not None
        self._caches.classes.put(default_class({**CLASS, **policy}, "2"))
        self._look_at(self.everybody())

    def exported(self, host: str) -> dict[Key, set[str]]:
        """By object, for which namespaces its routes steer a name."""
        found: dict[Key, set[str]] = {}
        for (name, place), owners in self.steers().items():
            for owner in owners if name == host else ():
                found.setdefault(owner, set()).add(place)
        return found

    def holders(self, host: str) -> frozenset[Key]:
        """Who steers a name for the namespace of both."""
        return self.steers().get((host.partition(":")[0], "shop"), frozenset())

    def history(self, host: str) -> list[frozenset[Key]]:
        """Who steered it, without repetitions, since the last call."""
        seen = self.seen.pop(host.partition(":")[0], [])
        return [now for number, now in enumerate(seen) if not number or seen[number - 1] != now]


@pytest.fixture
def world() -> Iterator[Watch]:
    it = Watch()
    yield it
    it.close()


def served(world: Watch, *hosts: str) -> None:
    """The old object serves the hosts, the new one has none of them."""
    world.create(OLD, *hosts)
    world.create(NEW)
    world.settle()
    for host in hosts:
        assert world.holders(host) == {OLD}
        world.history(host)


HANDOVER = [frozenset({OLD}), frozenset({OLD, NEW}), frozenset({NEW})]


@BOTH
@HOSTS
@pytest.mark.parametrize("order", [(OLD, NEW), (NEW, OLD)], ids=["taken-first", "given-first"])
def test_host_moved_in_one_apply_is_steered_all_the_time(
    world: Watch, host: str, order: tuple[Key, Key], backwards: bool
) -> None:
    """Whichever edit comes first: the new object's route is there before the old one's is gone."""
    served(world, host)
    for key in order:
        world.edit(key, *((host,) if key == NEW else ()))
        world.step(1)
    world.settle(backwards=backwards)
    assert world.history(host) == HANDOVER
    assert world.verdict(NEW)[0] == world.verdict(OLD)[0] == "True"
    assert world.offences == world.misplaced() == []


@BOTH
@HOSTS
def test_renamed_object_hands_its_hosts_over(world: Watch, host: str, backwards: bool) -> None:
    """GitOps applies the new object, then deletes the old one."""
    world.create(OLD, host)
    world.settle()
    world.history(host)
    world.create(NEW, host)
    world.settle(backwards=backwards)
    assert world.holders(host) == {OLD}
    world.delete(OLD)
    world.settle(backwards=backwards)
    assert world.history(host) == HANDOVER
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


@HOSTS
def test_host_that_nobody_takes_over_is_withdrawn(world: Watch, host: str) -> None:
    """Another object's edit may be a moment behind; nobody else's is waited for."""
    served(world, host)
    began = world.loop.now
    world.edit(OLD)
    world.step(1)
    assert world.holders(host) == {OLD}
    world.settle()
    assert world.history(host) == [frozenset({OLD}), frozenset()]
    assert world.loop.now - began < MOST.total_seconds() / 2
    assert world.loop.now - began >= LINGER.total_seconds()


@pytest.mark.parametrize("end", ["edited", "deleted"])
def test_host_waits_for_an_object_whose_pods_never_start_but_not_for_ever(world: Watch, end: str) -> None:
    """It is served all that time, and then withdrawn; an object that is being deleted is then gone."""
    world.create(OLD, HOST)
    world.settle()
    world.history(HOST)
    world.stuck = NEW
    world.create(NEW, HOST)
    began = world.loop.now
    if end == "edited":
        world.edit(OLD)
    else:
        world.delete(OLD)
    while world.loop.now < began + MOST.total_seconds() and world._due:
        assert world.holders(HOST) == {OLD}
        world.step(1)
    world.settle()
    assert world.holders(HOST) == frozenset()
    assert world.exists(OLD) == (end == "edited")
    assert world.verdict(NEW)[0] == "True"
    assert world.offences == []


@pytest.mark.parametrize("end", ["edited", "deleted"])
@pytest.mark.parametrize(
    "policy",
    [{"deniedHosts": [HOST]}, {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}],
    ids=["host", "namespace"],
)
def test_what_is_forbidden_is_not_handed_over(world: Watch, policy: dict[str, Any], end: str) -> None:
    """What a class forbids ends at once, in the hands of either."""
    served(world, HOST)
    world.stuck = NEW
    world.edit(NEW, HOST)
    if end == "edited":
        world.edit(OLD)
    else:
        world.delete(OLD)
    world.step(3)
    assert world.holders(HOST) == {OLD}
    world.restrict(**policy)
    at = world.loop.now
    while world.holders(HOST):
        world.step(1)
    assert world.loop.now == at


def test_object_that_may_not_serve_a_host_is_not_waited_for(world: Watch) -> None:
    """Its class, or its spec, rejects the destination: then the old way ends as it did."""
    served(world, HOST)
    world.edit(NEW, HOST)
    world.change(NEW, suspend=True)
    world.edit(OLD)
    world.settle()
    assert world.history(HOST) == [frozenset({OLD}), frozenset()]


def test_only_clients_that_the_next_object_serves_wait_for_it(world: Watch) -> None:
    """Access that is not granted any more ends at once."""
    world.create(OLD, HOST, consumers=("shop", "lab"))
    world.create(NEW)
    world.settle()
    assert world.exported(HOST) == {OLD: {"shop", "lab"}}
    world.stuck = NEW
    world.edit(NEW, HOST, consumers=("shop",))
    world.edit(OLD, consumers=("shop", "lab"))
    at = world.loop.now
    while world.exported(HOST)[OLD] != {"shop"}:
        world.step(1)
    assert world.loop.now == at
    world.stuck = None
    world.settle()
    assert world.exported(HOST) == {NEW: {"shop"}}
    assert world.offences == world.misplaced() == []


@BOTH
def test_host_does_not_go_to_another_namespace_in_between(world: Watch, backwards: bool) -> None:
    """Who waits for a name longer, in another namespace, does not get it while it moves within one."""
    world.create(OLD, HOST)
    world.settle()
    world.create(ALIEN, HOST, consumers=("shop", "platform"))
    world.create(NEW)
    world.settle()
    world.history(HOST)
    world.edit(NEW, HOST)
    world.edit(OLD)
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.offences == world.misplaced() == []


@BOTH
@pytest.mark.parametrize("writes", range(1, 12))
def test_process_that_ends_at_any_write_leaves_the_host_steered(world: Watch, writes: int, backwards: bool) -> None:
    """The next one goes on where it ended."""
    served(world, HOST)
    world.edit(NEW, HOST)
    world.edit(OLD)
    world.crash_after(writes)
    world.settle(backwards=backwards)
    assert world.history(HOST) == HANDOVER
    assert world.offences == world.misplaced() == []


def test_host_among_others_of_a_destination_is_handed_over(world: Watch) -> None:
    """The destination goes on with its other hosts; what it registers has the name until it is gone."""
    hosts = [HOST, OTHER]
    world.create(OLD)
    world.create(NEW)
    world.change(OLD, destinations=[destination("all", *hosts, ports=[TLS])])
    world.settle()
    world.history(HOST), world.history(OTHER)
    world.change(OLD, destinations=[destination("all", OTHER, ports=[TLS])])
    world.change(NEW, destinations=[destination("one", HOST, ports=[TLS])])
    world.settle()
    assert world.history(HOST) == HANDOVER
    assert world.history(OTHER) == [frozenset({OLD})]
    assert world.offences == world.misplaced() == []
    registered = [
        found["spec"]["hosts"]
        for ref, found in world.server.objects.items()
        if ref.kind == "ServiceEntry" and found["metadata"]["labels"]["egressgateway.dev/stage"] == "clients"
    ]
    assert sorted(registered) == [[HOST], [OTHER]]


@BOTH
@pytest.mark.parametrize("passes", range(1, 9))
def test_host_that_is_taken_back_has_one_way_in_the_end(world: Watch, passes: int, backwards: bool) -> None:
    """The author changes his mind while it moves, and both objects ask for it: one has it, and clients always do."""
    served(world, HOST)
    world.edit(NEW, HOST)
    world.edit(OLD)
    world.step(passes)
    world.edit(OLD, HOST)
    world.settle(backwards=backwards)
    assert frozenset() not in world.history(HOST)
    assert len(world.holders(HOST)) == 1
    assert world.misplaced() == []
    assert {world.verdict(OLD)[0], world.verdict(NEW)[0]} == {"True", "False"}
