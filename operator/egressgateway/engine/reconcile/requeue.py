"""
The result of one pass: what its status is made from, and when the object is requeued. Pure.

`reconcile` makes the pass; nothing here reads or writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from egressgateway.cluster.result import Again, Done, Outcome, Stalled, Waiting
from egressgateway.diff.changeset import OFF_DATA_PATH, ChangeSet
from egressgateway.diff.steering import DeferReason, Steps
from egressgateway.engine.process.worker import STALLED_RETRY
from egressgateway.engine.reconcile.apply import Applied
from egressgateway.engine.reconcile.observe import PATIENCE
from egressgateway.errors import ClusterError, Forbidden, Invalid, Unavailable
from egressgateway.facts import Facts
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.gateway.target import workload_of
from egressgateway.plan.ir import Plan
from egressgateway.refs import ObjectRef
from egressgateway.render.manifests import Desired
from egressgateway.status.expirations import next_notice
from egressgateway.status.summarize import Observed

_FOREIGN_RETRY: Final = timedelta(seconds=30)
_SOON: Final = timedelta(seconds=15)
_WAITS: Final = {
    DeferReason.GATEWAY_NOT_READY: "GatewayNotReady",
    DeferReason.ASKING: "NotAcknowledged",
    DeferReason.NOT_ACKNOWLEDGED: "NotAcknowledged",
    DeferReason.WITHOUT_SECRET: "NotAcknowledged",
    DeferReason.NOT_TAKEN: "NotTaken",
    DeferReason.HANDING_OVER: "NotTaken",
}
"""What only news can end, in the words of the metrics."""


@dataclass(frozen=True, slots=True)
class Pass:
    """
    What one pass saw and decided, and with which result.

    `waits`: seconds for which drift corrections wait, because another controller keeps changing the child.
    """

    facts: Facts
    changes: ChangeSet
    acceptance: Acceptance
    plan: Plan
    desired: tuple[Desired, ...]
    steps: Steps
    applied: Applied
    waits: Mapping[ObjectRef, float] = field(default_factory=dict)


def observed_after(done: Pass, left: ChangeSet, drift_conflicts: Mapping[ObjectRef, str]) -> Observed:
    """
    What the status is made from. `left`: what remains to be done; `drift_conflicts`: messages about other controllers.
    """
    failures = done.applied.failures
    return Observed(
        missing=frozenset(write.ref for write in left.writes) | left.going,
        failures={ref: str(error) for ref, error in failures.items() if is_permanent(error)},
        transient_errors={
            **drift_conflicts,
            **{ref: str(error) for ref, error in failures.items() if is_reported(error)},
        },
        foreign=done.applied.foreign | left.foreign,
        held=done.steps.held,
    )


def outcome_of(done: Pass, facts: Facts, left: ChangeSet, foreign: Set[ObjectRef], grace: timedelta) -> Outcome:
    """
    When to continue.

    Args:
        facts: as they are after the writes.
        left: what then remains to be done.
        foreign: children whose names objects of other owners have.
        grace: how long istiod may take to push a change.
    """
    failed = done.applied.failures.keys() | foreign
    unwritten = [write.ref for write in left.writes if write.ref not in done.steps.held and write.ref not in done.waits]
    pushed = [ref for ref, hold in done.steps.held.items() if hold is DeferReason.PUSH]
    if not failed and DeferReason.PORT_IN_USE in done.steps.held.values() and done.steps.batches:
        # The write may have released the port.
        return Again(timedelta(0))
    due = [*pushed, *(unwritten if done.applied.writes else ())]
    # The rest of withdrawn hops is deleted when the mesh knows; after a failure, with the next attempt.
    drains = not failed and (done.plan.draining or DeferReason.DRAIN in done.steps.held.values())
    # The claim is released on the next pass; waiting gateways are requeued then.
    lets_go = not failed and done.acceptance.claims.leaving and bool(done.steps.batches)
    # Until istiod has had the time to push, what a pod lacks says nothing; answers are news by themselves.
    doubtful = facts.acknowledgement.lacking and not facts.gateway_pushed
    if drains or lets_go or facts.pushing or doubtful or any(_time_helps(done, failed, ref) for ref in due):
        return Again(grace)
    if DeferReason.GATEWAY_NOT_READY in done.steps.held.values() and workload_of(facts).ready:
        return Again(PATIENCE / 5)
    return _at_rest(done, foreign, _until(_next_moment(done), facts.now))


def _at_rest(done: Pass, foreign: Set[ObjectRef], moment: timedelta | None) -> Outcome:
    """Nothing can be done now. `moment`: when time alone changes something."""
    if done.applied.failures:
        return Stalled("ApplyFailed") if moment is None else Waiting("ApplyFailed", min(moment, STALLED_RETRY))
    if foreign:
        return Waiting("ResourceConflict", min(moment or _FOREIGN_RETRY, _FOREIGN_RETRY))
    if done.waits:
        wait = timedelta(seconds=min(done.waits.values()))
        return Waiting("RepairBackOff", min(moment or wait, wait))
    holds = set(done.steps.held.values())
    waiting = next((word for hold, word in _WAITS.items() if hold in holds), None)
    return Done(moment) if waiting is None else Waiting(waiting, moment)


def _next_moment(done: Pass) -> datetime | None:
    moments = done.acceptance.next_look, next_notice(done.facts)
    return min((moment for moment in moments if moment is not None), default=None)


def _time_helps(done: Pass, failed: Set[ObjectRef], ref: ObjectRef) -> bool:
    """Whether `ref` is to be written, and waits for no failed write, of its section or of the whole object."""
    sections = {item.ref: item.section for item in done.desired}
    broken = {sections.get(other, "") for other in failed if other.kind not in OFF_DATA_PATH}
    return ref in sections and not broken & {"", sections[ref]}


def comes_soon(outcome: Outcome) -> bool:
    """Whether the next pass is so near that mere wording can wait for it."""
    return isinstance(outcome, Again) and outcome.after <= _SOON


def is_permanent(error: ClusterError) -> bool:
    """Whether the server rejected the object itself: an immediate retry is in vain."""
    return isinstance(error, Invalid | Forbidden)


def is_reported(error: ClusterError) -> bool:
    """Whether the server itself reported that it could not: for example because a webhook does not answer."""
    return isinstance(error, Unavailable) and error.code is not None


def _until(moment: datetime | None, now: datetime) -> timedelta | None:
    return None if moment is None else max(moment - now, timedelta(seconds=1))
