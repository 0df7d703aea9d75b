"""
All that this package knows of the operator's insides. Whoever moves them changes this file, and no other one here.

Started is the whole engine (`Runtime`), which talks to anything that can `send` and `stream`. Counted are calls that
grow with the cluster where they should not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from unittest.mock import patch

from egressgateway.api.selector import LabelSelector
from egressgateway.cluster.client import LARGE_ANSWERS_AT_ONCE
from egressgateway.cluster.clock import ServerClock
from egressgateway.cluster.loop import OnePerTurn
from egressgateway.cluster.queue import Priority, WorkQueue
from egressgateway.cluster.request import Request
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.process.runtime import Runtime
from egressgateway.engine.reconcile import reconciler
from egressgateway.engine.reconcile.contenders import Contenders
from egressgateway.errors import Conflict, NotFound
from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, Key, Manifest
from egressgateway.settings import LeaseSettings, Settings

__all__ = [
    "EGRESS_GATEWAY",
    "EGRESS_GATEWAY_CLASS",
    "LARGE_ANSWERS_AT_ONCE",
    "SETTINGS",
    "WRITTEN",
    "Conflict",
    "Counts",
    "Gate",
    "Key",
    "Manifest",
    "NotFound",
    "Request",
    "ServerClock",
    "Telling",
    "counting",
    "gated_runtime",
]

SETTINGS: Final = Settings(lease=LeaseSettings(enabled=False), resync=timedelta(hours=1))

WRITTEN: Final = frozenset({*(resource.plural for resource in CHILD_RESOURCES), EGRESS_GATEWAY.plural, "configmaps"})
"""Plurals of what the operator writes for an EgressGateway, the object itself among them."""


@dataclass(slots=True)
class Counts:
    """What was counted since the last `clear`."""

    woken: Counter[Key] = field(default_factory=Counter)
    """By key, how often an event, or a write of a pass, asked for a pass. Timers and retries are not among them."""

    evaluations: int = 0
    """A selector was matched against the labels of one namespace."""

    contenders: int = 0
    """A pass looked at one other EgressGateway with which the object has a name or a port in common."""

    passes: int = 0
    judged: int = 0
    """A pass judged its object: it did not end at once because it saw the same as the last one."""

    @property
    def wakeups(self) -> int:
        return self.woken.total()

    def clear(self) -> None:
        self.woken.clear()
        self.evaluations = self.contenders = self.passes = self.judged = 0


class Telling(Metrics):
    """The operator's own metrics, which also say which queue there is, and when a pass ended."""

    def __init__(self, counts: Counts, on_pass: Callable[[], None]) -> None:
        super().__init__()
        self._counts = counts
        self._on_pass = on_pass
        self.queue: WorkQueue[Any]

    def observe_queue(self, queue: WorkQueue[Any]) -> None:
        self.queue = queue
        super().observe_queue(queue)

    def reconciled(self, result: str, seconds: float) -> None:
        super().reconciled(result, seconds)
        self._counts.passes += 1
        self._on_pass()


class Gate:
    """The queue as the runtime has it: what is added from outside is counted, and waits until the gate is opened."""

    def __init__(self, queue: WorkQueue[Key], counts: Counts, turns: OnePerTurn) -> None:
        self._queue = queue
        self._turns = turns
        self._counts = counts
        self._waiting: dict[Key, Priority] | None = {}
        self._refuses = False
        self.left = 0
        """Keys that were given up."""

    def add(self, key: Key, priority: Priority = Priority.URGENT) -> None:
        if self._waiting is not None:
            self._waiting[key] = min(priority, self._waiting.get(key, priority))
            return
        self._counts.woken[key] += 1
        if not self._refuses:
            self._queue.add(key, priority)
        elif self._counts.woken[key] == 1:
            self.left += 1

    def open(self) -> None:
        """Let everything pass, from now on."""
        self._refuses, self.left = False, 0
        waiting, self._waiting = self._waiting or {}, None
        # As many as the workers would have found when they started, had the keys not waited here.
        self._turns.filling = max(self._turns.filling, len(waiting))
        for key, priority in waiting.items():
            self.add(key, priority)

    def give_up(self) -> None:
        """Let nothing pass any more, and forget the keys that wait."""
        self.left += 0 if self._refuses else self._queue.depth
        self._refuses = True
        self._queue.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def gated_runtime(client: Any, metrics: Metrics, counts: Counts, settings: Settings) -> tuple[Runtime, Gate]:
    """An engine that is not started yet, and makes no pass before the gate is opened."""
    runtime = Runtime(client, settings, metrics)
    # Its workers have the queue itself, so that timers, retries and what a pass asks for itself are not counted.
    gate = Gate(runtime._queue, counts, runtime._workers._turns)
    runtime._queue = gate  # type: ignore[assignment]
    return runtime, gate


@contextmanager
def counting(counts: Counts) -> Iterator[None]:
    """Count calls, in the whole process."""

    def evaluated() -> None:
        counts.evaluations += 1

    def looked() -> None:
        counts.contenders += 1

    def judged() -> None:
        counts.judged += 1

    with ExitStack() as patches:
        for owner, name, count in (
            (LabelSelector, "matches", evaluated),
            # A contender for a name, and one for a port: most of those have no consumer in common and go no further.
            (Contenders, "_contender", looked),
            (Contenders, "_meet_on_a_port", looked),
            (reconciler, "accept", judged),
        ):
            patches.enter_context(patch.object(owner, name, _counted(getattr(owner, name), count)))
        yield


def _counted(call: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        count()
        return call(*arguments)

    return counted
