"""Exponential backoff with jitter: how long to wait after the n-th failure in a row."""

from __future__ import annotations

import random
from dataclasses import dataclass


def backoff_seconds(failures: int, base: float, cap: float) -> float:
    """
    Seconds to wait after `failures` failures in a row: doubling from `base`, at most `cap`, times U(0.5, 1).

    The jitter spreads the retries of many callers that failed together.
    """
    exponent = min(max(failures - 1, 0), 32)
    return float(min(cap, base * 2**exponent) * random.uniform(0.5, 1.0))  # noqa: S311  (jitter, no secret)


@dataclass(slots=True)
class Backoff:
    """Failures in a row of one activity. Times in seconds."""

    base: float
    failures: int = 0

    def next(self, cap: float) -> float:
        """Count one more failure; returns the seconds to wait."""
        self.failures += 1
        return backoff_seconds(self.failures, self.base, cap)

    def reset(self) -> None:
        """The activity works again."""
        self.failures = 0
