"""
The steps of one reconcile: observe, judge, plan, compare, write, report.

Level-triggered: it reads the whole state each time and moves the cluster one step towards what the object asks for. It
never waits: what must wait is requeued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from egressgateway.api.conditions import Reason
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.events import EventRecorder
from egressgateway.cluster.result import Again, Done, Outcome, Stalled, Waiting, within
from egressgateway.contention.rights import is_recorded
from egressgateway.diff.changeset import ChangeSet, Delete, diff, is_deleting
from egressgateway.diff.steering import Steps, plan_steps
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.reconcile.apply import Applied, Applier
from egressgateway.engine.reconcile.cleanup import Cleanup
from egressgateway.engine.reconcile.drift_backoff import split_deferred
from egressgateway.engine.reconcile.handovers import next_look
from egressgateway.engine.reconcile.observe import Observer
from egressgateway.engine.reconcile.owner import OwnerWriter
from egressgateway.engine.reconcile.reconcile_request import is_answered, request_of
from egressgateway.engine.reconcile.remote_records import RemoteRecords
from egressgateway.engine.reconcile.requeue import (
    Pass,
    comes_soon,
    is_permanent,
    is_reported,
    observed_after,
    outcome_of,
)
from egressgateway.engine.reconcile.state import GatewayState, StateStore, SteadyState
from egressgateway.errors import ClusterError, Invalid
from egressgateway.facts import Answers, Facts
from egressgateway.live.children import LiveChildren, stage_of, steered_names
from egressgateway.live.obstacles import cause_of
from egressgateway.namespaces import union
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.build import build_plan
from egressgateway.plan.checks.references import has_unread_references
from egressgateway.plan.checks.trial import trial_findings
from egressgateway.plan.context import owner_of
from egressgateway.plan.gateway.target import target_of
from egressgateway.plan.handover import names_handed_over
from egressgateway.plan.held import registered_ports
from egressgateway.plan.ir import Plan
from egressgateway.plan.kept import plan_frozen, plan_leaving
from egressgateway.plan.revoked import Revoked, revoked_from
from egressgateway.refs import Key, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import Desired, RenderCache
from egressgateway.settings import Settings
from egressgateway.stages import Stage
from egressgateway.status.merge import (
    broken_status,
    ended_status,
    has_message,
    is_cosmetic,
    is_on_the_way,
    leaving_status,
    merge_status,
    stuck_status,
    suspended_status,
    unstored_status,
)
from egressgateway.status.summarize import Observed, remote_children, remote_refs, summarize

log = logging.getLogger(__name__)

_RENDERED_AT_ONCE: Final = 64
"""Children between two yields to other tasks: about 20 ms of one processor (measured)."""

_FINALIZER_SPACING: Final = timedelta(seconds=1)


def _utc_now() -> datetime:
    return datetime.now(UTC)


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
        self._events = events
        self._metrics = metrics
        self._observer = observer
        self._grace = settings.mesh.push_grace
        self._now = now
        self._memory = StateStore()
        self._renderer = Renderer()
        self._rendered = RenderCache(self._renderer)
        self._applier = Applier(client, caches, metrics)
        self._owner = OwnerWriter(client, caches, events, metrics)
        self._records = RemoteRecords(client, caches.records, settings)
        self._cleanup = Cleanup(client, caches, self._records, self._applier, settings)

    async def reconcile(self, key: Key) -> Outcome:
        """
        Move the cluster one step towards what the EgressGateway `key` asks for.

        Raises:
            ClusterError: a write failed for a transient reason; what could be written was written.
        """
        state = self._memory.of(key, _clock())
        facts = self._observe(key, state)
        if facts is None:
            outcome = await self._cleanup.run(key, state)
            if isinstance(outcome, Done):
                self._forget(key)
            return outcome
        state.gone_at = None
        try:
            return await self._step(facts, state)
        except Invalid as error:
            if not facts.gateway.deleting:
                await self._report_rejection(facts, error)
            raise
        except ClusterError:
            raise
        except Exception as error:
            await self._report_bug(facts, error)
            raise

    async def _step(self, facts: Facts, state: GatewayState) -> Outcome:
        self._caches.trials.put(facts.key, facts.class_.name, trial_findings(facts))
        if facts.gateway.deleting:
            return await self._withdraw(facts, state)
        waits = await self._keep_finalizer(facts, state), next_look(facts.handovers.values())
        wait = min((wait for wait in waits if wait is not None), default=None)
        if facts.gateway.spec is not None and facts.gateway.spec.suspend:
            return within(await self._freeze(facts, state), wait)
        return within(await self._converge(facts, state), wait)

    async def _keep_finalizer(self, facts: Facts, state: GatewayState) -> timedelta | None:
        """
        Put our finalizer back on an object that has children: a replace from a file, or a person, removed it.

        At once, and then once a second: a client that removes it in a loop must not make the operator write in a loop.
        Returns how long it has to wait; None when the object has it, or needs none.
        """
        if not facts.live or self._owner.has_finalizer(facts.key):
            return None
        rest = state.finalizer_due - _clock()
        if rest > 0:
            return timedelta(seconds=rest)
        state.finalizer_due = _clock() + _FINALIZER_SPACING.total_seconds()
        await self._owner.add_finalizer(facts.key)
        log.warning("Finalizer had been removed from an object with children; restored it")
        return None

    async def _converge(self, facts: Facts, state: GatewayState) -> Outcome:
        request = self._honour_request(facts, state)
        if state.settled is not None and (outcome := state.settled.outcome_for(facts)) is not None:
            state.settled = state.settled.counted(facts)
            return outcome
        if has_unread_references(facts):
            # It was just requested, and will arrive: judging without it would remove what works.
            _, applied = await self._end_revoked(facts, revoked_from(facts), state)
            _raise_transient(applied)
            return Waiting("Pending")
        acceptance = accept(facts)
        # Known pods of a new consumer namespace are told at once: no later count would be news to this object.
        facts = self._observer.with_clients(facts, union(acceptance.consumers.values()), state, _clock())
        # Until it is stored, others must see the claim: they may be judged while this pass waits for the API server.
        self._caches.reserve(facts.key, acceptance.claims.rights)
        try:
            return await self._write(facts, acceptance, state, request)
        finally:
            self._caches.release(facts.key)

    async def _write(self, facts: Facts, acceptance: Acceptance, state: GatewayState, request: str) -> Outcome:
        plan = build_plan(facts, acceptance)
        desired = await self._render(facts.key, plan)
        changes = _compare(plan, desired, facts, state)
        parted = split_deferred(changes, state.written, state.drift_backoff, _clock())
        await self._record_drift_conflicts(facts.key, parted.waits, state)
        try:
            # Before a write to a namespace where the garbage collector does not find it, and for what an older operator
            # wrote there.
            await self._records.note(facts.key, facts.gateway.uid, remote_refs(facts, plan))
            if parted.changes.writes:
                await self._announce(facts, acceptance, plan, changes)
        except ClusterError:
            # What is no longer allowed is removed before the new claims are recorded.
            await self._end_revoked(facts, revoked_from(facts), state)
            raise
        steps = plan_steps(parted.changes, facts)
        applied = await self._applier.apply(facts.key, steps, state)
        done = Pass(facts, changes, acceptance, plan, desired, steps, applied, parted.waits)
        outcome = await self._conclude(facts.key, done, state, request)
        _raise_transient(applied)
        return outcome

    async def _render(self, key: Key, plan: Plan) -> tuple[Desired, ...]:
        """
        Render the plan's children as objects.

        The largest object has so many children that the Lease could not be renewed meanwhile, so other tasks run in
        between.
        """
        desired: list[Desired] = []
        for item in self._rendered.one_by_one(key, plan.children):
            desired.append(item)
            if len(desired) % _RENDERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return tuple(desired)

    async def _freeze(self, facts: Facts, state: GatewayState) -> Outcome:
        """The object is suspended: leave all that is still allowed as it is."""
        revoked = revoked_from(facts, suspended=True)
        changes, applied = await self._end_revoked(facts, revoked, state)
        seen = self._observe(facts.key, state) or facts
        status = suspended_status(
            facts.gateway.status,
            facts.gateway.generation,
            facts.now,
            revoked,
            steered=steered_names(seen).keys(),
            ports=registered_ports(seen).keys(),
        )
        await self._owner.write_status(facts.key, status)
        _raise_transient(applied)
        if applied.failures:
            return Stalled("ApplyFailed")
        return Done() if changes.empty else Again(self._grace)

    async def _end_revoked(self, facts: Facts, revoked: Revoked, state: GatewayState) -> tuple[ChangeSet, Applied]:
        """Remove what is no longer allowed, and leave everything else as it is."""
        plan = plan_frozen(owner_of(facts), facts.live, revoked)
        changes = diff(plan, await self._render(facts.key, plan), facts.live, facts.key)
        steps = plan_steps(changes, facts)
        for finding in revoked.findings[:1] if steps.batches else ():
            self._record(facts.key, finding.reason, finding.message)
        return changes, await self._applier.apply(facts.key, steps, state)

    def _honour_request(self, facts: Facts, state: GatewayState) -> str:
        """The request for a pass that is to be answered, if any; for a new one this pass uses no remembered results."""
        request = request_of(self._caches.gateways.get(*facts.key))
        if is_answered(request, facts.gateway.status):
            return ""
        if request != state.forced:
            state.forced = request
            state.compare_anew()
        return request

    async def _announce(self, facts: Facts, acceptance: Acceptance, plan: Plan, changes: ChangeSet) -> None:
        """
        Before the first write: record the claims in the status, and set the finalizer that lets clients be withdrawn in
        one batch.

        A claim that is only in memory would be lost with the process, and its host with it; and a child in another
        namespace would be found by nothing.
        """
        if not _is_recorded(facts, acceptance, plan):
            observed = Observed(missing=frozenset(write.ref for write in changes.writes))
            summary = summarize(facts, acceptance, plan, observed)
            status = merge_status(facts.gateway.status, summary, facts.gateway.generation, facts.now)
            await self._owner.write_status(facts.key, status)
        await self._owner.add_finalizer(facts.key)

    async def _conclude(self, key: Key, done: Pass, state: GatewayState, request: str) -> Outcome:
        """Look again at what the writes left, report it in the status, and decide when to continue."""
        facts, left = done.facts, done.changes
        if done.changes.writes or done.applied.writes:
            seen = self._observe(key, state)
            if seen is None:
                return Done()
            if not _is_same_object(seen, facts):
                # The object was edited or deleted meanwhile: the decision does not hold for what is stored now.
                return Again(timedelta(0))
            facts, left = seen, _compare(done.plan, done.desired, seen, state)
        observed = observed_after(done, left, {ref: state.drift_backoff.words(ref) for ref in done.waits})
        outcome = outcome_of(done, facts, left, observed.foreign, self._grace)
        summary = summarize(facts, done.acceptance, done.plan, observed)
        status = merge_status(facts.gateway.status, summary, facts.gateway.generation, facts.now, handled=request)
        passing = is_cosmetic(facts.gateway.status, status) or (
            _is_passing(facts) and is_on_the_way(facts.gateway.status, status)
        )
        if not ((comes_soon(outcome) or _is_asking(facts)) and passing):
            await self._owner.write_status(key, status)
            self._record_advisories(facts, done.acceptance)
        if not remote_refs(facts, done.plan):
            await self._records.forget(key)
        self._record_obstacle(facts, state)
        unsettled = done.applied.writes or done.waits
        state.settled = None if unsettled else SteadyState.after(facts, outcome, done.acceptance.consumers)
        self._metrics.destinations(key, str(status.get("provider", "")), len(summary.sections))
        self._metrics.reachable(key, {name: found.status for name, found in facts.reached.items()})
        self._metrics.host_conflicts(key, len(done.acceptance.claims.lost))
        return outcome

    async def _record_drift_conflicts(self, key: Key, waits: Mapping[ObjectRef, float], state: GatewayState) -> None:
        """
        Report once for each conflict which manager it is with: now, while the object still shows that manager's change.
        """
        for ref in waits:
            if state.drift_backoff.is_reported(ref):
                continue
            manager = await self._applier.last_changed_by(ref)
            words = state.drift_backoff.record(ref, manager)
            log.warning(
                "Another controller keeps changing a child",
                extra={"fields": {"child": str(ref), "field_manager": manager}},
            )
            self._record(key, Reason.REPAIR_BACK_OFF, words)

    def _record_advisories(self, facts: Facts, acceptance: Acceptance) -> None:
        """Report dangerous values that the author asked for, once, when the status first mentions them."""
        for notice in acceptance.advisories:
            if notice.reason is not None and not has_message(facts.gateway.status, notice.section, notice.message):
                self._record(facts.key, notice.reason, notice.message)

    def _record_obstacle(self, facts: Facts, state: GatewayState) -> None:
        """Report why pods of the own gateway do not start, once for each cause, until all of them are ready."""
        obstacle = facts.workload.obstacle
        if not facts.workload.rolling:
            state.obstacles.clear()
        elif obstacle and (cause := cause_of(obstacle)) not in state.obstacles:
            state.obstacles.add(cause)
            self._record(facts.key, Reason.POD_NOT_STARTED, obstacle)

    def _record(self, key: Key, reason: Reason, words: str) -> None:
        gateway = self._caches.gateways.get(*key)
        if gateway is not None:
            self._events.record(gateway, "Warning", reason, "Reconcile", words)

    async def _withdraw(self, facts: Facts, state: GatewayState) -> Outcome:
        """
        The object is being deleted: withdraw its clients in one batch, wait for the mesh to learn of it, then remove
        the finalizer.

        The garbage collector deletes the rest by owner reference. It would delete the clients' objects one by one, and
        hundreds of requests would bypass the gateway meanwhile (notes "istio-recipes" §9). The withdrawal also happens
        without our finalizer: somebody removed it while another finalizer keeps the object, and a deleted object
        accepts no new one.

        What another object of the namespace is about to serve stays until that one does (`plan.handover`).
        """
        if self._owner.leaves_children(facts.key):
            # If only half were withdrawn, while the garbage collector disowns the rest, clients would bypass the
            # gateway.
            await self._records.leave(facts.key)
            return await self._release(facts.key)
        plan = self._plan_leaving(facts)
        steps = plan_steps(diff(plan, await self._render(facts.key, plan), facts.live, facts.key), facts)
        if steps.batches or plan.kept:
            await self._report_leaving(facts)
        applied = await self._applier.apply(facts.key, Steps(batches=steps.batches), state)
        await self._report_failure(facts, applied)
        _raise_transient(applied)
        if applied.failures:
            raise next(iter(applied.failures.values()))
        if plan.kept:
            return within(Again(self._grace), next_look(facts.handovers.values()))
        if facts.live and (steps.batches or not facts.clients_pushed):
            return Again(self._grace)
        await self._remove_remote(facts, state)
        await self._end_record(facts)
        if not self._owner.has_finalizer(facts.key):
            # Another finalizer keeps it, and its claims with it, for as long as its author likes.
            await self._owner.write_status(facts.key, ended_status(facts.gateway.status))
        return await self._release(facts.key)

    def _plan_leaving(self, facts: Facts) -> Plan:
        """
        What clients of an object that is being deleted use until another one serves them.

        Nothing else of it is judged any more, and a bug in this must not keep the object, and with it its namespace.
        Nor may its author keep it, who has taken our finalizer off.
        """
        if not facts.handovers or not self._owner.has_finalizer(facts.key):
            return Plan()
        try:
            handed_over = names_handed_over(facts, revoked_from(facts), {})
            return plan_leaving(owner_of(facts), LiveChildren.of(facts), target_of(facts), handed_over)
        except Exception:
            log.exception("What another object takes over of a deleted one cannot be planned")
            return Plan()

    async def _release(self, key: Key) -> Outcome:
        """
        Remove our finalizer. If it was the last one, the object is gone, and a last pass forgets it.

        If another one keeps the object, a last pass ends its claims: our own write enqueues no key.
        """
        if not self._owner.has_finalizer(key):
            return Done() if self._caches.gateways.get(*key) else Again(timedelta(0))
        await self._owner.remove_finalizer(key)
        return Again(timedelta(0))

    async def _report_leaving(self, facts: Facts) -> None:
        """Take back the conditions; a status that cannot be written does not stop the withdrawal."""
        status = leaving_status(facts.gateway.status, facts.gateway.generation, facts.now)
        try:
            await self._owner.write_status(facts.key, status)
        except ClusterError as error:
            log.info(
                "Status of an object that is being deleted was not written", extra={"fields": {"error": str(error)}}
            )

    async def _remove_remote(self, facts: Facts, state: GatewayState) -> None:
        """
        Children in other namespaces, which the garbage collector does not find by their owner.

        Policies of a shared gateway are among them, so what they protect is deleted first, although it would be
        collected.
        """
        removals = [Delete(ref, stage_of(found), found) for ref, found in facts.live.items() if not is_deleting(found)]
        if all(removal.ref.namespace == facts.key.namespace for removal in removals):
            return
        first = [
            removal
            for removal in removals
            if removal.ref.namespace != facts.key.namespace or removal.stage is Stage.GATEWAY
        ]
        ordered = tuple(sorted(first, key=lambda removal: -removal.stage))
        applied = await self._applier.apply(facts.key, Steps(removals=ordered), state)
        await self._report_failure(facts, applied)
        for error in applied.failures.values():
            raise error

    async def _end_record(self, facts: Facts) -> None:
        """
        Nothing is left in other namespaces, or all of it was to stay: the garbage collector has disowned the children.
        """
        record = self._records.of(facts.key)
        if record is not None and record.children & facts.others.keys():
            await self._records.leave(facts.key)
        else:
            await self._records.forget(facts.key)

    async def _report_bug(self, facts: Facts, bug: Exception) -> None:
        """
        A bug is ours to fix, and until then the status must not repeat what was true before.

        Never raises: a second failure in place of the first would hide where the bug is.
        """
        try:
            status = broken_status(facts.gateway.status, facts.gateway.generation, facts.now, bug)
            await self._owner.write_status(facts.key, status)
        except ClusterError as error:
            log.warning("Status of a failed reconcile was not written", extra={"fields": {"error": str(error)}})
        except Exception:
            log.exception("Status of a failed reconcile cannot be computed")

    async def _report_rejection(self, facts: Facts, refusal: Invalid) -> None:
        """The server does not store the status of a pass, so the status reports that instead."""
        status = unstored_status(facts.gateway.status, facts.gateway.generation, facts.now, refusal)
        try:
            await self._owner.write_status(facts.key, status)
        except ClusterError as error:
            log.warning("Status of a rejected reconcile was not written", extra={"fields": {"error": str(error)}})

    async def _report_failure(self, facts: Facts, applied: Applied) -> None:
        """A server that does not let clients be withdrawn keeps the object: the user who deleted it must learn why."""
        refusals = [str(error) for error in applied.failures.values() if is_permanent(error) or is_reported(error)]
        if refusals:
            status = stuck_status(facts.gateway.status, facts.gateway.generation, facts.now, refusals[0])
            await self._owner.write_status(facts.key, status)

    def end_term(self) -> None:
        """
        This replica no longer leads, and no pass runs.

        What it remembers says nothing of what others write from now on, and it does not learn of deleted objects.
        """
        self._memory = StateStore()
        self._rendered = RenderCache(self._renderer)
        self._observer.forget_all()
        self._caches.trials.forget_all()

    def _observe(self, key: Key, state: GatewayState) -> Facts | None:
        return self._observer.observe(key, state, self._now(), _clock())

    def _forget(self, key: Key) -> None:
        self._rendered.forget(key)
        self._memory.forget(key)
        self._caches.trials.forget(key)
        self._metrics.forget(key)


def _is_asking(facts: Facts) -> bool:
    """Whether the gateway's pods answer any moment, with another pass."""
    return facts.acknowledgement.answers is Answers.AWAITED


def _is_passing(facts: Facts) -> bool:
    return bool(facts.pushing) or _is_asking(facts)


def _compare(plan: Plan, desired: tuple[Desired, ...], facts: Facts, state: GatewayState) -> ChangeSet:
    # An object of another owner is compared only where it blocks a child: it is never deleted, whatever its labels say.
    taken = {item.ref: facts.others[item.ref] for item in desired if item.ref in facts.others}
    found = {**facts.live, **taken}
    changes = diff(plan, desired, found, facts.key, state.written, compared=state.compared, ours=facts.live)
    state.compared = dict(changes.in_sync)
    return changes


def _is_recorded(facts: Facts, acceptance: Acceptance, plan: Plan) -> bool:
    """Whether the status holds every claim and names every child in another namespace."""
    status = facts.gateway.status
    named = status.get("remoteChildren") or []
    return is_recorded(acceptance.claims.rights, status) and all(
        child in named for child in remote_children(facts, plan)
    )


def _is_same_object(one: Facts, other: Facts) -> bool:
    """Whether both saw one generation of one object."""
    mine, others = one.gateway, other.gateway
    return (mine.uid, mine.generation, mine.deleting) == (others.uid, others.generation, others.deleting)


def _raise_transient(applied: Applied) -> None:
    for error in applied.failures.values():
        if not is_permanent(error):
            raise error


def _clock() -> float:
    return asyncio.get_running_loop().time()
