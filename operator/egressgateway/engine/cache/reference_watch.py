"""
Watches each object and each set of pods that some EgressGateway wants, and nothing else.

One reflector for each, by name: that works with rights on single objects (`resourceNames`), and a Secret that no spec
names is never read. There may be hundreds of them, so they share a limiter: after an outage they restart a few at a
time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.pacing import StartLimiter
from egressgateway.cluster.reflector import Reflector, Restart, Scope, Timing
from egressgateway.cluster.store import Store, Trim
from egressgateway.engine.cache.budget import NamespaceBudget
from egressgateway.engine.cache.keeping import is_left_out, keep_of_child, keep_of_connection, unless_left_out
from egressgateway.engine.cache.references import ReferenceCache, Wanted, keep_of_pod
from egressgateway.engine.cache.secrets import without_secrets
from egressgateway.facts import PodSelection
from egressgateway.refs import GATEWAY_PROXY, INGRESS_CLASS, POD, REFERENCE_BY_KIND, SECRET, Key, ObjectRef, Resource

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 60.0
"""How long an unwanted object is still watched: an edit that is reverted, or a new leader, then costs nothing."""

MOST_LINGERING: Final = 64
"""How many unwanted objects are watched at once: a user who changes references each second would have thousands."""

LOOK_AFTER_SECONDS: Final = 3.0
"""
How long pods may take to start before they are looked at: most that can start are ready by then. A watch is a
connection of its own, whose TLS alone costs as much CPU as several writes.
"""

ADMITTED_AT_ONCE: Final = 8
"""
One start each hundredth of a second, as long as the API server answers: a list of one object by its name costs less
than a write, and a new leader has thousands to list before it can judge the objects that refer to them.
"""

_NAMESPACE_BYTES: Final = 16 << 20
"""Memory for the referenced objects of one namespace. An object of another owner may have a megabyte."""

_TRIMS: Final[Mapping[str, Trim]] = {
    SECRET.kind: unless_left_out(without_secrets),
    POD.kind: unless_left_out(keep_of_pod),
    "Service": partial(keep_of_child, with_status=True),
    "Gateway": keep_of_child,
    INGRESS_CLASS.kind: keep_of_connection,
    GATEWAY_PROXY.kind: keep_of_connection,
}


@dataclass(slots=True)
class _Subscription:
    """One watched thing. `ending` is the timer that ends it, while no key wants it."""

    store: Store
    task: asyncio.Task[None]
    ending: asyncio.TimerHandle | None = None


class ReferenceWatch:
    """Keeps a `ReferenceCache` equal to the cluster, as far as some key wants it."""

    def __init__(  # noqa: PLR0913  (options by keyword, each with a default)
        self,
        client: ApiClient,
        cache: ReferenceCache,
        on_news: Callable[[frozenset[Key]], None],
        *,
        on_restart: Callable[[str, Restart], None] | None = None,
        timing: Timing | None = None,
        linger_seconds: float = LINGER_SECONDS,
        look_after_seconds: float = LOOK_AFTER_SECONDS,
    ) -> None:
        """`on_news` is called with the keys that a change concerns; `on_restart` as an informer's."""
        self._client = client
        self._cache = cache
        self._on_news = on_news
        self._on_restart = on_restart
        self._timing = timing or Timing()
        self._linger_seconds = linger_seconds
        self._look_after_seconds = look_after_seconds
        self._turnstile = StartLimiter(at_once=ADMITTED_AT_ONCE)
        self._budget = NamespaceBudget(_NAMESPACE_BYTES)
        self._watched: dict[Wanted, _Subscription] = {}
        self._looks_due: dict[Wanted, asyncio.TimerHandle] = {}
        # In the order in which they became unwanted.
        self._lingering: dict[Wanted, None] = {}

    def start(self) -> None:
        """Start to follow what is wanted."""
        self._cache.on_wanted = self._begin
        self._cache.on_looked_at = self._look
        self._cache.on_unwanted = self._linger

    async def stop(self) -> None:
        """End every watch."""
        for wanted in list(self._looks_due):
            self._give_up_look(wanted)
        ended = [self._cancel(wanted) for wanted in list(self._watched)]
        await asyncio.gather(*ended, return_exceptions=True)

    @property
    def watched(self) -> frozenset[Wanted]:
        """What is watched now."""
        return frozenset(self._watched)

    def _look(self, wanted: Wanted) -> None:
        if wanted in self._watched:
            self._begin(wanted)
            return
        loop = asyncio.get_running_loop()
        self._looks_due[wanted] = loop.call_later(self._look_after_seconds, self._begin, wanted)

    def _give_up_look(self, wanted: Wanted) -> None:
        due = self._looks_due.pop(wanted, None)
        if due is not None:
            due.cancel()

    def _begin(self, wanted: Wanted) -> None:
        self._give_up_look(wanted)
        known = self._watched.get(wanted)
        if known is not None:
            if known.ending is not None:
                known.ending.cancel()
                known.ending = None
                self._lingering.pop(wanted, None)
            return
        resource, scope = _scope_of(wanted)
        store = Store(trim=_TRIMS.get(resource.kind), budget=self._budget)
        reflector = Reflector(
            self._client,
            resource,
            store,
            scope,
            timing=self._timing,
            on_change=lambda _: self._changed(wanted),
            on_settled=lambda: self._changed(wanted),
            on_restart=lambda why: self._restarted(wanted, why),
            admission=self._turnstile.admit,
        )
        task = asyncio.create_task(reflector.run(), name=f"reference {wanted}")
        self._watched[wanted] = _Subscription(store, task)

    def _linger(self, wanted: Wanted) -> None:
        self._give_up_look(wanted)
        subscription = self._watched.get(wanted)
        if subscription is not None:
            loop = asyncio.get_running_loop()
            subscription.ending = loop.call_later(self._linger_seconds, self._cancel, wanted)
            self._lingering[wanted] = None
            if len(self._lingering) > MOST_LINGERING:
                self._cancel(next(iter(self._lingering)))

    def _cancel(self, wanted: Wanted) -> asyncio.Task[None]:
        subscription = self._watched.pop(wanted)
        self._lingering.pop(wanted, None)
        if subscription.ending is not None:
            subscription.ending.cancel()
        subscription.task.cancel()
        for found in tuple(subscription.store):
            subscription.store.remove(found)
        self._cache.forget(wanted)
        return subscription.task

    def _changed(self, wanted: Wanted) -> None:
        subscription = self._watched.get(wanted)
        if subscription is None:
            return
        if isinstance(wanted, ObjectRef):
            found = subscription.store.get(wanted.namespace, wanted.name)
            left_out = found is not None and is_left_out(found)
            news = self._cache.refuse(wanted) if left_out else self._cache.put(wanted, found)
        else:
            whole = (pod for pod in subscription.store if not is_left_out(pod))
            news = self._cache.put_pods(wanted, whole)
        self._tell(news)

    def _restarted(self, wanted: Wanted, why: Restart) -> None:
        if self._on_restart is not None:
            self._on_restart(_scope_of(wanted)[0].kind, why)
        if why == "forbidden":
            self._tell(self._cache.refuse(wanted))
        elif why in ("failed", "stalled"):
            self._turnstile.failed()

    def _tell(self, keys: frozenset[Key]) -> None:
        if keys:
            self._on_news(keys)


def _scope_of(wanted: Wanted) -> tuple[Resource, Scope]:
    if isinstance(wanted, PodSelection):
        selector = ",".join(f"{name}={value}" for name, value in wanted.labels)
        return POD, Scope(wanted.namespace or None, label_selector=selector)
    return REFERENCE_BY_KIND[wanted.kind], Scope(wanted.namespace, field_selector=f"metadata.name={wanted.name}")
