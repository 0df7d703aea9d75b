"""
Asks the pods of gateways, after a change, whether their proxies have taken it.

istiod pushes a change when it can: seconds later under load, and never to a proxy that has lost it. Only the proxy
knows. Its page for Prometheus names the clusters that it has, and a new destination is a new cluster (`live.exits`);
and it counts the Secrets that istiod gave it (`live.received`), which the operator may not read as a rule. A pod is
asked from the change on until it has everything; at rest nobody is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp

from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.cluster.turns import Turns
from egressgateway.engine.cache.references import pods_of
from egressgateway.engine.process.gateway_page import LARGEST_PAGE, asked_pods, read_page
from egressgateway.engine.process.rounds import Rounds
from egressgateway.errors import ClusterError
from egressgateway.facts import Acknowledgement, Answers, PodFacts, PodSelection, Receipt
from egressgateway.live.received import COUNTERS, WORD, ReceivedSecrets
from egressgateway.refs import POD, Key
from egressgateway.status.probe_result import PageReader

log = logging.getLogger(__name__)

_FILTER: Final = rf"egress\.internal.*membership_total|{COUNTERS}"
_WORDS: Final = (b"membership_total", WORD)
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
"""
How long the first answers are waited for, however many objects are asked at once; and how long a proxy may have waited
for a Secret before it is said to lack it.
"""

_SECOND_LOOK_SECONDS: Final = 300.0
"""After which pods that did not tell are asked once more, by a pass that comes anyway: every ten minutes, at rest."""

_SLOW_SECONDS: Final = 1.0
"""A pod that takes longer to answer has its turns with the silent ones."""

_MOST_LISTED: Final = 200
"""Pods that run, of which the ready ones are asked first."""

MOST_SILENT_ROUNDS: Final = 3
"""Rounds after which pods that do not answer are given up: port 15090 may be closed to the operator."""

_LISTS_AT_ONCE: Final = 8

Exits = Mapping[str, frozenset[str]]
"""Clusters by section."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a pod's proxy has of what it is asked for; `secrets` without those of which it does not tell."""

    clusters: frozenset[str]
    secrets: Mapping[str, bool]


@dataclass(slots=True)
class _Asked:
    """What one object's pods are asked for, and what they said last: `told` by pod, None for one that is silent."""

    pods: PodSelection
    ready: int
    exits: Exits
    secrets: frozenset[str]
    largest: int
    wait: float = _FIRST_WAIT
    late: bool = False
    """The first answers were waited for in vain, or a push has had its time."""
    silent_rounds: int = 0
    told: dict[str, _Told | None] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    asked_at: float = 0.0
    said: Acknowledgement = field(init=False)

    def __post_init__(self) -> None:
        self.judge()

    @property
    def clusters(self) -> frozenset[str]:
        return frozenset[str]().union(*self.exits.values())

    @property
    def all_tell(self) -> bool:
        """Whether every pod says which ways out it has."""
        return bool(self.told) and None not in self.told.values()

    @property
    def all_told(self) -> bool:
        """Whether every pod says it of the Secrets as well."""
        return self.all_tell and all(
            told is not None and self.secrets <= told.secrets.keys() for told in self.told.values()
        )

    @property
    def given_up(self) -> bool:
        return self.silent_rounds >= MOST_SILENT_ROUNDS

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask: no pod lacks anything, and all have told, or some never do."""
        lacks = self.said.lacking or any(False in told.secrets.values() for told in self._telling.values())
        return not lacks and (self.all_told or self.given_up)

    def anew(self, ready: int, exits: Exits, secrets: frozenset[str]) -> _Asked:
        """Asked for something else, which is judged by the last answers until there are others."""
        return _Asked(self.pods, ready, exits, secrets, self.largest, told=self.told, addresses=self.addresses)

    def judge(self) -> None:
        """Conclude from the last answers what the pods say."""
        telling = self._telling
        lacking = {
            section: name
            for section, clusters in self.exits.items()
            for name, told in reversed(telling.items())
            if not clusters <= told.clusters
        }
        unknown = Answers.MISSING if self.late or self.given_up else Answers.AWAITED
        answers = Answers.COMPLETE if self.all_tell else unknown
        self.said = Acknowledgement(answers, lacking, {name: self._receipt_of(name) for name in self.secrets})

    def _receipt_of(self, secret: str) -> Receipt:
        told = [found.secrets.get(secret) for found in self._telling.values()]
        if False in told:
            return Receipt.LACKING if self.late else Receipt.AWAITED
        if self.all_tell and None not in told:
            return Receipt.RECEIVED
        return Receipt.UNTOLD if self.late or self.given_up else Receipt.AWAITED

    @property
    def _telling(self) -> dict[str, _Told]:
        return {name: told for name, told in sorted(self.told.items()) if told is not None}


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

    def want(
        self, key: Key, pods: PodSelection, ready: int, exits: Exits, secrets: frozenset[str] = frozenset()
    ) -> None:
        """
        From now on these pods, `ready` of them, are asked whether they have `exits`, and `secrets` by their names at
        istiod; nothing of either ends it.
        """
        known = self._asked.get(key)
        if not exits and not secrets:
            self._forget(key, known)
        elif known is None or known.pods != pods or known.ready < ready:
            # Pods that were not ready may have slept through a push.
            largest = _LARGEST_OWN_PAGE if pods.namespace == key.namespace else LARGEST_PAGE
            self._begin(key, _Asked(pods, ready, exits, secrets, largest))
        elif (known.ready, known.exits, known.secrets) != (ready, exits, secrets):
            self._begin(key, known.anew(ready, exits, secrets))
        elif known.given_up and _now() - known.asked_at >= _SECOND_LOOK_SECONDS:
            self._rounds.due(key)

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
            asked.told = {pod.name: each for pod, each in zip(pods, told, strict=True)}
            self._turns.forget(before - asked.addresses)
        asked.asked_at = _now()
        asked.silent_rounds = 0 if pods is not None and asked.all_told else asked.silent_rounds + 1
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

    async def _ask(self, session: aiohttp.ClientSession, pod: PodFacts, asked: _Asked) -> _Told | None:
        """What a pod has; None where it does not say."""
        clusters, secrets = PageReader(asked.clusters), ReceivedSecrets(asked.secrets)

        def feed(line: str) -> None:
            clusters.feed(line)
            secrets.feed(line)

        async with self._turns.place(pod.address):
            began = _now()
            answered = await read_page(session, pod, _FILTER, feed, largest=asked.largest, words=_WORDS)
            quick = _now() - began < _SLOW_SECONDS
        self._turns.record_answer(pod.address, answered=answered and quick)
        told = _Told(frozenset(clusters.readings()), secrets.received())
        return told if answered and (clusters.private or told.secrets) else None


def next_wait(wait: float, waiting: int) -> float:
    """Seconds to wait after a wait of so many, where so many objects are asked again and again."""
    return min(2 * wait, max(_LONGEST_WAIT, waiting / _MOST_ROUNDS))


def _now() -> float:
    return asyncio.get_running_loop().time()
