"""The result of one reconcile as a value: it alone decides when the key is requeued."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """
    The cluster holds what the object asks for. Nothing to do until something changes.

    `after`: when the passing of time alone changes something (a destination expires); None for never.
    """

    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """In progress, and no event will tell us when to continue: requeue `after` that time."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Waiting:
    """In progress; a change of a watched object continues it. `after` is a safety net, None for none."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """Only a person can help, by changing the object or what it refers to. `reason` is from the catalogue."""

    reason: str


Outcome = Done | Again | Waiting | Stalled


def within(outcome: Outcome, limit: timedelta | None) -> Outcome:
    """`outcome`, with the key requeued after `limit` at the latest; None sets no limit."""
    if limit is None:
        return outcome
    match outcome:
        case Done(after=timedelta() as after) | Again(after=after) | Waiting(after=timedelta() as after):
            return outcome if after <= limit else Again(limit)
        case _:
            return Again(limit)


def result_of(outcome: Outcome) -> str:
    """Label of the outcome in `egressgateway_reconcile_total{result}`; a failed reconcile counts as `error`."""
    match outcome:
        case Done():
            return "success"
        case Again():
            return "requeue_after"
        case Waiting():
            return "waiting"
        case Stalled():
            return "stalled"
