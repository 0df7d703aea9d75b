"""
The story of one reconcile: look, judge, plan, compare, write, say so.

Level-triggered: it reads the whole state each time and moves the cluster one step towards what the object asks for. It
never waits for anything: what must wait is looked at again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from egressgateway.cluster.client import ApiClient
from egressgateway.diff.changeset import BESIDE_THE_WAY, ChangeSet, diff
from egressgateway.diff.steering import Hold, Steps, plan_steps
from egressgateway.engine.apply import Applied, Applier
from egressgateway.engine.caches import Caches
from egressgateway.engine.events import EventRecorder
from egressgateway.engine.memory import Memory, Progress
from egressgateway.engine.metrics import Metrics
from egressgateway.engine.observe import PATIENCE, Observer
from egressgateway.engine.outcome import Again, Done, Outcome, Stalled, Waiting
from egressgateway.engine.owner import OwnerWriter
from egressgateway.engine.worker import STALLED_RETRY
from egressgateway.errors import ClusterError, Forbidden, Invalid, Unavailable
from egressgateway.facts import Facts
from egressgateway.plan.accept import Acceptance, accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.ir import Plan
from egressgateway.refs import Key, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import Desired, RenderCache
from egressgateway.settings import Settings
from egressgateway.status.merge import broken_status, is_cosmetic, merge_status, suspended_status
from egressgateway.status.summarize import Observed, summarize

log = logging.getLogger(__name__)

_FOREIGN_RETRY: Final = timedelta(seconds=30)
_SOON: Final = timedelta(seconds=15)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass saw and decided, and what came of it."""

    facts: Facts
    changes: ChangeSet
    acceptance: Acceptance
    plan: Plan
    desired: tuple[Desired, ...]
    steps: Steps
    applied: Applied


class Reconciler:
    """Reconciles one key at a time, many keys at once."""

    def __init__(  # noqa: PLR0913  (the parts that the engine is made of)
        self,
        *,
        client: ApiClient,
        caches: Caches,
        events: EventRecorder,
        metrics: Metrics,
        observer: Observer,
        settings: Settings,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._caches = caches
        self._metrics = metrics
        self._observer = observer
        self._grace = settings.mesh.push_grace
        self._now = now
        self._memory = Memory()
        self._rendered = RenderCache(Renderer())
        self._applier = Applier(client, caches, metrics)
        self._owner = OwnerWriter(client, caches, events, metrics)

    async def reconcile(self, key: Key) -> Outcome:
        """
        Move the cluster one step towards what the EgressGateway `key` asks for.

        Raises:
            ClusterError: a write failed in a way that time may heal; what could be written was written.
        """
        progress = self._memory.of(key, _clock())
        facts = self._observe(key, progress)
        if facts is None:
            self._forget(key)
            return Done()
        try:
            return await self._step(facts, progress)
        except ClusterError:
            raise
        except Exception as error:
            # Ours to mend, and until then the status must not go on saying what was true before.
            await self._owner.write_status(
                key, broken_status(facts.gateway.status, facts.gateway.generation, facts.now, error)
            )
            raise

    async def _step(self, facts: Facts, progress: Progress) -> Outcome:
        if facts.gateway.deleting:
            return await self._withdraw(facts, progress)
        if facts.gateway.spec is not None and facts.gateway.spec.suspend:
            status = suspended_status(facts.gateway.status, facts.gateway.generation, facts.now)
            await self._owner.write_status(facts.key, status)
            return Done()
        return await self._converge(facts, progress)

    async def _converge(self, facts: Facts, progress: Progress) -> Outcome:
        acceptance = accept(facts)
        plan = build_plan(facts, acceptance)
        desired = self._rendered.render(facts.key, plan.children)
        changes = _compare(plan, desired, facts, progress)
        if changes.writes:
            await self._announce(facts, acceptance, plan, changes)
        steps = plan_steps(changes, facts)
        applied = await self._applier.apply(facts.key, steps, progress)
        done = _Pass(facts, changes, acceptance, plan, desired, steps, applied)
        outcome = await self._conclude(facts.key, done, progress)
        _raise_transient(applied)
        return outcome

    async def _announce(self, facts: Facts, acceptance: Acceptance, plan: Plan, changes: ChangeSet) -> None:
        """
        Before the first write: claims stand in the status, and a finalizer lets clients be withdrawn in one burst.

        A claim that is only in memory would be lost with the process, and its host with it.
        """
        claimed = {claim["host"] for claim in facts.gateway.status.get("claims") or ()}
        if not acceptance.claims.by_host.keys() <= claimed:
            observed = Observed(missing=frozenset(write.ref for write in changes.writes))
            summary = summarize(facts, acceptance, plan, observed)
            status = merge_status(facts.gateway.status, summary, facts.gateway.generation, facts.now)
            await self._owner.write_status(facts.key, status)
        await self._owner.add_finalizer(facts.key)

    async def _conclude(self, key: Key, done: _Pass, progress: Progress) -> Outcome:
        """Look again at what the writes left, say so in the status, and decide when to go on."""
        facts, left = done.facts, done.changes
        if done.changes.writes or done.applied.writes:
            seen = self._observe(key, progress)
            if seen is None:
                return Done()
            if not _is_same_object(seen, facts):
                # Edited or deleted meanwhile: what was decided is no verdict on what stands there now.
                return Again(timedelta(0))
            facts, left = seen, _compare(done.plan, done.desired, seen, progress)
        observed = Observed(
            missing=frozenset(write.ref for write in left.writes) | left.going,
            failures={ref: str(error) for ref, error in done.applied.failures.items() if _is_final(error)},
            unanswered={ref: str(error) for ref, error in done.applied.failures.items() if _is_told(error)},
            foreign=done.applied.foreign | left.foreign,
            held=done.steps.held,
        )
        outcome = self._outcome(facts, done, left, observed)
        summary = summarize(facts, done.acceptance, done.plan, observed)
        status = merge_status(facts.gateway.status, summary, facts.gateway.generation, facts.now)
        if not (_comes_soon(outcome) and is_cosmetic(facts.gateway.status, status)):
            await self._owner.write_status(key, status)
        self._metrics.destinations(key, "Istio", len(summary.parts))
        self._metrics.host_conflicts(key, len(done.acceptance.claims.lost))
        return outcome

    def _outcome(self, facts: Facts, done: _Pass, left: ChangeSet, observed: Observed) -> Outcome:
        failed = done.applied.failures.keys() | observed.foreign
        unwritten = [write.ref for write in left.writes if write.ref not in done.steps.held]
        pushed = [ref for ref, hold in done.steps.held.items() if hold is Hold.PUSH]
        due = [*pushed, *(unwritten if done.applied.writes else ())]
        # What withdrawn ways leave behind goes when the mesh knows; if something fails, with the next try of that.
        drains = not failed and (done.plan.draining or Hold.DRAIN in done.steps.held.values())
        if drains or any(_time_helps(done, failed, ref) for ref in due):
            return Again(self._grace)
        expiry = _until(done.acceptance.next_expiry, facts.now)
        waits_for_pods = Hold.GATEWAY_NOT_READY in done.steps.held.values()
        if waits_for_pods and facts.workload.ready:
            return Again(PATIENCE / 5)
        if done.applied.failures:
            return Stalled("ApplyFailed") if expiry is None else Waiting("ApplyFailed", min(expiry, STALLED_RETRY))
        if observed.foreign:
            return Waiting("ResourceConflict", min(expiry or _FOREIGN_RETRY, _FOREIGN_RETRY))
        if waits_for_pods:
            return Waiting("GatewayNotReady", expiry)
        return Done() if expiry is None else Again(expiry)

    async def _withdraw(self, facts: Facts, progress: Progress) -> Outcome:
        """
        The object is going: take its clients back in one burst, let the mesh hear of it, then let go.

        The rest goes by owner reference. Left to the garbage collector, the clients' objects go one by one, and
        hundreds of requests pass by the gateway meanwhile (notes "istio-recipes" §9).
        """
        if not self._owner.has_finalizer(facts.key):
            return Done()
        plan = build_plan(facts, accept(facts))
        steps = plan_steps(diff(plan, (), facts.live, facts.key), facts)
        applied = await self._applier.apply(facts.key, Steps(bursts=steps.bursts), progress)
        _raise_transient(applied)
        if applied.failures:
            raise next(iter(applied.failures.values()))
        if facts.live and (steps.bursts or not facts.clients_settled):
            return Again(self._grace)
        await self._owner.remove_finalizer(facts.key)
        return Done()

    def begin_term(self) -> None:
        """This replica leads from now on; what it remembers of its last term says nothing of what others wrote."""
        self._memory = Memory()

    def _observe(self, key: Key, progress: Progress) -> Facts | None:
        return self._observer.observe(key, progress, self._now(), _clock())

    def _forget(self, key: Key) -> None:
        self._rendered.forget(key)
        self._memory.forget(key)
        self._metrics.forget(key)


def _compare(plan: Plan, desired: tuple[Desired, ...], facts: Facts, progress: Progress) -> ChangeSet:
    found = {**facts.live, **facts.others}
    changes = diff(plan, desired, found, facts.key, progress.written, compared=progress.compared)
    progress.compared = changes.in_sync
    return changes


def _time_helps(done: _Pass, failed: Set[ObjectRef], ref: ObjectRef) -> bool:
    """Whether `ref` is to be written, and waits for nothing of its part, or of all, that could not be written."""
    parts = {item.ref: item.part for item in done.desired}
    broken = {parts.get(other, "") for other in failed if other.kind not in BESIDE_THE_WAY}
    return ref in parts and not broken & {"", parts[ref]}


def _is_same_object(one: Facts, other: Facts) -> bool:
    """Whether both saw one generation of one object."""
    mine, others = one.gateway, other.gateway
    return (mine.uid, mine.generation, mine.deleting) == (others.uid, others.generation, others.deleting)


def _is_final(error: ClusterError) -> bool:
    """Whether the server refused the object itself: trying again at once is in vain."""
    return isinstance(error, Invalid | Forbidden)


def _is_told(error: ClusterError) -> bool:
    """Whether the server itself said that it could not: a webhook that does not answer, for one."""
    return isinstance(error, Unavailable) and error.code is not None


def _raise_transient(applied: Applied) -> None:
    for error in applied.failures.values():
        if not _is_final(error):
            raise error


def _until(moment: datetime | None, now: datetime) -> timedelta | None:
    return None if moment is None else max(moment - now, timedelta(seconds=1))


def _comes_soon(outcome: Outcome) -> bool:
    return isinstance(outcome, Again) and outcome.after <= _SOON


def _clock() -> float:
    return asyncio.get_running_loop().time()
