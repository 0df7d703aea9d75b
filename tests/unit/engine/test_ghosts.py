"""What was deleted stays deleted, whichever answer that was under way shows it once more."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from egressgateway.cluster.request import Request
from egressgateway.cluster.store import Change
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.resync import Resync
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.settings import Settings
from unit import objects
from unit.cluster.fake_api import eventually
from unit.engine.simulation import World

HOST = "a.example.com"
SPEC = {"destinations": [{"name": "a", "hosts": [HOST], "ports": [{"port": 80, "protocol": "HTTP"}]}]}


def gateway(name: str, version: int, **metadata: Any) -> Manifest:
    since = objects.CREATED
    status = {
        "claims": [{"host": HOST, "claimedAt": since}],
        "consumers": [{"namespace": "shop", "since": since}],
    }
    return objects.gateway(Key("shop", name), SPEC, status, version=version, **metadata)


class Pages:
    """An API server that gives two pages of one moment; `meanwhile` happens between them."""

    def __init__(self, caches: Caches) -> None:
        self.caches = caches

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        if ("continue", "x") not in request.query:
            return {"metadata": {"resourceVersion": "11", "continue": "x"}, "items": [gateway("first", 9)]}
        self.caches.remove_gateway(gateway("first", 12))
        self.caches.remove_gateway(gateway("second", 13))
        return {"metadata": {"resourceVersion": "11"}, "items": [gateway("second", 10)]}


@pytest.mark.asyncio
async def test_a_gateway_deleted_during_the_resync_claims_nothing_any_more() -> None:
    """
    Its DELETED came while later pages were read, and the pages still show it.

    It came back, and its claims kept others from the host until the next resync.
    """
    caches = Caches()
    caches.put_gateway(gateway("first", 9))
    told: list[Change] = []
    client: Any = Pages(caches)
    resync = Resync(client, Settings(resync=timedelta(hours=1)), caches, told.append, lambda: None)
    resync.start()
    await eventually(resync.synced.is_set)
    await resync.stop()
    assert list(caches.gateways) == []
    assert told == []
    assert caches.claims.waiting_for({HOST: frozenset({"*"})}) == set()


def test_a_late_answer_to_our_own_write_does_not_bring_a_gateway_back() -> None:
    """The finalizer goes, and with it the object: the watch may tell of that before the answer to the write arrives."""
    world = World(SPEC)
    world.settle()
    [owner] = [deepcopy(found) for ref, found in world.server.objects.items() if ref == world.owner]
    send = world.server.send

    async def late(request: Request, *, urgent: bool = False) -> Manifest | None:
        answer = await send(request, urgent=urgent)
        if world.owner not in world.server.objects:
            world.caches.remove_gateway(
                deepcopy({**owner, "metadata": {**owner["metadata"], "resourceVersion": "9999"}})
            )
        return answer

    world.server.send = late  # type: ignore[method-assign]
    world.delete()
    world.settle()
    assert world.owner not in world.server.objects
    assert list(world.caches.gateways) == []
    world.close()


@pytest.mark.parametrize("kind", ["ServiceEntry", "Deployment", "VirtualService"])
def test_a_late_answer_does_not_make_a_deleted_child_look_alive(kind: str) -> None:
    """
    Somebody deletes a child right after it was written, and the watch is faster than the answer.

    It counted as there and in step for as long as the watch held: nothing repaired it.
    """
    world = World(SPEC)
    deleted: list[ObjectRef] = []

    async def late(request: Request, *, urgent: bool = False) -> Manifest | None:
        answer = await send(request, urgent=urgent)
        if answer is not None and answer.get("kind") == kind and not deleted:
            ref = ObjectRef(kind, answer["metadata"]["namespace"], answer["metadata"]["name"])
            deleted.append(ref)
            world.caches.children[kind].put(deepcopy(answer))
            world.remove(ref)
        return answer

    send = world.server.send
    world.server.send = late  # type: ignore[method-assign]
    world.settle()
    [ref] = deleted
    assert ref in world.server.objects, "it was made anew"
    ready = {each["type"]: each["status"] for each in world.status["conditions"]}["Ready"]
    assert ready == "True"
    world.close()
