"""One replica of the operator beside an API server in memory: started, told of changes, and watched at rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import orjson

from bench.scale.apiserver import ApiServer
from bench.scale.internals import (
    EGRESS_GATEWAY,
    SETTINGS,
    WRITTEN,
    Counts,
    Gate,
    Key,
    Manifest,
    Request,
    Telling,
    gated_runtime,
)
from bench.scale.loop import MeasuredLoop

QUIET_SECONDS: Final = 8.0
"""After so long without a pass nothing goes on any more: longer than the mesh's grace and than a pod's start."""

_KOPF_PAGE: Final = 16
"""Objects that kopf reads at once (`handlers`)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """
    What something cost until the operator was at rest again.

    Attributes:
        woken: objects that it asked a pass for, and `wakeups` how often.
        evaluations, contenders, passes, judged: see `Counts`.
        longest_turn: CPU seconds for which the event loop was held without a break.
        passes_in_a_turn: the most passes that ended in one turn.
        left: passes that were not made, because those before them had taken too long already.
        estimated_cpu: CPU seconds as if they had been made; each is taken for as dear as those that were.
    """

    woken: int
    wakeups: int
    evaluations: int
    contenders: int
    passes: int
    judged: int
    writes: int
    cpu: float
    longest_turn: float
    passes_in_a_turn: int
    left: int
    estimated_cpu: float


class Replica:
    """From construction to `close`. For one process, which counts for one replica at a time."""

    def __init__(self, counts: Counts) -> None:
        """`counts` is what `internals.counting` counts into."""
        self.counts = counts
        self.loop = MeasuredLoop()
        self.meter = self.loop.meter
        self.server = ApiServer(self.loop)
        self.metrics = Telling(counts, self._passed)
        self._first_pass: float | None = None
        self._limit = float("inf")
        self._gate: Gate | None = None
        self._passes_by_turn: Counter[int] = Counter()
        self._watch: asyncio.Task[None] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def fill(self) -> Cost:
        """
        Read everything, and begin to lead.

        The engine is built before: that is one long turn, in which nobody waits for the event loop, as the operator
        does not answer probes yet. Its CPU is counted.
        """
        began = self.meter.cpu()
        gate = self.run(self._build())
        built = self.meter.cpu() - began
        cost = self.cost_of(self._fill)
        self._gate = gate
        return replace(cost, cpu=cost.cpu + built, estimated_cpu=cost.estimated_cpu + built)

    def judge_all(self, *, most_cpu: float | None = None) -> Cost:
        """After `fill`: make the first pass over every object."""
        return self.cost_of(lambda: None, most_cpu=most_cpu)

    async def _build(self) -> Gate:
        self.started = self.loop.time()
        self.runtime, gate = gated_runtime(self.server, self.metrics, self.counts, SETTINGS)
        return gate

    async def _fill(self) -> None:
        await self.runtime.start()
        self._watch = asyncio.create_task(self._watch_gateways(), name="kopf's watch")
        await self.runtime.elector.elected.wait()

    def cost_of(
        self, act: Callable[[], Coroutine[Any, Any, object] | object], *, most_cpu: float | None = None
    ) -> Cost:
        """
        Do something, and wait until nothing goes on any more.

        `most_cpu`: seconds after which the passes that still wait are not made.
        """
        return self.run(self._cost_of(act, most_cpu))

    async def _cost_of(self, act: Callable[[], Coroutine[Any, Any, object] | object], most_cpu: float | None) -> Cost:
        self.counts.clear()
        writes, began = self.writes(), self.meter.cpu()
        self._first_pass = None
        self._passes_by_turn.clear()
        self._limit = began + most_cpu if most_cpu is not None else float("inf")
        self.meter.restart()
        if self._gate is not None:
            self._gate.open()
        done = act()
        if asyncio.iscoroutine(done):
            await done
        await self._rest()
        cpu, counts, left = self.meter.cpu() - began, self.counts, self._gate.left if self._gate else 0
        return Cost(
            woken=len(counts.woken),
            wakeups=counts.wakeups,
            evaluations=counts.evaluations,
            contenders=counts.contenders,
            passes=counts.passes,
            judged=counts.judged,
            writes=self.writes() - writes,
            cpu=cpu,
            longest_turn=self.meter.longest_turn,
            passes_in_a_turn=max(self._passes_by_turn.values(), default=0),
            left=left,
            estimated_cpu=cpu + left * self._cpu_of_a_pass(began + cpu),
        )

    def _cpu_of_a_pass(self, now: float) -> float:
        """On the average; the first one is left out, as it comes after what the event itself cost."""
        if self._first_pass is None or self.counts.passes < 2:
            return 0.0
        return (now - self._first_pass) / (self.counts.passes - 1)

    def writes(self) -> int:
        """So far; statuses of classes are another matter, no pass writes them."""
        return sum(self.server.writes[plural] for plural in WRITTEN)

    def _passed(self) -> None:
        now = self.meter.cpu()
        self._passes_by_turn[self.loop.turns] += 1
        if self._first_pass is None:
            self._first_pass = now
        if now > self._limit and self._gate is not None:
            # Here, as a worker that has nothing to wait for takes the next key without a break.
            self._gate.give_up()

    async def _rest(self) -> None:
        queue, busy, passes = self.metrics.queue, self.loop.time(), self.counts.passes
        while self.loop.time() - busy < QUIET_SECONDS:
            if queue.depth or queue.processing or self.counts.passes != passes:
                busy, passes = self.loop.time(), self.counts.passes
                await asyncio.sleep(0.02)
            else:
                await asyncio.sleep(0.5)

    def judge(self, keys: Iterable[Key]) -> None:
        """Make passes over some objects, which nobody counts."""
        self._limit = float("inf")
        if self._gate is not None:
            self._gate.open()
        for key in keys:
            self.metrics.queue.add(key)
        self.run(self._rest())

    async def _watch_gateways(self) -> None:
        """As kopf does: first a list, page by page, then what changes."""
        since = (("resourceVersion", self.server.version),)
        await self.list_gateways()
        async for event in self.server.stream(_call("watch", since)):
            self.runtime.gateway_event(event["type"], event["object"])

    async def list_gateways(self) -> None:
        """kopf lists them, at the start and when its watch has expired."""
        token = ""
        while True:
            query = (("limit", str(_KOPF_PAGE)), *((("continue", token),) if token else ()))
            page: Manifest = await self.server.send(_call("list", query)) or {}
            for found in page["items"]:
                self.runtime.gateway_event(None, found)
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def scrape(self) -> None:
        """One scrape of /metrics, in pieces, as the operator's server answers it."""
        for _ in self.metrics.pieces():
            await asyncio.sleep(0)

    def show_all(self) -> None:
        """Give every object its series in the metrics, as a pass over it would."""
        for key, status in self._statuses():
            self.metrics.status(key, status)

    def ready(self) -> list[Key]:
        """EgressGateways whose condition Ready is True."""
        return [key for key, status in self._statuses() if _is_ready(status)]

    def _statuses(self) -> Iterator[tuple[Key, Manifest]]:
        for plural, body in self.server.dump_written():
            if plural == EGRESS_GATEWAY.plural:
                found = orjson.loads(body)
                yield Key(found["metadata"]["namespace"], found["metadata"]["name"]), found.get("status") or {}

    def close(self) -> None:
        """End every task, whatever it does."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()


def _call(verb: str, query: tuple[tuple[str, str], ...]) -> Request:
    return Request(verb, "GET", EGRESS_GATEWAY.path(), EGRESS_GATEWAY.plural, f"{verb} EgressGateways", query)


def _is_ready(status: Manifest) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ())
