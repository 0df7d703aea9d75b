"""What one reconcile came to, as a value: it alone decides when the key is looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """
    The cluster holds what the object asks for. Nothing to do until something changes.

    `after`: what the passing of time alone changes (a destination expires), changes then; None for nothing.
    """

    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """On the way, and nothing will tell us when to go on: look again `after` that time."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Waiting:
    """On the way; a change of something watched goes on. `after` is a safety net, None for none."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Stalled:
    """Only a person can help, by changing the object or what it refers to. `reason` is from the catalogue."""

    reason: str


Outcome = Done | Again | Waiting | Stalled


def within(outcome: Outcome, limit: timedelta | None) -> Outcome:
    """`outcome`, with a look at the object after `limit` at the latest; None sets no limit."""
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
