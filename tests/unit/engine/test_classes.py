"""What a class's status says, by whom it is written, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from egressgateway.api.status import EgressGatewayClassStatus
from egressgateway.cluster.request import Request
from egressgateway.cluster.store import Change, Store
from egressgateway.engine.process.classes import ClassStatusWriter, class_used_by
from egressgateway.errors import ClusterError, Forbidden
from egressgateway.refs import Key, Manifest
from unit import objects
from unit.cluster.fake_api import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """Takes statuses of classes, and keeps what it took."""

    def __init__(self) -> None:
        self.statuses: list[tuple[str, dict[str, Any]]] = []
        self.refusals: list[ClusterError] = []
        self.version = 100

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        if self.refusals:
            raise self.refusals.pop()
        name = request.path.split("/")[-2]
        body = orjson.loads(request.body or b"")
        self.statuses.append((name, body["status"]))
        self.version += 1
        return class_(name, version=self.version, status=body["status"], generation=1)


def class_(name: str = "standard", *, version: int = 1, generation: int = 1, **content: Any) -> Manifest:
    metadata = {"name": name, "resourceVersion": str(version), "generation": generation, "uid": name}
    return {"metadata": metadata, "spec": {}, **content}


def gateway(name: str, named: str | None = None, served_by: str | None = None) -> Manifest:
    spec = {"className": named} if named else {}
    return objects.gateway(Key("shop", name), spec, {"className": served_by} if served_by else {})


class Bench:
    """A writer with its server and its caches."""

    def __init__(self) -> None:
        self.server = Server()
        self.classes = Store()
        self.gateways: list[Manifest] = []
        self.leads = True
        self.writer = ClassStatusWriter(
            self.server,
            self.classes,
            self.gateways,
            may_write=lambda: self.leads,
            spacing_seconds=0.01,
            now=lambda: NOW,
        )

    async def told(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """What the server holds once it was told so often; fails when it never is."""
        await eventually(lambda: len(self.server.statuses) >= count)
        return self.server.statuses


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A writer at work."""
    bench = Bench()
    bench.writer.start()
    yield bench
    await bench.writer.stop()


async def test_status_says_who_uses_a_class_and_whether_it_can_be_used(bench: Bench) -> None:
    """By name, or as the default class by which an object is served; the built-in class is nobody's."""
    bench.classes.put(class_())
    bench.gateways += [gateway("a", "standard"), gateway("b", served_by="standard"), gateway("c"), gateway("d", "x")]
    bench.writer.look()
    [(name, status)] = await bench.told(1)
    assert name == "standard"
    assert status["attachedGateways"] == 2
    [condition] = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Accepted", "True", "Accepted")
    assert condition["observedGeneration"] == status["observedGeneration"] == 1
    assert status["provider"] == "Istio"
    assert EgressGatewayClassStatus.model_validate(status).attached_gateways == 2


async def test_a_broken_class_names_the_field(bench: Bench) -> None:
    """As an object's Invalid: where, and what helps."""
    bench.classes.put(class_(spec={"mtls": "Perhaps"}))
    bench.writer.look()
    [(_, status)] = await bench.told(1)
    accepted, stalled = status["conditions"]
    assert (accepted["type"], accepted["status"], accepted["reason"]) == ("Accepted", "False", "Invalid")
    assert (stalled["type"], stalled["status"], stalled["reason"]) == ("Stalled", "True", "Invalid")
    assert "spec.mtls" in accepted["message"] == stalled["message"]
    assert "provider" not in status


async def test_nothing_is_written_where_nothing_changed(bench: Bench) -> None:
    """A look that finds what the status says already is no write."""
    for name in ("one", "two"):
        bench.classes.put(class_(name))
    bench.writer.look()
    await bench.told(2)
    bench.gateways.append(gateway("a", "two"))
    bench.writer.look()
    await bench.told(3)
    assert [name for name, _ in bench.server.statuses[2:]] == ["two"]


async def test_many_objects_at_once_are_few_writes(bench: Bench) -> None:
    """Two hundred objects that come in one go are told in one write, or two."""
    bench.classes.put(class_())
    for number in range(200):
        found = gateway(f"g{number}", "standard")
        bench.gateways.append(found)
        bench.writer.gateway_changed(Change("ADDED", None, found, listed=False))
    await eventually(lambda: [s for _, s in bench.server.statuses if s["attachedGateways"] == 200])
    assert len(bench.server.statuses) <= 2


async def test_only_who_may_write_writes(bench: Bench) -> None:
    """A follower is silent; once it leads it tells what it did not tell before."""
    bench.leads = False
    bench.classes.put(class_())
    bench.writer.look()
    await asyncio.sleep(0)
    bench.leads = True
    assert bench.server.statuses == []
    bench.writer.look()
    assert len(await bench.told(1)) == 1


async def test_a_refused_write_is_tried_again(bench: Bench) -> None:
    """A right that comes later is used."""
    bench.server.refusals = [Forbidden("patch", "no right"), Forbidden("patch", "no right")]
    bench.classes.put(class_())
    bench.writer.look()
    assert len(await bench.told(1)) == 1
    assert bench.server.refusals == []


async def test_only_changes_of_use_are_looked_at(bench: Bench) -> None:
    """An edit of an object that stays with its class is not looked at; an object that leaves it is."""
    bench.classes.put(class_())
    bench.writer.look()
    await bench.told(1)
    # Whoever looked would tell of it.
    bench.gateways.append(gateway("a", "standard"))
    stays = Change("MODIFIED", gateway("a", "standard"), gateway("a", "standard", served_by="standard"), listed=False)
    bench.writer.gateway_changed(stays)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(bench.server.statuses) == 1
    bench.writer.gateway_changed(Change("DELETED", gateway("b", "standard"), None, listed=False))
    assert (await bench.told(2))[1][1]["attachedGateways"] == 1


def test_an_object_without_a_class_uses_none() -> None:
    """The built-in class is no object."""
    assert not class_used_by(gateway("c"))
