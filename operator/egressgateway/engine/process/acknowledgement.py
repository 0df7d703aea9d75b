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

from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.cluster.turns import Turns
from egressgateway.engine.cache.references import pods_of
from egressgateway.engine.process.gateway_page import LARGEST_PAGE, asked_pods, read_page
from egressgateway.engine.process.rounds import Rounds
from egressgateway.errors import ClusterError
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

_FIRST_WAIT: Final = 0.4
_LONGEST_WAIT: Final = 10.0
"""
Seconds between two rounds of one object: twice as long each time, as a push takes less than a second as a rule, and in
the end as long as new clients may wait for nothing.
"""

_MOST_ROUNDS: Final = 20
"""Rounds a second of objects that have been asked for long, all together: each lists pods at the API server."""

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
    largest: int
    wait: float = _FIRST_WAIT
    late: bool = False
    """The first answers were waited for in vain."""
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

    def judge(self) -> None:
        """Conclude from the last answers what the pods say."""
        telling = {name: has for name, has in sorted(self.has.items()) if has is not None}
        lacking = {
            section: name
            for section, clusters in self.exits.items()
            for name, has in reversed(telling.items())
            if not clusters <= has
        }
        given_up = self.late or self.silent_rounds >= MOST_SILENT_ROUNDS
        unknown = Answers.MISSING if given_up else Answers.AWAITED
        self.said = Acknowledgement(Answers.COMPLETE if self.all_tell else unknown, lacking)


class AcknowledgementReader:
    """Knows what the gateways' pods have taken, while keys want to know; see the module."""

    def __init__(self, client: ApiCaller, on_news: Callable[[frozenset[Key]], None], *, proxy: str = "") -> None:
        """`on_news` is called with the keys whose pods say something else than before; `proxy`: of `gateway_page`."""
        self._client = client
        self._on_news = on_news
        self._asked: dict[Key, _Asked] = {}
        self._turns = Turns()
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._rounds = Rounds(self._round, self._pause, "acknowledgements", proxy=proxy)
        self.task = self._rounds.task

    def want(self, key: Key, pods: PodSelection, ready: int, exits: Exits) -> None:
        """From now on these pods, `ready` of them, are asked whether they have `exits`; no exits end it."""
        known = self._asked.get(key)
        if not exits:
            self._forget(key, known)
        elif known is None or known.pods != pods or known.ready < ready:
            # Pods that were not ready may have slept through a push.
            largest = _LARGEST_OWN_PAGE if pods.namespace == key.namespace else LARGEST_PAGE
            self._begin(key, _Asked(pods, ready, exits, largest))
        elif (known.ready, known.exits) != (ready, exits):
            asked = replace(known, ready=ready, exits=exits, wait=_FIRST_WAIT, late=False, silent_rounds=0)
            asked.judge()
            self._begin(key, asked)

    def said(self, key: Key) -> Acknowledgement:
        """What the pods said last of what is wanted now."""
        asked = self._asked.get(key)
        return asked.said if asked is not None else Acknowledgement()

    def release_all(self) -> None:
        """This replica no longer reconciles."""
        for key, asked in tuple(self._asked.items()):
            self._forget(key, asked)

    def _begin(self, key: Key, asked: _Asked) -> None:
        self._asked[key] = asked
        self._rounds.due(key)
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._lose_patience, key, asked)

    def _forget(self, key: Key, asked: _Asked | None) -> None:
        if asked is not None:
            del self._asked[key]
            self._rounds.drop(key)
            self._turns.forget(asked.addresses)

    def _lose_patience(self, key: Key, asked: _Asked) -> None:
        asked.late = True
        self._judge(key, asked)

    def _judge(self, key: Key, asked: _Asked) -> None:
        before = asked.said
        asked.judge()
        if asked.said != before and self._asked.get(key) is asked:
            self._on_news(frozenset({key}))

    def _pause(self, key: Key) -> float | None:
        asked = self._asked.get(key)
        if asked is None or asked.over:
            return None
        wait, asked.wait = asked.wait, next_wait(asked.wait, self._rounds.waiting)
        return wait

    async def _round(self, session: aiohttp.ClientSession, key: Key) -> None:
        asked = self._asked.get(key)
        if asked is None:
            return
        pods = await self._ready_pods(asked.pods)
        if pods is not None:
            before, asked.addresses = asked.addresses, frozenset(pod.address for pod in pods)
            told = await asyncio.gather(*(self._ask(session, pod, asked) for pod in pods))
            asked.has = {pod.name: has for pod, has in zip(pods, told, strict=True)}
            self._turns.forget(before - asked.addresses)
        asked.silent_rounds = 0 if pods is not None and asked.all_tell else asked.silent_rounds + 1
        self._judge(key, asked)
        if key not in self._asked:
            self._turns.forget(asked.addresses)

    async def _ready_pods(self, selection: PodSelection) -> tuple[PodFacts, ...] | None:
        """Pods that requests reach; None where they could not be listed."""
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


def next_wait(wait: float, waiting: int) -> float:
    """Seconds to wait after a wait of so many, where so many objects are asked again and again."""
    return min(2 * wait, max(_LONGEST_WAIT, waiting / _MOST_ROUNDS))


def _now() -> float:
    return asyncio.get_running_loop().time()
