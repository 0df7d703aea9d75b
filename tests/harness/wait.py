"""Waiting: conditions are polled, nothing sleeps for a guessed time. All patience of the tests is in one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

START: Final = 60.0
"""Seconds for a control plane to become ready. It takes 3; a busy machine takes longer."""

CONVERGE: Final = 120.0
"""
Seconds for controllers to bring the cluster to what was asked. They take one, real nodes ten; a busy machine takes
longer.
"""

POLL: Final = 0.05

LONGEST_POLL: Final = 0.5
"""Seconds between two looks at most: see `_pause`."""

LONGEST: Final = 10
"""Timeouts after which something that still moves has failed: it moves in a circle."""


def eventually(
    check: Callable[[], T],
    *,
    timeout: float = CONVERGE,
    what: str = "",
    interval: float = POLL,
    progress: Callable[[], object] | None = None,
) -> T:
    """
    The first true answer of `check`, asked again and again: each `interval` seconds, less often where it costs much.

    `AssertionError` and `LookupError` of `check` count as "not yet", so that a check may assert; those of `progress` as
    no progress.

    Args:
        timeout: seconds without a true answer; with `progress`, those since its value changed last. What takes as long
            as the machine is busy fails when it stands still, and not before; after `LONGEST` timeouts in any case.

    Raises:
        TimeoutError: no true answer in time; says what was waited for and the last answer.
    """
    began = moved = time.monotonic()
    seen = _seen_by(progress)
    while True:
        looked = time.monotonic()
        try:
            last: object = (answer := check())
            if answer:
                return answer
        except (AssertionError, LookupError) as not_yet:
            last = not_yet
        if (value := _seen_by(progress)) != seen:
            seen, moved = value, time.monotonic()
        now = time.monotonic()
        if now > moved + timeout or now > began + LONGEST * timeout:
            raise TimeoutError(f"{what or 'condition'} not reached in {now - began:.0f} s; last answer: {last!r}")
        time.sleep(_pause(interval, now - looked, now - began))


def _pause(interval: float, look: float, waited: float) -> float:
    """
    Seconds until the next look: a look must not take from the machine what it is waiting for.

    So it takes a fourth of the time at most, and where something takes long, it is seen a fiftieth later.
    """
    return max(interval, min(LONGEST_POLL, max(3 * look, waited / 50)))


def _seen_by(progress: Callable[[], object] | None) -> object:
    try:
        return progress() if progress else None
    except (AssertionError, LookupError):
        return None
