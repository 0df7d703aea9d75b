"""Waiting: conditions are polled, nothing sleeps for a guessed time. All patience of the tests is in one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

START: Final = 60.0
"""Seconds for a control plane to become ready. It takes 3; a busy machine takes longer."""

CONVERGE: Final = 60.0
"""Seconds for controllers to bring the cluster to what was asked. They take one; a busy machine takes longer."""

POLL: Final = 0.05


def eventually(check: Callable[[], T], *, timeout: float = CONVERGE, what: str = "", interval: float = POLL) -> T:
    """
    The first true answer of `check`, asked again and again, each `interval` seconds.

    `AssertionError` and `LookupError` of `check` count as "not yet", so that a check may assert.

    Raises:
        TimeoutError: no true answer within `timeout` seconds; says what was waited for and the last answer.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            last: object = (answer := check())
            if answer:
                return answer
        except (AssertionError, LookupError) as not_yet:
            last = not_yet
        if time.monotonic() > end:
            raise TimeoutError(f"{what or 'condition'} not reached in {timeout:g} s; last answer: {last!r}")
        time.sleep(interval)
