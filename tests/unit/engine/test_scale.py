"""
What an event costs does not grow with the cluster: it wakes those whose answer it can change, and evaluates no more
than what changed.

The whole engine beside an API server in memory, at small sizes. Counts only; `make bench-scale` shows times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

import pytest

from bench.scale.build import create, serve
from bench.scale.events import (
    add_host,
    change_secret,
    edit_class,
    label_class,
    put_namespace,
    resync,
    selecting,
)
from bench.scale.internals import SETTINGS, Counts, Key, counting
from bench.scale.mix import TEAM_SIZE, Kind, Mix, Size, namespace
from bench.scale.replica import Replica

SMALL, LARGE = Size(40, 40), Size(80, 80)

At = Callable[[Mix], Replica]


@pytest.fixture(scope="module")
def at() -> Iterator[At]:
    """
    A replica beside a cluster in which all has been done. One for each cluster: every test leaves it at rest, and with
    the objects that it had.
    """
    replicas: dict[Mix, Replica] = {}
    counts = Counts()

    def started(mix: Mix) -> Replica:
        if mix not in replicas:
            replica = replicas[mix] = Replica(counts)
            for plural, manifest in mix.surroundings():
                replica.server.put(plural, manifest)
            replica.server.load(served(mix))
            replica.fill()
            replica.judge_all()
        return replicas[mix]

    with counting(counts):
        yield started
    for replica in replicas.values():
        replica.close()


@cache
def served(mix: Mix) -> tuple[tuple[str, bytes], ...]:
    """What a cluster holds once its objects are served."""
    replica = Replica(Counts())
    for plural, manifest in mix.surroundings():
        replica.server.put(plural, manifest)
    replica.fill()
    replica.judge_all()
    serve(replica, mix.objects)
    stored = tuple(replica.server.dump_written())
    replica.close()
    return stored


def peaceful(size: Size = SMALL) -> Mix:
    return Mix(size, rivals=False)


def keys(mix: Mix, kind: Kind) -> list[Key]:
    return [each.key for each in mix.objects if each.kind is kind]


def selectors(mix: Mix) -> set[str]:
    """Different selectors of objects and classes."""
    entries = [entry for each in mix.objects for entry in each.manifest["spec"].get("access", {}).get("from", ())]
    return {str(entry["namespaceSelector"]) for entry in entries} | {"the one of class guarded"}


def test_a_start_beside_a_served_cluster_writes_nothing(at: At) -> None:
    """What the other tests begin with: every object is served, and a new replica finds it so."""
    mix = Mix(Size(20, 20), rivals=False)
    replica = at(mix)
    assert replica.counts.passes >= 20
    # The first count of clients says what the statuses say. What ends some day, as a certificate does, is judged again
    # once the mesh has had the time to learn of everything.
    assert replica.counts.judged == len(mix.objects) + len(keys(mix, Kind.SECRET))
    assert replica.writes() == 0
    assert len(replica.ready()) == 20


def test_a_namespace_that_no_selector_means_wakes_nobody(at: At) -> None:
    """Nobody's consumers change."""
    replica = at(peaceful())
    cost = replica.cost_of(partial(put_namespace, replica, namespace("new-nobodys", "nobodys")))
    assert cost.woken == 0


def test_a_new_namespace_wakes_those_whose_selector_means_it(at: At) -> None:
    """Their consumers are one more; those of the others are the same."""
    mix = peaceful()
    replica = at(mix)
    wanted = selecting(mix, {mix.team_of(TEAM_SIZE)})
    replica.cost_of(partial(put_namespace, replica, namespace("new-member", mix.team_of(TEAM_SIZE))))
    assert wanted
    assert set(replica.counts.woken) == wanted


def test_a_relabelled_namespace_wakes_those_whose_consumers_change(at: At) -> None:
    """Those whose selector meant it or means it now; and perhaps those in it, which their class may have to judge."""
    mix = peaceful()
    replica = at(mix)
    old, new = mix.team_of(0), mix.team_of(TEAM_SIZE)
    wanted = selecting(mix, {old, new})
    inside = {each.key for each in mix.objects if each.key.namespace == mix.namespace_of(0)}
    replica.cost_of(partial(put_namespace, replica, namespace(mix.namespace_of(0), new)))
    assert len(wanted) > len(selecting(mix, {old})) > 0
    assert wanted <= set(replica.counts.woken) <= wanted | inside


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=str)
def test_a_new_namespace_is_compared_with_each_selector_once(at: At, size: Size) -> None:
    """The labels of the other namespaces have not changed."""
    mix = peaceful(size)
    replica = at(mix)
    cost = replica.cost_of(partial(put_namespace, replica, namespace("new-compared", mix.team_of(0))))
    assert cost.evaluations <= len(selectors(mix))


def test_objects_with_a_tcp_port_in_common_wake_themselves_alone(at: At) -> None:
    """Their consumers are different ones: the second fifteen ask for as many passes as the first."""
    mix = peaceful()
    replica = at(Mix(Size(0, SMALL.namespaces), rivals=False))
    wanted = [mix.object(number, Kind.TCP) for number in range(30)]
    first, second = (replica.cost_of(partial(create, replica, some)).wakeups for some in (wanted[:15], wanted[15:]))
    assert len(replica.ready()) == 30
    assert first == second


def test_one_more_object_with_a_tcp_port_in_common_wakes_no_other(at: At) -> None:
    """None of its consumers has the port from another one."""
    mix = peaceful()
    replica = at(mix)
    fresh = mix.fresh(Kind.TCP)
    replica.cost_of(partial(create, replica, [fresh]))
    assert set(replica.counts.woken) == {fresh.key}


@pytest.mark.parametrize("kind", [Kind.OWN, Kind.TEAM, Kind.SHARED, Kind.EVERYBODY])
def test_an_edit_wakes_the_object_alone(at: At, kind: Kind) -> None:
    """It has no rivals."""
    mix = peaceful()
    replica = at(mix)
    key = keys(mix, kind)[0]
    cost = replica.cost_of(partial(add_host, replica, key))
    assert set(replica.counts.woken) == {key}
    assert cost.writes > 0


def test_a_secret_wakes_those_that_name_it(at: At) -> None:
    """Another certificate is news to one object."""
    mix = peaceful()
    replica = at(mix)
    key = keys(mix, Kind.SECRET)[0]
    cost = replica.cost_of(partial(change_secret, replica, key))
    assert replica.counts.woken == {key: 1}
    assert cost.passes == 1


def test_an_edited_class_wakes_its_objects_alone(at: At) -> None:
    """It is not the default, and was not."""
    mix = peaceful()
    replica = at(mix)
    wanted = {each.key for each in mix.objects if each.manifest["spec"].get("className") == "guarded"}
    replica.cost_of(partial(edit_class, replica, "guarded"))
    assert wanted
    assert set(replica.counts.woken) == wanted


def test_a_label_of_a_class_wakes_nobody(at: At) -> None:
    """Nothing reads it."""
    replica = at(peaceful())
    assert replica.cost_of(partial(label_class, replica, "standard")).woken == 0


def test_a_relist_without_changes_wakes_nobody(at: At) -> None:
    """kopf's watch expired, and meanwhile nothing happened."""
    replica = at(Mix(SMALL))
    cost = replica.cost_of(replica.list_gateways)
    assert (cost.woken, cost.passes, cost.evaluations) == (0, 0, 0)


@pytest.mark.parametrize("class_name", ["standard", "guarded"])
def test_a_pass_with_rivals_evaluates_nothing_anew(at: At, class_name: str) -> None:
    """An object for everybody, five others want some of its hosts, and nothing changed since the last pass."""
    mix = Mix(SMALL, crowd_class=class_name)
    replica = at(mix)
    [crowd] = keys(mix, Kind.CROWD)
    cost = replica.cost_of(partial(replica.metrics.queue.add, crowd))
    assert (cost.passes, cost.contenders) == (1, 5)
    assert cost.evaluations == 0


def test_a_resync_wakes_each_object_once(at: At) -> None:
    """And writes nothing."""
    mix = Mix(SMALL)
    replica = at(mix)
    cost = replica.cost_of(partial(resync, replica))
    assert replica.counts.woken == {each.key: 1 for each in mix.objects}
    assert (cost.passes, cost.writes) == (SMALL.objects, 0)


def test_a_resync_evaluates_no_selector_anew(at: At) -> None:
    """No namespace and no selector changed. It is the first: passes at a start are too early for the mesh's grace."""
    replica = at(Mix(Size(20, 20), rivals=False))
    assert replica.cost_of(partial(resync, replica)).evaluations == 0


def test_passes_that_write_nothing_let_others_have_a_turn(at: At) -> None:
    """A Lease is renewed and a probe is answered between them, however many objects there are."""
    replica = at(Mix(SMALL))
    assert replica.cost_of(partial(resync, replica)).passes_in_a_turn <= SETTINGS.workers
