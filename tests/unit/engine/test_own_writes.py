"""The event of one's own write is no reason for another pass, whichever comes first: it, or the answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.own_writes import OwnWrites
from egressgateway.refs import EGRESS_GATEWAY, Key, ObjectRef
from unit.engine.test_runtime import Api, eventually, gateway, reconciled, running

KEY = Key("shop", "partners")
REF = ObjectRef("Gateway", "shop", "partners-egress")


def at(version: str) -> dict[str, Any]:
    return {"kind": "Gateway", "metadata": {"namespace": "shop", "name": REF.name, "resourceVersion": version}}


def modified(version: str) -> Change:
    return Change("MODIFIED", at("1"), at(version), listed=False)


GONE = Change("DELETED", at("1"), None, listed=False)


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def writes(woken: list[Key]) -> OwnWrites:
    writes = OwnWrites()
    writes.on_news = woken.extend
    return writes


def test_own_event_before_the_answer_wakes_nobody(writes: OwnWrites, woken: list[Key]) -> None:
    """The pass that wrote sees to it."""
    with writes.to(REF, KEY) as own:
        assert writes.take(REF, modified("2")) == KEY
        own.answered(at("2"))
    assert woken == []


def test_somebody_elses_change_meanwhile_wakes_the_writer(writes: OwnWrites, woken: list[Key]) -> None:
    """Before the write, after it, or instead of it."""
    for other in (modified("2"), modified("4"), GONE):
        woken.clear()
        with writes.to(REF, KEY) as own:
            writes.take(REF, other)
            writes.take(REF, modified("3"))
            own.answered(at("3"))
        assert woken == [KEY]


def test_a_write_that_fails_explains_nothing(writes: OwnWrites, woken: list[Key]) -> None:
    """What was heard meanwhile was somebody else's, or is what the lost answer would have said."""
    with suppress(RuntimeError), writes.to(REF, KEY):
        writes.take(REF, modified("2"))
        raise RuntimeError
    assert woken == [KEY]


def test_own_deletion_wakes_nobody(writes: OwnWrites, woken: list[Key]) -> None:
    with writes.to(REF, KEY) as own:
        writes.take(REF, GONE)
        own.deleted()
    assert woken == []


def test_other_objects_and_later_changes_are_nobodys(writes: OwnWrites) -> None:
    with writes.to(REF, KEY):
        assert writes.take(REF._replace(name="other"), modified("2")) is None
    assert writes.take(REF, modified("3")) is None


@pytest.mark.asyncio
async def test_own_status_write_queues_the_object_no_more() -> None:
    """An edit by its author does, in the same moment."""
    api = Api(gateway("shop", "partners"))
    async with running(api) as runtime:
        await eventually(lambda: reconciled(runtime) > 0 and runtime._queue.processing == 0)
        ref = ObjectRef(EGRESS_GATEWAY.kind, *KEY)
        before = runtime._queue.adds
        with runtime.caches.own_writes.to(ref, KEY) as own:
            runtime.gateway_event("MODIFIED", gateway("shop", "partners", 1001))
            own.answered(gateway("shop", "partners", 1001))
        assert runtime._queue.adds == before
        with runtime.caches.own_writes.to(ref, KEY) as own:
            runtime.gateway_event("MODIFIED", gateway("shop", "partners", 1002))
            own.answered(gateway("shop", "partners", 1003))
        assert runtime._queue.adds == before + 1
