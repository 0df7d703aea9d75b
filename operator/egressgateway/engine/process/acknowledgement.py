"""
Asks the pods of gateways, after a change, whether their proxies have taken it.

istiod pushes a change when it can: seconds later under load, and never to a proxy that has lost it. Only the proxy
knows. Its page for Prometheus names the clusters that it has, and a new destination is a new cluster (`live.exits`). A
pod is asked from the change on until it has everything; at rest nobody is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import aiohttp

from egressgateway.cluster.background import Background, background
from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.cluster.turns import Turns
from egressgateway.engine.cache.references import pods_of
from egressgateway.engine.process.gateway_page import LARGEST_PAGE, asked_pods, pages_session, read_page
from egressgateway.errors import ClusterError, Throttled, Unavailable
from egressgateway.facts import Acknowledgement, Answers, PodFacts, PodSelection
from egressgateway.refs import POD, Key
from egressgateway.status.probe_result import PageReader

log = logging.getLogger(__name__)

_FILTER: Final = r"egress\.internal.*membership_total"
_WORD: Final = b"membership_total"
_LARGEST_OWN_PAGE: Final = 1 << 20
"""Bytes of the page of an own gateway's pod, which has the ways out of all gateways of its namespace."""

_LARGEST_LIST: Final = 8 << 20
"""Bytes of the pods of one gateway; more are not read."""

_TICK_SECONDS: Final = 0.2
_FIRST_WAIT: Final = 0.4
_LONGEST_WAIT: Final = 60.0
"""Seconds between two rounds of one object: twice as long each time, as a push takes less than a second as a rule."""

_PATIENCE_SECONDS: Final = 10.0
"""How long the first answers are waited for, however many objects are asked at once."""

_SLOW_SECONDS: Final = 1.0
"""A pod that takes longer to answer has its turns with the silent ones."""

_MOST_LISTED: Final = 200
"""Pods that run, of which the ready ones are asked first."""

MOST_SILENT_ROUNDS: Final = 3
"""Rounds after which pods that do not answer are given up: port 15090 may be closed to the operator."""

_LISTS_AT_ONCE: Final = 8

Exits = Mapping[str, frozenset[str]]
"""Clusters by section."""


@dataclass(slots=True)
class _Asked:
    """What one object's pods are asked for, and what they said last: by name their clusters, None for a silent pod."""

    pods: PodSelection
    ready: int
    exits: Exits
    since: float
    largest: int
    due: float = 0.0
    wait: float = _FIRST_WAIT
    silent_rounds: int = 0
    has: dict[str, frozenset[str] | None] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    said: Acknowledgement = field(default_factory=partial(Acknowledgement, Answers.AWAITED))

    @property
    def clusters(self) -> frozenset[str]:
        return frozenset[str]().union(*self.exits.values())

    @property
    def all_tell(self) -> bool:
        return bool(self.has) and None not in self.has.values()

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask: no pod lacks anything, and all have told, or some never do."""
        return not self.said.lacking and (self.all_tell or self.silent_rounds >= MOST_SILENT_ROUNDS)

    def judge(self, now: float) -> None:
        """Conclude from the last answers what the pods say."""
        telling = {name: has for name, has in sorted(self.has.items()) if has is not None}
        lacking = {
            section: name
            for section, clusters in self.exits.items()
            for name, has in reversed(telling.items())
            if not clusters <= has
        }
        given_up = self.silent_rounds >= MOST_SILENT_ROUNDS or now - self.since > _PATIENCE_SECONDS
        unknown = Answers.MISSING if given_up else Answers.AWAITED
        self.said = Acknowledgement(Answers.COMPLETE if self.all_tell else unknown, lacking)


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
        known, now = self._asked.get(key), _now()
        if known is None or known.pods != pods or known.ready < ready:
            # Pods that were not ready may have slept through a push.
            largest = _LARGEST_OWN_PAGE if pods.namespace == key.namespace else LARGEST_PAGE
            self._asked[key] = _Asked(pods, ready, exits, now, largest)
        elif (known.ready, known.exits) != (ready, exits):
            known.ready, known.exits, known.since, known.due = ready, exits, now, 0.0
            known.wait, known.silent_rounds = _FIRST_WAIT, 0
            known.judge(now)

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
        now, late = _now(), set[Key]()
        self._turns.keep(frozenset[str]().union(*(asked.addresses for asked in self._asked.values())))
        for key, asked in self._asked.items():
            if asked.said.answers is Answers.AWAITED and now - asked.since > _PATIENCE_SECONDS:
                asked.judge(now)
                late.add(key)
            if asked.due > now or key in self._rounds or asked.over:
                continue
            task = background(self._round(session, key, asked), f"acknowledgement of {key}")
            self._rounds[key] = task
            task.add_done_callback(partial(self._end_round, key, asked))
        if late:
            self._on_news(frozenset(late))

    def _end_round(self, key: Key, asked: _Asked, _: asyncio.Task[None]) -> None:
        del self._rounds[key]
        asked.due = _now() + asked.wait
        asked.wait = min(2 * asked.wait, _LONGEST_WAIT)

    async def _round(self, session: aiohttp.ClientSession, key: Key, asked: _Asked) -> None:
        try:
            pods = await self._ready_pods(asked.pods)
        except (Throttled, Unavailable):
            # The API server is silent, and not the pods: they are asked in the next round.
            return
        if pods is not None:
            asked.addresses = frozenset(pod.address for pod in pods)
            told = await asyncio.gather(*(self._ask(session, pod, asked) for pod in pods))
            asked.has = {pod.name: has for pod, has in zip(pods, told, strict=True)}
        asked.silent_rounds = 0 if pods is not None and asked.all_tell else asked.silent_rounds + 1
        before = asked.said
        asked.judge(_now())
        if asked.said != before and self._asked.get(key) is asked:
            self._on_news(frozenset({key}))

    async def _ready_pods(self, selection: PodSelection) -> tuple[PodFacts, ...] | None:
        """
        Pods that requests reach; None where they may not be listed.

        Raises:
            Throttled, Unavailable: the API server does not answer now.
        """
        labels = ",".join(f"{name}={value}" for name, value in selection.labels)
        request = list_objects(
            POD,
            selection.namespace or None,
            label_selector=labels,
            field_selector="status.phase=Running",
            limit=_MOST_LISTED,
        )
        try:
            async with self._lists:
                answer = await self._client.send(replace(request, largest_answer=_LARGEST_LIST))
        except ClusterError as error:
            fields = {"namespace": selection.namespace, "error": str(error)}
            log.debug("Pods of a gateway were not listed", extra={"fields": fields})
            if isinstance(error, Throttled | Unavailable):
                raise
            return None
        found = pods_of((answer or {}).get("items") or ())
        return asked_pods(pod for pod in found if pod.ready)

    async def _ask(self, session: aiohttp.ClientSession, pod: PodFacts, asked: _Asked) -> frozenset[str] | None:
        """Which of the clusters a pod has; None where it does not say."""
        reader = PageReader(asked.clusters)
        async with self._turns.place(pod.address):
            began = _now()
            answered = await read_page(session, pod, _FILTER, reader.feed, largest=asked.largest, word=_WORD)
            quick = _now() - began < _SLOW_SECONDS
        self._turns.record_answer(pod.address, answered=answered and quick)
        return frozenset(reader.readings()) if answered and reader.private else None


def _now() -> float:
    return asyncio.get_running_loop().time()
