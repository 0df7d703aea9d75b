"""An author cannot keep what was deleted: with the finalizer taken off, clients and remote children go all the same."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta

import pytest

from egressgateway.cluster.result import Again, Done
from egressgateway.cluster.store import Change
from egressgateway.engine.cache.route_index import ROUTE_KINDS
from egressgateway.engine.reconcile.remote_records import Record, manifest_of, read_record, record_name, recorded_in
from egressgateway.errors import Forbidden, Unavailable
from egressgateway.names import FINALIZER, LABEL_STAGE
from egressgateway.refs import CONFIG_MAP, Key, Manifest, ObjectRef
from unit import objects
from unit.engine.contest import Contest
from unit.engine.shared import shared_world
from unit.engine.simulation import KEY, World

HELD = "evil.example.com/stay"
HOST = "bank.example.com"
FIRST, SECOND = Key("evil", "first"), Key("shop", "second")


def spec(*hosts: str, **more: object) -> Manifest:
    return objects.spec(*objects.one_each(*hosts, ports=[objects.TLS]), **more)


@pytest.fixture
def world() -> Iterator[World]:
    """One destination, served by a gateway of its own."""
    world = World(spec(HOST))
    world.settle()
    yield world
    world.close()


@pytest.fixture
def shared() -> Iterator[World]:
    """Two destinations, served by a gateway of the platform's: policies are in its namespace."""
    world = shared_world()
    yield world
    world.close()


def finalizers(world: World) -> list[str]:
    found: list[str] = world.server.objects[world.owner]["metadata"].get("finalizers") or []
    return found


def clients(world: World) -> set[ObjectRef]:
    return {ref for ref, found in world.live.items() if found["metadata"]["labels"][LABEL_STAGE] == "clients"}


def remote(world: World) -> set[ObjectRef]:
    return {ref for ref in world.live if ref.namespace != KEY.namespace}


class TestFinalizer:
    """It is put back while that is possible, and missed by nobody when it is not."""

    @pytest.mark.parametrize(
        "change",
        [{}, {"suspend": True}, {"className": "gone"}, {"destinations": [{"name": "d0", "hosts": ["no host"]}]}],
        ids=["as-it-was", "suspended", "without-class", "unreadable"],
    )
    @pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
    def test_is_put_back(self, world: World, change: Manifest, *, restarted: bool) -> None:
        """`kubectl replace`, Argo CD's `Replace=true` and malice take it off alike."""
        world.edit({**spec(HOST), **change})
        world.settle()
        world.set_finalizers(HELD)
        if restarted:
            world.restart()
        world.settle()
        assert finalizers(world) == [HELD, FINALIZER]

    def test_is_put_back_once_a_second_at_most(self, world: World) -> None:
        """Whoever takes it off in a loop does not make the operator write in one."""
        back = 0
        for _ in range(50):
            world.set_finalizers(HELD)
            outcome = world.reconcile()
            back += FINALIZER in finalizers(world)
        assert back == 1
        assert isinstance(outcome, Again)
        assert timedelta(0) < outcome.after <= timedelta(seconds=1)
        world.loop.now += outcome.after.total_seconds()
        assert world.reconcile() == Done()
        assert finalizers(world) == [HELD, FINALIZER]

    def test_is_not_given_to_an_object_without_children(self) -> None:
        """What has nothing to withdraw goes at once."""
        world = World({**spec(HOST), "className": "nosuch"})
        world.settle()
        assert finalizers(world) == []
        world.close()

    @pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
    def test_is_not_needed_to_withdraw(self, world: World, *, restarted: bool) -> None:
        """Taken off in the moment of the deletion: clients go in one burst, claims with the last of them."""
        world.set_finalizers(HELD)
        world.delete()
        if restarted:
            world.restart()
        world.settle()
        assert clients(world) == set()
        assert finalizers(world) == [HELD]
        assert not {"claims", "consumers"} & world.status.keys()
        assert world.writes_of(world.settle) == []

    def test_is_not_missed_by_claims_beside_another(self, world: World) -> None:
        """
        Ours goes when clients are gone, another one stays: claims end, though nothing but our own write happened.

        The last pass did not come, and the host was kept from others until the next resync.
        """
        world.set_finalizers(HELD, FINALIZER)
        world.delete()
        world.settle()
        assert finalizers(world) == [HELD]
        assert world.outcomes[-1] == Done()
        assert not {"claims", "consumers"} & world.status.keys()

    def test_is_not_needed_to_withdraw_again(self, world: World) -> None:
        """Somebody puts a client child back beside the object that is on its way out."""
        ref = next(ref for ref in clients(world) if ref.kind == "VirtualService")
        found = deepcopy(world.live[ref])
        world.set_finalizers(HELD)
        world.delete()
        world.settle()
        world.server.put(ref, found)
        world.restart()
        world.settle()
        assert clients(world) == set()

    def test_is_not_needed_to_withdraw_remote_children(self, shared: World) -> None:
        """Policies in the namespace of the platform's gateway go after the ways, and their record with them."""
        shared.set_finalizers(HELD)
        shared.delete()
        shared.settle()
        assert clients(shared) == remote(shared) == set()
        assert shared.records == {}
        assert finalizers(shared) == [HELD]

    def test_is_no_matter_in_a_namespace_that_ends(self, world: World) -> None:
        """Something keeps the namespace, and the object in it is not deleted yet."""
        world.set_finalizers(HELD)
        namespace = {"metadata": {"name": KEY.namespace, "labels": {}, "resourceVersion": "9000000"}}
        world.caches.namespaces.put({**namespace, "status": {"phase": "Terminating"}})
        world.settle()
        assert clients(world) == set()


class TestContest:
    """Whose clients are still sent somewhere is a rival, whatever became of its finalizers."""

    @pytest.fixture
    def contest(self) -> Iterator[Contest]:
        contest = Contest("evil", "shop")
        yield contest
        assert contest.offences == []
        contest.close()

    @pytest.mark.parametrize("host", [HOST, "db.example.com:5432"], ids=["name", "port"])
    @pytest.mark.parametrize("backwards", [False, True], ids=["in-order", "backwards"])
    def test_the_next_gets_the_name_when_clients_are_gone(
        self, contest: Contest, host: str, *, backwards: bool
    ) -> None:
        """
        Not before: it was told `Steered=True` while istiod sent its calls to the first one's gateway.

        For a while the server lets none of them be deleted.
        """
        refusals = iter(range(20))

        def refuse(ref: ObjectRef) -> None:
            if ref.namespace == FIRST.namespace and ref.kind in ROUTE_KINDS and next(refusals, None) is not None:
                raise Unavailable("delete", "no answer", code=503)

        contest.create(FIRST, host, consumers=("evil", "shop"))
        contest.settle()
        contest.create(SECOND, host)
        contest.settle()
        assert contest.verdict(SECOND)[0] == "False"
        contest.stop()
        contest.set_finalizers(FIRST, HELD)
        contest.delete(FIRST)
        contest.server.before = refuse
        contest.start()
        contest.settle(backwards=backwards)
        assert contest.verdict(SECOND)[0] == "True"
        assert contest.exists(FIRST)

    @pytest.mark.parametrize("host", [HOST, "db.example.com:5432"], ids=["name", "port"])
    def test_clients_of_an_object_that_is_gone_go_in_one_burst(self, contest: Contest, host: str) -> None:
        """The garbage collector comes later, and the next one has the name by then."""
        contest.create(FIRST, host, consumers=("evil", "shop"))
        contest.settle()
        contest.create(SECOND, host)
        contest.settle()
        contest.set_finalizers(FIRST)
        contest.lose(FIRST)
        contest.settle()
        assert contest.verdict(SECOND)[0] == "True"
        assert not any(FIRST in owners for owners in contest.steers().values())
        assert not any(FIRST in owners for owners in contest.ports().values())


class TestRemoteChildren:
    """Children in other namespaces, where no garbage collector looks for their owner."""

    def test_are_recorded_before_they_are_written(self) -> None:
        """In the operator's own namespace, where no tenant can write; at rest and after a restart it costs nothing."""
        world = shared_world(settle=False)
        seen: list[set[ObjectRef]] = []
        world.server.before = lambda ref: seen.append(set(world.records)) if ref.namespace == "edge" else None
        world.settle()
        assert seen
        assert all(seen)
        assert len(world.server.record_writes) == 1
        [(ref, found)] = world.records.items()
        assert ref == ObjectRef(CONFIG_MAP.kind, world.settings.lease.namespace, record_name(KEY))
        assert read_record(found) == Record(KEY, "owner", frozenset(remote(world)))
        world.restart()
        world.settle()
        assert len(world.server.record_writes) == 1
        world.close()

    def test_are_not_written_where_they_cannot_be_recorded(self) -> None:
        """Nobody would find them again."""
        world = shared_world(settle=False)

        def refuse(ref: ObjectRef) -> None:
            if ref.kind == CONFIG_MAP.kind:
                raise Forbidden("patch", "no right", code=403)

        world.server.before = refuse
        with pytest.raises(Forbidden):
            world.reconcile()
        assert remote(world) == set()
        world.close()

    def test_of_an_older_operator_are_recorded(self, shared: World) -> None:
        """It recorded nothing, and there is nothing else to write."""
        for ref in list(shared.records):
            shared.server.remove(ref)
        shared.restart()
        assert shared.writes_of(shared.settle) == []
        assert len(shared.records) == 1

    def test_that_end_with_a_change_of_class_end_the_record(self, shared: World) -> None:
        """One write at the end, and none before."""
        shared.set_class({})
        shared.settle()
        assert remote(shared) == set()
        assert shared.records == {}
        assert [verb for verb, _ in shared.server.record_writes] == ["apply", "delete"]

    @pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
    def test_of_an_object_that_is_gone_are_removed(self, shared: World, *, restarted: bool) -> None:
        """Without the finalizer it went at once; the record is all that speaks of them."""
        shared.lose()
        if restarted:
            shared.restart()
            assert list(shared.caches.without_object()) == [KEY]
        shared.collect()
        shared.settle()
        assert remote(shared) == set()
        assert shared.records == {}
        assert list(shared.caches.without_object()) == []

    def test_go_after_the_ways_that_they_guard(self, shared: World) -> None:
        """The garbage collector takes those; where none comes they go all the same."""
        shared.lose()
        assert isinstance(shared.reconcile(), Again)
        assert clients(shared) == set()
        assert remote(shared)
        shared.settle(passes=60)
        assert remote(shared) == set()
        assert shared.records == {}

    @pytest.mark.parametrize("missing", ["label", "record"])
    def test_need_both_record_and_labels(self, shared: World, missing: str) -> None:
        """Labels anybody can set in his own namespace, and a name is no property of an object."""
        [policy] = [ref for ref in remote(shared) if ref.kind == "AuthorizationPolicy"]
        other = policy._replace(name="mine") if missing == "record" else policy
        found = deepcopy(shared.live[policy])
        found["metadata"] |= {"name": other.name, "uid": "theirs"}
        if missing == "label":
            found["metadata"]["labels"] = {}
        shared.server.put(other, found)
        shared.lose()
        shared.collect()
        shared.restart()
        shared.settle()
        assert remote(shared) == {other}
        assert shared.records == {}

    def test_are_known_without_a_status(self, shared: World) -> None:
        """Restored without it, and edited meanwhile: a destination that is gone leaves nothing behind."""
        policies = {ref for ref in remote(shared) if ref.kind == "AuthorizationPolicy"}
        shared.server.edit(shared.owner, lambda found: found.pop("status"))
        shared.set_class({})
        shared.restart()
        shared.settle()
        assert policies
        assert remote(shared) == set()

    def test_that_a_deletion_leaves_stay_with_the_others(self, shared: World) -> None:
        """`--cascade=orphan` is deliberate; when the children in the own namespace are gone, these are nobody's."""
        before = remote(shared)

        def orphan(found: Manifest) -> None:
            found["metadata"].update(deletionTimestamp="2026-01-01T01:00:00Z", finalizers=[FINALIZER, "orphan"])

        shared.tamper(shared.owner, orphan)
        shared.settle()
        assert finalizers(shared) == ["orphan"]
        for ref in [ref for ref in shared.live if ref.namespace == KEY.namespace]:
            shared.tamper(ref, lambda found: found["metadata"].pop("ownerReferences"))
        shared.lose()
        shared.settle()
        assert remote(shared) == before
        for ref in [ref for ref in shared.live if ref.namespace == KEY.namespace]:
            shared.remove(ref)
        shared.settle()
        assert remote(shared) == set()
        assert shared.records == {}

    def test_of_another_operators_objects_are_not_touched(self, shared: World) -> None:
        """Two releases in one namespace see each other's records, and each serves namespaces of its own."""
        shared.lose()
        shared.collect()
        before = remote(shared)
        shared.settings = shared.settings_for("elsewhere")
        shared.restart()
        shared.settle()
        assert remote(shared) == before
        assert len(shared.records) == 1

    def test_that_the_operator_cannot_see_keep_their_record(self, shared: World) -> None:
        """It was told to serve less than before: an operator that sees them again will remove them."""
        shared.lose()
        shared.collect()
        shared.settings = shared.settings_for(KEY.namespace)
        for ref in remote(shared):
            shared.caches.children[ref.kind].remove(shared.live[ref])
        shared.restart(without=("edge",))
        shared.settle()
        assert len(shared.records) == 1


class TestRecord:
    """What is written down, and read again."""

    RECORD = Record(KEY, "u", frozenset({ObjectRef("EnvoyFilter", "edge", "a"), ObjectRef("Telemetry", "edge", "b")}))

    @pytest.mark.parametrize("left", [False, True])
    def test_is_read_as_it_was_written(self, *, left: bool) -> None:
        record = Record(self.RECORD.key, self.RECORD.uid, self.RECORD.children, left=left)
        assert read_record(manifest_of(record, "system")) == record

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: found.pop("data"),
            lambda found: found["data"].update(owner="shop"),
            lambda found: found["data"].update(owner="other/partners"),
            lambda found: found["metadata"].update(name="egressgateway-remote-0"),
        ],
        ids=["empty", "no-key", "another-key", "another-name"],
    )
    def test_that_is_none_is_not_read(self, change: object) -> None:
        """Under a name that the key does not give, it is somebody else's."""
        found = manifest_of(self.RECORD, "system")
        assert callable(change)
        change(found)
        assert read_record(found) is None

    def test_leaves_out_what_is_no_child(self) -> None:
        """Of a kind that the operator never writes, or no name at all."""
        found = manifest_of(self.RECORD, "system")
        found["data"]["children"] += "Secret edge/x\nEnvoyFilter\n\n"
        assert read_record(found) == self.RECORD

    def test_is_found_by_key(self, shared: World) -> None:
        record = recorded_in(shared.caches.records, KEY)
        assert record is not None
        assert record.children == remote(shared)
        assert recorded_in(shared.caches.records, FIRST) is None


def test_an_object_that_our_write_ended_is_no_ghost(world: World) -> None:
    """The watch told of its end before the write was answered; put back by the answer, it would stay for ever."""
    world.delete()
    seen = []

    def told(change: Change) -> None:
        seen.append(change.event)

    world.caches.on_own_write = told
    world.settle()
    assert world.caches.gateways.get(*KEY) is None
    assert seen[-1] == "DELETED"
    assert Again(timedelta(0)) in world.outcomes
    assert world.outcomes[-1] == Done()


def test_what_the_garbage_collector_leaves_is_removed(world: World) -> None:
    """
    It cannot tell that an owner is gone whose kind is not served any more.

    A child that was written while the CRD was deleted stayed for ever. Nothing here collects, and half a minute passes.
    """
    world.delete()
    world.settle()
    assert world.live == {}


def test_a_cache_that_forgot_an_object_removes_no_gateway(world: World) -> None:
    """Whatever made it forget: the API server is asked before the last of an object goes."""
    world.caches.remove_gateway(world.server.objects[world.owner])
    for _ in range(8):
        world.reconcile()
        world.loop.now += 10
    assert any(ref.kind == "Deployment" for ref in world.live)
