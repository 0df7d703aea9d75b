"""Pods of consumer namespaces are counted at intervals, a few namespaces at a time, and only news is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from egressgateway.cluster.request import Request
from egressgateway.engine.process import client_census
from egressgateway.engine.process.client_census import (
    MOST_NAMESPACES,
    NAMESPACES_PER_ROUND,
    PATIENT_ROUNDS,
    ClientCensus,
    count,
)
from egressgateway.errors import ClusterError, Forbidden, Unavailable
from egressgateway.facts import ClientPods
from egressgateway.refs import Key, Manifest

ME, OTHER = Key("shop", "partners"), Key("shop", "other")


def pod(*containers: str, phase: str = "Running", annotations: dict[str, str] | None = None, **spec: Any) -> Manifest:
    return {
        "metadata": {"name": "a", "annotations": annotations},
        "spec": {"containers": [{"name": name} for name in containers], **spec},
        "status": {"phase": phase},
    }


SIDECAR = pod("app", "istio-proxy")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (SIDECAR, ClientPods(in_mesh=1)),
        (pod("app", initContainers=[{"name": "istio-init"}, {"name": "istio-proxy"}]), ClientPods(in_mesh=1)),
        (pod("app"), ClientPods(outside=1)),
        (pod("app", "istio-proxy", hostNetwork=True), ClientPods(outside=1)),
        (
            pod("app", "istio-proxy", annotations={"traffic.sidecar.istio.io/excludeOutboundIPRanges": "0.0.0.0/0"}),
            ClientPods(outside=1),
        ),
        (pod("app", annotations={"ambient.istio.io/redirection": "enabled"}), ClientPods(ambient=1)),
        (pod("istio-proxy"), ClientPods()),
        (pod("app", phase="Succeeded"), ClientPods()),
    ],
    ids=["sidecar", "native-sidecar", "none", "host-network", "excluded", "ambient", "gateway", "ended"],
)
def test_what_takes_a_pods_calls(found: Manifest, expected: ClientPods) -> None:
    assert count([found]) == expected


class Pods:
    """An API server that has these pods, by namespace, or refuses to list them."""

    def __init__(self) -> None:
        self.by_namespace: dict[str, list[Manifest] | ClusterError] = {}
        self.asked: list[str] = []

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        namespace = request.target.split("/")[4]
        self.asked.append(namespace)
        found = self.by_namespace.get(namespace, [])
        if isinstance(found, ClusterError):
            raise found
        return {"items": found}


class Counted:
    """A census, what it told, and a clock that the test moves."""

    def __init__(self) -> None:
        self.pods = Pods()
        self.told: list[frozenset[Key]] = []
        self.census = ClientCensus(self.pods, self.told.append)

    async def round(self) -> None:
        await self.census._round()

    async def wait_for_first_counts(self) -> None:
        """Nobody reads them by itself."""
        for _ in range(PATIENT_ROUNDS + 1):
            await self.round()

    def make_due(self) -> None:
        for namespace in self.census._due:
            self.census._due[namespace] = 0.0


@pytest.fixture
def it() -> Counted:
    return Counted()


async def test_news_are_told_once(it: Counted) -> None:
    it.pods.by_namespace["shop"] = [SIDECAR]
    it.census.want(ME, {"shop"})
    await it.round()
    await it.wait_for_first_counts()
    assert it.told == [frozenset({ME})]
    assert it.census.counted(ME) == {"shop": ClientPods(in_mesh=1)}
    it.pods.by_namespace["shop"] = [SIDECAR, SIDECAR]
    it.make_due()
    await it.round()
    assert it.told == [frozenset({ME})]
    assert it.census.counted(ME) == {"shop": ClientPods(in_mesh=2)}
    it.pods.by_namespace["shop"] = [pod("app")]
    it.make_due()
    await it.round()
    assert it.told == [frozenset({ME})] * 2


async def test_nothing_is_known_before_every_namespace_was_looked_at(it: Counted) -> None:
    assert it.census.counted(ME) is None
    it.census.want(ME, {"shop"})
    assert it.census.counted(ME) is None
    await it.round()
    assert it.census.counted(ME) == {"shop": ClientPods()}
    it.census.want(ME, {"shop", "billing"})
    assert it.census.counted(ME) is None
    await it.round()
    assert it.census.counted(ME) == {"shop": ClientPods(), "billing": ClientPods()}


async def test_a_pass_that_comes_anyway_reads_the_first_count(it: Counted) -> None:
    it.census.want(ME, {"shop"})
    it.census.want(OTHER, {"shop"})
    await it.round()
    assert it.census.counted(ME) is not None
    await it.wait_for_first_counts()
    await it.wait_for_first_counts()
    assert it.told == [frozenset({OTHER})]


async def test_news_of_some_namespaces_alone_wake_nobody(it: Counted) -> None:
    """An object with many consumer namespaces is told once, when all of them have been looked at."""
    namespaces = {f"n{number:02}" for number in range(NAMESPACES_PER_ROUND + 1)}
    it.census.want(ME, namespaces)
    await it.round()
    it.pods.by_namespace["n00"] = [SIDECAR]
    it.census._due["n00"] = -1.0
    it.census._due["n16"] = 10**9
    for _ in range(PATIENT_ROUNDS + 2):
        await it.round()
    assert it.told == []
    it.census._due["n16"] = 0.0
    await it.round()
    await it.wait_for_first_counts()
    assert it.told == [frozenset({ME})]


async def test_namespace_is_not_counted_before_it_is_due(it: Counted) -> None:
    it.pods.by_namespace["shop"] = [SIDECAR]
    it.census.want(ME, {"shop"})
    for _ in range(3):
        await it.round()
    assert it.pods.asked == ["shop"]


async def test_namespace_that_several_want_is_counted_once(it: Counted) -> None:
    it.census.want(ME, {"shop"})
    it.census.want(OTHER, {"shop"})
    await it.round()
    assert it.pods.asked == ["shop"]
    await it.wait_for_first_counts()
    assert it.told == [frozenset({ME, OTHER})]


async def test_nothing_is_kept_of_what_nobody_wants(it: Counted) -> None:
    it.census.want(ME, {"shop"})
    await it.round()
    it.census.want(ME, frozenset())
    assert it.census.counted(ME) == {}
    it.census.forget(ME)
    assert it.census.counted(ME) is None
    assert it.census._due == {}


async def test_number_of_lists_is_bounded(it: Counted) -> None:
    """Of one object's namespaces, and of a round's."""
    it.census.want(ME, {f"n{number}" for number in range(MOST_NAMESPACES + 5)})
    await it.round()
    assert len(it.pods.asked) == NAMESPACES_PER_ROUND
    for _ in range(MOST_NAMESPACES):
        await it.round()
    assert len(it.pods.asked) == MOST_NAMESPACES


async def test_what_may_not_be_read_is_unknown(it: Counted) -> None:
    it.pods.by_namespace["shop"] = [SIDECAR]
    it.census.want(ME, {"shop"})
    await it.round()
    assert it.census.counted(ME)
    it.pods.by_namespace["shop"] = Forbidden("list pods", "no right", code=403, reason="Forbidden")
    it.make_due()
    await it.round()
    assert it.census.counted(ME) == {}
    assert len(it.told) == 1


async def test_server_in_trouble_changes_nothing(it: Counted) -> None:
    it.pods.by_namespace["shop"] = [SIDECAR]
    it.census.want(ME, {"shop"})
    await it.round()
    it.pods.by_namespace["shop"] = Unavailable("list pods", "down")
    it.make_due()
    await it.round()
    assert it.census.counted(ME) == {"shop": ClientPods(in_mesh=1)}
    await it.wait_for_first_counts()
    assert it.told == []


async def test_it_runs_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_census, "ROUND_SECONDS", 0.0)
    told = asyncio.Event()
    census = ClientCensus(Pods(), lambda _: told.set())
    census.want(ME, {"shop"})
    census.task.start()
    await asyncio.wait_for(told.wait(), 30)
    assert not census.task.ended
    await census.task.stop()
    assert census.task.ended
