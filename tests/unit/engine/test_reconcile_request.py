"""`egressgateway.dev/reconcile-requested-at`: one pass that takes nothing for granted, and an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from egressgateway.api.status import REQUEST_LIMIT, EgressGatewayStatus
from egressgateway.engine.reconcile.reconcile_request import ANNOTATION, is_answered, request_of
from egressgateway.refs import ObjectRef
from unit.engine.simulation import GRACE, World

SPEC = {"destinations": [{"name": "x", "hosts": ["a.example.com"], "ports": [{"port": 80, "protocol": "HTTP"}]}]}
SERVICE = ObjectRef("Service", "shop", "partners-egress")


@pytest.fixture
def world() -> Iterator[World]:
    """One destination, served."""
    world = World(SPEC)
    world.settle()
    world.loop.now += 2 * GRACE
    world.settle()
    yield world
    world.close()


def ask(world: World, value: str) -> None:
    world.tamper(world.owner, lambda found: found["metadata"].setdefault("annotations", {}).update({ANNOTATION: value}))


def test_a_request_is_answered_by_one_pass(world: World) -> None:
    """With its own value, and without a write to any child when all is well."""
    ask(world, "2026-01-01T00:00:00Z")
    assert world.writes_of(world.reconcile) == []
    assert world.status["lastHandledReconcileAt"] == "2026-01-01T00:00:00Z"


def test_an_answer_stays_and_is_given_once(world: World) -> None:
    """Later passes keep it, and write no status for it."""
    ask(world, "first")
    world.reconcile()
    version = world.server.objects[world.owner]["metadata"]["resourceVersion"]
    world.settle()
    assert world.server.objects[world.owner]["metadata"]["resourceVersion"] == version
    world.edit({"destinations": [{**SPEC["destinations"][0], "hosts": ["b.example.com"]}]})
    world.settle()
    assert world.status["lastHandledReconcileAt"] == "first"
    ask(world, "second")
    world.reconcile()
    assert world.status["lastHandledReconcileAt"] == "second"


def test_a_request_finds_what_is_taken_for_granted(world: World) -> None:
    """
    What was written last and stored otherwise by the server is written once more.

    By itself the operator leaves it at that: a second write would be the beginning of a loop.
    """

    def stored_otherwise(ref: ObjectRef) -> None:
        if ref == SERVICE:
            world.server.objects[SERVICE]["spec"]["type"] = "ExternalName"

    world.server.after = stored_otherwise
    world.remove(SERVICE)
    assert world.writes_of(world.settle) == [("apply", SERVICE)]
    assert world.writes_of(world.settle) == []
    ask(world, "now")
    assert world.writes_of(world.settle) == [("apply", SERVICE)]


def test_a_suspended_object_answers_when_it_resumes(world: World) -> None:
    """Nobody looks at it before."""
    world.edit({**SPEC, "suspend": True})
    ask(world, "now")
    world.settle()
    assert "lastHandledReconcileAt" not in world.status
    world.edit(SPEC)
    world.settle()
    assert world.status["lastHandledReconcileAt"] == "now"


def test_a_long_request_is_cut_to_what_the_status_holds() -> None:
    """Cut alike in question and answer, so it is answered once."""
    gateway = {"metadata": {"annotations": {ANNOTATION: "x" * 1000}}}
    request = request_of(gateway)
    answer = EgressGatewayStatus.model_validate({"lastHandledReconcileAt": request})
    assert len(request) == REQUEST_LIMIT
    assert is_answered(request_of(gateway), {"lastHandledReconcileAt": answer.last_handled_reconcile_at})


def test_nothing_is_answered_where_nothing_was_asked() -> None:
    """No annotation, no object."""
    assert request_of({"metadata": {}}) == request_of(None) == ""
    assert is_answered("", {})
