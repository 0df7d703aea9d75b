"""
Reads the results of probes from gateway pods at intervals, for each object that has probes.

The pods probe on their own; this only reads the results, from Envoy's page for Prometheus. What a pod does not report
is unknown, and never an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from egressgateway.cluster.turns import Turns
from egressgateway.engine.process.gateway_page import LARGEST_PAGE, asked_pods, read_page
from egressgateway.engine.process.rounds import Rounds
from egressgateway.facts import PodFacts, Reached
from egressgateway.plan.gateway.probing import ProbedWay, Probing
from egressgateway.refs import Key
from egressgateway.status.probe_result import Observation, PageReader, Reading, evaluate, reached

_FILTER: Final = r"egress\.internal"
_SHORTEST_PERIOD: Final = 2.0
_LONGEST_PERIOD: Final = 15.0
_PAGE_OF_A_WAY: Final = 32 << 10
"""Bytes of a page for each hop that is probed: twice what Envoy writes for one."""

Observations = Mapping[str, Observation]
Ways = Mapping[str, ProbedWay]
"""By the name of their Envoy cluster."""

Readings = Mapping[str, Reading]
"""What a pod's page says, by the same names."""


@dataclass(slots=True)
class _Watched:
    """One object's probes and pods, and the last results; `pods` by name, None for those that did not answer."""

    probing: Probing
    pods: tuple[PodFacts, ...]
    observations: dict[str, Observations | None] = field(default_factory=dict)
    reached: dict[str, Reached] = field(default_factory=dict)


class ProbeReader:
    """Reads the results of probes, while some object wants them."""

    def __init__(self, on_news: Callable[[frozenset[Key]], None], *, proxy: str = "") -> None:
        """`on_news` is called with the keys of objects whose results changed; `proxy`: of `gateway_page`."""
        self._on_news = on_news
        self._watched: dict[Key, _Watched] = {}
        self._turns = Turns()
        self._rounds = Rounds(self._round, self._pause, "probes", proxy=proxy)
        self.task = self._rounds.task

    def want(self, key: Key, probing: Probing | None, pods: tuple[PodFacts, ...]) -> None:
        """From now on these pods are asked for `key`; None ends it."""
        known = self._watched.get(key)
        if probing is None:
            self._forget(key, known)
            return
        asked = asked_pods(pods)
        if known is None or known.probing != probing:
            self._watched[key] = _Watched(probing, asked)
        elif known.pods != asked:
            # A pod that has changed counts as never asked; one that is gone is not remembered.
            self._turns.forget(_addresses(set(asked) ^ set(known.pods)))
            known.pods = asked
        else:
            return
        self._rounds.due(key)

    def _forget(self, key: Key, known: _Watched | None) -> None:
        if known is not None:
            del self._watched[key]
            self._rounds.drop(key)
            self._turns.forget(_addresses(known.pods))

    def release_all(self) -> None:
        """This replica no longer reconciles."""
        for key, known in tuple(self._watched.items()):
            self._forget(key, known)

    def reached(self, key: Key) -> Mapping[str, Reached]:
        """By destination the known result; empty before the first answer."""
        watched = self._watched.get(key)
        return dict(watched.reached) if watched is not None else {}

    def _pause(self, key: Key) -> float | None:
        watched = self._watched.get(key)
        return None if watched is None else min(max(watched.probing.period_seconds, _SHORTEST_PERIOD), _LONGEST_PERIOD)

    async def _round(self, session: aiohttp.ClientSession, key: Key) -> None:
        watched = self._watched.get(key)
        if watched is None:
            return
        asked, news = watched.pods, await self._read(session, watched)
        now = self._watched.get(key)
        self._turns.forget(_addresses(asked) - _addresses(now.pods if now is not None else ()))
        if news and now is watched:
            self._on_news(frozenset({key}))

    async def _read(self, session: aiohttp.ClientSession, watched: _Watched) -> bool:
        """Ask every pod of one object. Returns whether anything changed."""
        probing, pods = watched.probing, watched.pods
        ways = {way.cluster: way for listed in probing.ways.values() for way in listed}
        # A pod that was silent and is not asked this time stays unknown.
        found_by = await asyncio.gather(
            *(self._take_turn(session, pod, ways) if self._turns.is_due(pod.address) else _nothing() for pod in pods)
        )
        watched.observations = {
            pod.name: None if readings is None else _observations(readings, ways, watched.observations.get(pod.name))
            for pod, readings in zip(pods, found_by, strict=True)
        }
        found = {
            name: reached(listed, [_of(listed, observations) for observations in watched.observations.values()])
            for name, listed in probing.ways.items()
        }
        news, watched.reached = found != watched.reached, found
        return news

    async def _take_turn(self, session: aiohttp.ClientSession, pod: PodFacts, ways: Ways) -> Readings | None:
        async with self._turns.place(pod.address):
            told = await self._ask(session, pod, ways)
        self._turns.record_answer(pod.address, answered=told is not None)
        return told

    async def _ask(self, session: aiohttp.ClientSession, pod: PodFacts, ways: Ways) -> Readings | None:
        reader, largest = PageReader(ways), min(LARGEST_PAGE, _PAGE_OF_A_WAY * (1 + len(ways)))
        answered = await read_page(session, pod, _FILTER, reader.feed, largest=largest)
        return reader.readings() if answered else None


def _addresses(pods: Iterable[PodFacts]) -> frozenset[str]:
    return frozenset(pod.address for pod in pods)


async def _nothing() -> None:
    """For a pod that is not asked."""


def _observations(
    found: Mapping[str, Reading], ways: Mapping[str, ProbedWay], before: Observations | None
) -> Observations:
    return {
        cluster: evaluate((before or {}).get(cluster), reading, ways[cluster]) for cluster, reading in found.items()
    }


def _of(ways: tuple[ProbedWay, ...], observations: Observations | None) -> Observations | None:
    """What a pod sees of one destination."""
    if observations is None:
        return None
    return {way.cluster: observations[way.cluster] for way in ways if way.cluster in observations}
