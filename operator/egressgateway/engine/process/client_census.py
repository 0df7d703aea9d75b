"""
Counts the pods of consumer namespaces, in the mesh and outside of it, while some object serves them.

A route steers nobody whose calls no sidecar takes. A watch of all pods would cost as much as the cluster is large, and
what matters changes seldom, so each namespace is counted at intervals: one page of pods, a few namespaces a second in
all. A namespace in which no pod is in the mesh is counted more often, so that the status follows what its owner mends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from typing import Final

from egressgateway.cluster.background import Background
from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.errors import ClusterError, Forbidden, TooLarge
from egressgateway.facts import ClientPods
from egressgateway.live.pods import ENDED, is_ambient, is_in_mesh, is_only_proxy
from egressgateway.refs import POD, Key, Manifest

log = logging.getLogger(__name__)

MOST_PODS: Final = 100
"""Pods that are counted in one namespace: enough to tell whether a sidecar takes calls there."""

_LARGEST_PAGE: Final = 8 << 20
"""Bytes. A hundred usual pods have one megabyte; a namespace with larger ones stays uncounted."""

NAMESPACES_PER_ROUND: Final = 16
ROUND_SECONDS: Final = 1.0
SETTLED_SECONDS: Final = 60.0
"""Between two counts of a namespace with pods in the mesh, without any pods, or that may not be read."""

UNSETTLED_SECONDS: Final = 5.0
"""Between two counts of a namespace with pods, and none in the mesh."""

MOST_NAMESPACES: Final = 64
"""Namespaces of one object that are counted: others wait for their turn behind them."""


PATIENT_ROUNDS: Final = 4
"""
Rounds for which a first count waits for a pass that comes anyway and reads it: until pods are ready, or proxies have
been told of a route, it decides nothing.
"""


class ClientCensus:
    """Knows the pods of the namespaces that keys want; see the module."""

    def __init__(self, client: ApiCaller, on_news: Callable[[frozenset[Key]], None]) -> None:
        """`on_news` is called with the keys whose consumers' pods are other ones than before."""
        self._client = client
        self._on_news = on_news
        self._wants: dict[Key, frozenset[str]] = {}
        self._wanted_by: dict[str, set[Key]] = {}
        # None where the pods may not be read; no entry before the first look.
        self._known: dict[str, ClientPods | None] = {}
        self._due: dict[str, float] = {}
        # Keys whose namespaces have all been counted for the first time, with the rounds that are left until they are
        # told.
        self._unread: dict[Key, int] = {}
        self.task = Background(self._run, "client census")

    def want(self, key: Key, namespaces: Set[str]) -> None:
        """From now on the pods of these namespaces matter to `key`, and of no others."""
        before = self._wants.get(key, frozenset())
        namespaces = frozenset(sorted(namespaces)[:MOST_NAMESPACES])
        if key in self._wants and namespaces == before:
            return
        for namespace in namespaces - before:
            self._wanted_by.setdefault(namespace, set()).add(key)
            self._due.setdefault(namespace, 0.0)
        for namespace in before - namespaces:
            keys = self._wanted_by[namespace]
            keys.discard(key)
            if not keys:
                del self._wanted_by[namespace], self._due[namespace]
                self._known.pop(namespace, None)
        self._wants[key] = namespaces

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is gone."""
        self.want(key, frozenset())
        self._wants.pop(key, None)
        self._unread.pop(key, None)

    def release_all(self) -> None:
        """This replica no longer reconciles."""
        for counted in (self._wants, self._wanted_by, self._known, self._due, self._unread):
            counted.clear()

    def counted(self, key: Key) -> Mapping[str, ClientPods] | None:
        """The pods of each namespace that `key` wants, as far as they may be read; None before each was looked at."""
        wanted = self._wants.get(key)
        if wanted is None or not self._known.keys() >= wanted:
            return None
        self._unread.pop(key, None)
        found = {namespace: self._known[namespace] for namespace in wanted}
        return {namespace: pods for namespace, pods in found.items() if pods is not None}

    async def _run(self) -> None:
        while True:
            await self._round()
            await asyncio.sleep(ROUND_SECONDS)

    async def _round(self) -> None:
        """Count the namespaces that have waited longest."""
        self._tell_of_first_counts()
        now = asyncio.get_running_loop().time()
        due = sorted((moment, namespace) for namespace, moment in self._due.items() if moment <= now)
        await asyncio.gather(*(self._count(namespace) for _, namespace in due[:NAMESPACES_PER_ROUND]))

    async def _count(self, namespace: str) -> None:
        request = replace(list_objects(POD, namespace, limit=MOST_PODS), largest_answer=_LARGEST_PAGE)
        found: ClientPods | None = None
        try:
            answer = await self._client.send(request)
            found = count((answer or {}).get("items") or ())
        except (Forbidden, TooLarge) as error:
            self._log(namespace, error)
        except ClusterError as error:
            # What was counted last, or what the status says, still says more than nothing.
            self._log(namespace, error)
            if namespace in self._due:
                self._due[namespace] = asyncio.get_running_loop().time() + UNSETTLED_SECONDS
            return
        if namespace in self._due:
            self._learn(namespace, found)

    def _learn(self, namespace: str, found: ClientPods | None) -> None:
        settled = found is None or found.in_mesh > 0 or found == ClientPods()
        wait = SETTLED_SECONDS if settled else UNSETTLED_SECONDS
        self._due[namespace] = asyncio.get_running_loop().time() + wait
        first, before = namespace not in self._known, self._known.get(namespace)
        self._known[namespace] = found
        # What is known of some of its namespaces alone says nothing to a key.
        keys = frozenset(key for key in self._wanted_by[namespace] if self._known.keys() >= self._wants[key])
        if first:
            self._unread.update(dict.fromkeys(keys, PATIENT_ROUNDS))
        elif keys and _kinds(found) != _kinds(before):
            self._on_news(keys)

    def _tell_of_first_counts(self) -> None:
        late = frozenset(key for key, left in self._unread.items() if not left)
        self._unread = {key: left - 1 for key, left in self._unread.items() if left}
        if late:
            self._on_news(late)

    def _log(self, namespace: str, error: ClusterError) -> None:
        fields = {"namespace": namespace, "error": str(error)}
        log.debug("Pods of consumers were not counted", extra={"fields": fields})


def _kinds(found: ClientPods | None) -> tuple[bool, ...] | None:
    """Which kinds of pods there are: all that decides. One more of a kind is no news."""
    return None if found is None else (found.in_mesh > 0, found.ambient > 0, found.outside > 0)


def count(pods: Iterable[Manifest]) -> ClientPods:
    """Pods that run or will run, by what takes their calls."""
    in_mesh = ambient = outside = 0
    for pod in pods:
        if (pod.get("status") or {}).get("phase") in ENDED or is_only_proxy(pod):
            continue
        if is_in_mesh(pod):
            in_mesh += 1
        elif is_ambient(pod):
            ambient += 1
        else:
            outside += 1
    return ClientPods(in_mesh, ambient, outside)
