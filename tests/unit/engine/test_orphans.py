"""Children without an owner: left by `kubectl delete --cascade=orphan`, or brought back so by a backup."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from egressgateway.names import FINALIZER, LABEL_STAGE, child_labels
from egressgateway.refs import Manifest, ObjectRef
from unit import objects
from unit.engine.routing import Watcher, leaks, read_routing
from unit.engine.simulation import GRACE, KEY, World

HOST, OTHER = "a.example.com", "b.example.com"


def spec(*hosts: str) -> Manifest:
    return objects.spec(*objects.one_each(*hosts))


@pytest.fixture
def world() -> Iterator[World]:
    """Two destinations, served."""
    world = World(spec(HOST, OTHER))
    world.settle()
    yield world
    world.close()


def watch(world: World) -> Watcher:
    """Each write from now on is judged."""
    watcher = Watcher(GRACE)
    watcher.look(world.live, world.loop.now, ready=True)
    world.loop.now += GRACE
    watcher.offences.clear()

    def look(_: object) -> None:
        watcher.look(world.live, world.loop.now, ready=True)
        watcher.offences.extend(f"{host} leaks" for host in sorted(leaks(world.live)))

    world.server.after = look
    return watcher


def disown(world: World) -> None:
    """What the garbage collector does to children that shall stay."""
    for ref in list(world.live):
        world.tamper(ref, lambda found: found["metadata"].pop("ownerReferences"))


def succeed(world: World, new: Manifest) -> None:
    """The object goes, its children stay, and one of the same name comes after it."""
    disown(world)
    old = world.server.remove(world.owner)
    world.caches.remove_gateway(old)
    metadata = {"name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"], "uid": "successor"}
    created = {"creationTimestamp": "2026-01-02T00:00:00Z", "generation": 1}
    head = {name: old[name] for name in ("apiVersion", "kind")}
    world.server.put(world.owner, {**head, "metadata": {**metadata, **created}, "spec": new})
    world.restart()


def owners(world: World) -> set[str]:
    return {owner["uid"] for found in world.live.values() for owner in found["metadata"].get("ownerReferences") or [{}]}


def ready(world: World) -> tuple[str, str]:
    [found] = [each for each in world.status["conditions"] if each["type"] == "Ready"]
    return found["status"], found["reason"]


def test_a_successor_takes_orphans_over_and_clients_notice_nothing(world: World) -> None:
    """Its first pass found names that were taken, and reported ResourceConflict for ever."""
    uids = {ref: found["metadata"]["uid"] for ref, found in world.live.items()}
    routing = read_routing(world.live)
    succeed(world, spec(HOST, OTHER))
    watcher = watch(world)
    world.settle()
    assert ready(world) == ("True", "Ready")
    assert {ref: found["metadata"]["uid"] for ref, found in world.live.items()} == uids
    assert owners(world) == {"successor"}
    assert read_routing(world.live) == routing
    assert watcher.offences == []
    assert "RouteConflict" not in str(world.told)
    assert world.writes_of(world.settle) == []


def test_orphans_that_the_successor_does_not_want_go_in_order(world: World) -> None:
    """Clients of a host that is gone are taken back before their way is; those of the other stay as they are."""
    succeed(world, spec(HOST))
    watcher = watch(world)
    world.settle()
    assert ready(world) == ("True", "Ready")
    assert set(read_routing(world.live).steered) == {(HOST, 80)}
    assert owners(world) == {"successor"}
    assert watcher.offences == []


def test_a_deletion_that_leaves_children_withdraws_nobody(world: World) -> None:
    """Half of the routes deleted, half disowned: a ServiceEntry that is left alone is a way past the gateway."""

    def orphan(found: Manifest) -> None:
        found["metadata"].update(deletionTimestamp="2026-01-01T01:00:00Z", finalizers=[FINALIZER, "orphan"])

    world.tamper(world.owner, orphan)
    assert world.writes_of(world.reconcile) == []
    assert world.server.objects[world.owner]["metadata"]["finalizers"] == ["orphan"]


def test_an_object_that_goes_takes_no_orphans_along(world: World) -> None:
    """The garbage collector was quicker: what it has disowned was to stay."""
    disown(world)
    before = world.live
    world.delete()
    assert world.writes_of(world.reconcile) == []
    assert world.owner not in world.server.objects
    assert world.live == before


def test_orphans_that_were_taken_over_by_halves_go_with_the_object(world: World) -> None:
    """What is kept is not written, and so has no owner yet; the gateway that it leads to has, and will be collected."""
    clients = [ref for ref, found in world.live.items() if found["metadata"]["labels"][LABEL_STAGE] == "clients"]
    for ref in clients:
        world.tamper(ref, lambda found: found["metadata"].pop("ownerReferences"))
    world.restart()
    world.delete()
    world.settle()
    assert world.owner not in world.server.objects
    assert [ref for ref in clients if ref in world.server.objects] == []


def test_a_child_that_lost_its_owner_gets_it_back(world: World) -> None:
    """By somebody's hand, while the object stands."""
    disown(world)
    world.settle()
    assert owners(world) == {"owner"}
    assert ready(world) == ("True", "Ready")


@pytest.mark.parametrize("kind", ["NetworkPolicy", "VirtualService"])
@pytest.mark.parametrize("ending", ["mine", "20261121"])
def test_an_orphans_copy_is_left_alone(world: World, kind: str, ending: str) -> None:
    """Same labels, same annotations, another name: somebody's own, which is neither changed nor deleted."""
    ref = next(ref for ref in world.live if ref.kind == kind)
    copied = world.server.objects[ref]
    metadata = {name: copied["metadata"][name] for name in ("namespace", "labels", "annotations")}
    copy = {**copied, "metadata": {**metadata, "name": f"{ref.name}-{ending}"}}
    world.server.put(ref._replace(name=f"{ref.name}-{ending}"), copy)
    world.restart()
    assert world.writes_of(world.settle) == []
    assert ready(world) == ("True", "Ready")


def test_labels_of_a_child_in_another_namespace_make_none(world: World) -> None:
    """Anybody can set them there, and no status names the object: it was deleted."""
    ref = ObjectRef("AuthorizationPolicy", "lab", "theirs")
    metadata = {"namespace": ref.namespace, "name": ref.name, "labels": child_labels(KEY)}
    world.server.put(ref, {"apiVersion": "security.istio.io/v1", "kind": ref.kind, "metadata": metadata, "spec": {}})
    world.restart()
    assert world.writes_of(world.settle) == []
    assert ref in world.server.objects
