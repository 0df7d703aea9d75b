"""
Asks the pods of gateways, after a change, whether their proxies have taken it.

istiod pushes a change when it can: seconds later under load, and never to a proxy that has lost it. Only the proxy
knows. Its page for Prometheus names the clusters that it has, and a new destination is a new cluster (`live.exits`). A
pod is asked from the change on until it has everything; at rest nobody is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import aiohttp

from egressgateway.cluster.background import Background, background
from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.cluster.turns import Turns
from egressgateway.engine.cache.references import pods_of
from egressgateway.engine.process.gateway_page import LARGEST_PAGE, MOST_PODS, asked_pods, pages_session, read_page
from egressgateway.errors import ClusterError
from egressgateway.facts import Acknowledgement, PodFacts, PodSelection
from egressgateway.refs import POD, Key
from egressgateway.status.probe_result import PageReader

log = logging.getLogger(__name__)

_FILTER: Final = r"egress\.internal.*membership_total"
_LARGEST_LIST: Final = 8 << 20
"""Bytes of the pods of one gateway; more are not read."""

_TICK_SECONDS: Final = 0.2
_FIRST_WAIT: Final = 0.4
_LONGEST_WAIT: Final = 15.0
"""Seconds between two rounds of one object: twice as long each time, as a push takes less than a second as a rule."""

MOST_SILENT_ROUNDS: Final = 6
"""Rounds without any answer, about 12 seconds, after which it is given up: port 15090 may be closed to the operator."""

_LISTS_AT_ONCE: Final = 8

Exits = Mapping[str, frozenset[str]]
"""Clusters by section."""


@dataclass(slots=True)
class _Asked:
    """What one object's pods are asked for, and what they said last: by name their clusters, None for a silent pod."""

    pods: PodSelection
    ready: int
    exits: Exits
    due: float = 0.0
    wait: float = _FIRST_WAIT
    silent_rounds: int = 0
    has: dict[str, frozenset[str] | None] = field(default_factory=dict)
    said: Acknowledgement = field(default_factory=partial(Acknowledgement, told=False))

    @property
    def clusters(self) -> frozenset[str]:
        return frozenset[str]().union(*self.exits.values())

    @property
    def complete(self) -> bool:
        """Whether nothing is left to ask: every pod that tells has everything, or none has told for long."""
        return (bool(self.said.told) and not self.said.lacking) or self.silent_rounds >= MOST_SILENT_ROUNDS


class AcknowledgementReader:
    """Knows what the gateways' pods have taken, while keys want to know; see the module."""

    def __init__(self, client: ApiCaller, on_news: Callable[[frozenset[Key]], None], *, proxy: str = "") -> None:
        """`on_news` is called with the keys whose pods say something else than before; `proxy`: of `gateway_page`."""
        self._client = client
        self._proxy = proxy
        self._on_news = on_news
        self._asked: dict[Key, _Asked] = {}
        self._turns = Turns()
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._rounds: dict[Key, asyncio.Task[None]] = {}
        self.task = Background(self._run, "acknowledgements")

    def want(self, key: Key, pods: PodSelection, ready: int, exits: Exits) -> None:
        """From now on these pods, `ready` of them, are asked whether they have `exits`; no exits end it."""
        if not exits:
            self._asked.pop(key, None)
            return
        known = self._asked.get(key)
        if known is None or known.pods != pods:
            self._asked[key] = _Asked(pods, ready, exits)
        elif (known.ready, known.exits) != (ready, exits):
            known.ready, known.exits, known.due, known.wait, known.silent_rounds = ready, exits, 0.0, _FIRST_WAIT, 0
            known.said = _judge(known)

    def said(self, key: Key) -> Acknowledgement:
        """What the pods said last of what is wanted now."""
        asked = self._asked.get(key)
        return asked.said if asked is not None else Acknowledgement()

    def release_all(self) -> None:
        """This replica no longer reconciles."""
        self._asked.clear()

    async def _run(self) -> None:
        """Each object's round is a task of its own: it waits for its own pods only."""
        async with pages_session(self._proxy) as session:
            try:
                while True:
                    self._begin_rounds(session)
                    await asyncio.sleep(_TICK_SECONDS)
            finally:
                rounds = tuple(self._rounds.values())
                for task in rounds:
                    task.cancel()
                await asyncio.gather(*rounds, return_exceptions=True)

    def _begin_rounds(self, session: aiohttp.ClientSession) -> None:
        now = asyncio.get_running_loop().time()
        for key, asked in self._asked.items():
            if asked.due > now or key in self._rounds or asked.complete:
                continue
            task = background(self._round(session, key, asked), f"acknowledgement of {key}")
            self._rounds[key] = task
            task.add_done_callback(partial(self._end_round, key, asked))

    def _end_round(self, key: Key, asked: _Asked, _: asyncio.Task[None]) -> None:
        del self._rounds[key]
        asked.due = asyncio.get_running_loop().time() + asked.wait
        asked.wait = min(2 * asked.wait, _LONGEST_WAIT)

    async def _round(self, session: aiohttp.ClientSession, key: Key, asked: _Asked) -> None:
        pods = await self._ready_pods(asked.pods)
        if pods is None:
            return
        clusters = asked.clusters
        told = await asyncio.gather(*(self._ask(session, pod, clusters) for pod in pods))
        asked.has = {pod.name: has for pod, has in zip(pods, told, strict=True)}
        before, asked.said = asked.said, _judge(asked)
        asked.silent_rounds = 0 if asked.said.told else asked.silent_rounds + 1
        if asked.said != before and self._asked.get(key) is asked:
            self._on_news(frozenset({key}))

    async def _ready_pods(self, selection: PodSelection) -> tuple[PodFacts, ...] | None:
        """Pods that requests reach; None where they could not be listed."""
        labels = ",".join(f"{name}={value}" for name, value in selection.labels)
        request = list_objects(POD, selection.namespace or None, label_selector=labels, limit=MOST_PODS)
        try:
            async with self._lists:
                answer = await self._client.send(replace(request, largest_answer=_LARGEST_LIST))
        except ClusterError as error:
            fields = {"namespace": selection.namespace, "error": str(error)}
            log.debug("Pods of a gateway were not listed", extra={"fields": fields})
            return None
        return tuple(pod for pod in asked_pods(pods_of((answer or {}).get("items") or ())) if pod.ready)

    async def _ask(self, session: aiohttp.ClientSession, pod: PodFacts, clusters: Set[str]) -> frozenset[str] | None:
        """Which of `clusters` a pod has; None where it does not say."""
        reader = PageReader(clusters)
        async with self._turns.place(pod.address):
            # A pod that serves many objects has the clusters of all.
            answered = await read_page(session, pod, _FILTER, reader.feed, largest=LARGEST_PAGE)
        self._turns.record_answer(pod.address, answered=answered)
        return frozenset(reader.readings()) if answered and reader.private else None


def _judge(asked: _Asked) -> Acknowledgement:
    telling = {name: has for name, has in sorted(asked.has.items()) if has is not None}
    lacking = {
        section: name
        for section, clusters in asked.exits.items()
        for name, has in reversed(telling.items())
        if not clusters <= has
    }
    return Acknowledgement(bool(telling), lacking)
