"""
A local copy of one kind: a store that reflectors keep equal to the server, and a call for each change.

One reflector per namespace, or one for all. The informer summarizes their states, for the probes and for code that must
not start before everything has been listed once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.reflector import Reflector, Restart, Scope, Timing
from egressgateway.cluster.store import Change, Store
from egressgateway.refs import Resource

log = logging.getLogger(__name__)

OnChange = Callable[[Change], None]
"""Called with each change, after the store has it. Must be quick: it delays the watch."""

OnScope = Callable[[str | None, str], None]
"""Called with a namespace (None: all) that was listed, or with the reason why it may not be; empty for listed."""

OnRestart = Callable[[str, Restart], None]
"""Called with the kind and the reason, whenever a list or watch must be restarted."""


@dataclass(frozen=True, slots=True)
class InformerState:
    """How an informer fares at one moment."""

    synced: bool
    """Every scope has been listed once, or its kind is not served; of several, one may be refused."""

    served: bool
    alive: bool
    """Its tasks run; False before `start`, after `stop`, and if one died."""

    error: str
    """The reason why a scope does not work; empty while all work."""

    silent_seconds: float | None
    """Since the last list, event or bookmark of the quietest scope; None before the first."""

    restarts: int


class Informer:
    """Lists and watches one kind. `start` it, `await synced()`, read `store`, `stop` it."""

    def __init__(  # noqa: PLR0913  (options by keyword, each with a default)
        self,
        client: ApiClient,
        resource: Resource,
        store: Store,
        *,
        namespaces: tuple[str, ...] = (),
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_change: OnChange | None = None,
        on_restart: OnRestart | None = None,
        on_served: Callable[[], None] | None = None,
        on_scope: OnScope | None = None,
        timing: Timing | None = None,
        optional: bool = False,
    ) -> None:
        """
        `namespaces` empty, or a cluster-scoped kind: one list of everything. `on_served` is called when the kind
        begins or ceases to be served (its CRD was installed or deleted). `optional`: not every cluster has the kind,
        and where there is none we may lack the right to it, too, which is no obstacle. Of several namespaces, one that
        we lack the right to delays no other: `on_scope` reports it.
        """
        self.resource = resource
        self.store = store
        self._synced = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._on_restart = on_restart
        self._on_served = on_served
        self._on_scope = on_scope
        self._served = True
        scopes: tuple[str | None, ...] = namespaces if namespaces and resource.namespaced else (None,)
        self._reflectors: dict[str | None, Reflector] = {
            namespace: Reflector(
                client,
                resource,
                store,
                Scope(namespace, label_selector, field_selector),
                timing=timing or Timing(),
                on_change=on_change or _ignore,
                on_settled=partial(self._settled, namespace),
                on_restart=partial(self._restarted, namespace),
                optional=optional,
            )
            for namespace in scopes
        }

    def start(self) -> None:
        """Begin to list and watch, in the background."""
        self._tasks = [
            asyncio.create_task(reflector.run(), name=f"informer {self.resource.plural}")
            for reflector in self._reflectors.values()
        ]

    async def stop(self) -> None:
        """End the watches; the store keeps what it has."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error(
                    "Informer had stopped", extra={"fields": {"kind": self.resource.kind, "error": repr(outcome)}}
                )
        self._tasks = []

    async def synced(self) -> None:
        """Return once every scope has been listed, or is known not to be served; of several, or to be refused."""
        await self._synced.wait()

    @property
    def state(self) -> InformerState:
        """How it fares now."""
        states = [reflector.state for reflector in self._reflectors.values()]
        heard = [state.last_heard for state in states if state.last_heard is not None]
        now = asyncio.get_running_loop().time()
        return InformerState(
            synced=self._synced.is_set(),
            served=all(state.served for state in states),
            alive=bool(self._tasks) and not any(task.done() for task in self._tasks),
            error="; ".join(state.error for state in states if state.error),
            silent_seconds=now - min(heard) if heard else None,
            restarts=sum(state.restarts for state in states),
        )

    def _settled(self, namespace: str | None) -> None:
        if self._on_scope is not None:
            self._on_scope(namespace, "")
        self._check_scopes()
        served = all(reflector.state.served for reflector in self._reflectors.values())
        if served != self._served:
            self._served = served
            if self._on_served is not None:
                self._on_served()

    def _check_scopes(self) -> None:
        states = [reflector.state for reflector in self._reflectors.values()]
        # If a single scope is refused, there is nothing to work with: `synced` keeps waiting.
        if all(state.settled or (state.refused and len(states) > 1) for state in states):
            self._synced.set()

    def _restarted(self, namespace: str | None, why: Restart) -> None:
        if why == "forbidden":
            if self._on_scope is not None:
                self._on_scope(namespace, self._reflectors[namespace].state.error)
            self._check_scopes()
        if self._on_restart is not None:
            self._on_restart(self.resource.kind, why)


def _ignore(change: Change) -> None:
    """Only the store is used."""
