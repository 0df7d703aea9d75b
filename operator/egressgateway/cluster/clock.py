"""
The API server's clock, from its answers: one clock for all replicas, whatever their machines say.

Each answer has a `Date` (RFC 9110 §6.6.1), a whole second. When it was sent lies between request and answer, so that it
bounds how far the server's clock is from this process's own, which never goes back. Many answers narrow that down to
milliseconds; one that contradicts them means that a clock was set, and counts alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

log = logging.getLogger(__name__)

NOTEWORTHY: Final = timedelta(seconds=30)
"""How far this machine's clock may be from the API server's before the log warns."""


def _wall() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """The API server's time; this machine's until the first answer."""

    def __init__(
        self, *, wall: Callable[[], datetime] = _wall, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        # Bounds of the server's time less the monotonic one, in seconds.
        self._low: float | None = None
        self._high = 0.0
        self._is_noted = False

    @property
    def monotonic(self) -> float:
        """Seconds of the clock of `heard`, for the times when a call was sent and answered."""
        return self._monotonic()

    def now(self) -> datetime:
        """The time for all decisions, and for all recorded times that others compare."""
        if self._low is None:
            return self._wall()
        return datetime.fromtimestamp((self._low + self._high) / 2 + self._monotonic(), UTC)

    def skew(self) -> timedelta:
        """How far this machine's clock is ahead of the API server's; nothing before the first answer."""
        return self._wall() - self.now()

    def heard(self, date: str | None, sent: float, answered: float) -> None:
        """An answer with this `Date` came, to a call from `sent` to `answered`; an unreadable date is ignored."""
        try:
            second = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError):
            return
        low, high = second - answered, second + 1.0 - sent
        if self._low is not None and max(low, self._low) <= min(high, self._high):
            low, high = max(low, self._low), min(high, self._high)
        self._low, self._high = low, high
        self._tell()

    def _tell(self) -> None:
        far = abs(self.skew()) > NOTEWORTHY
        if far and not self._is_noted:
            fields = {"ahead_seconds": round(self.skew().total_seconds(), 1)}
            log.warning("Clock differs from the API server's; using the API server's", extra={"fields": fields})
        self._is_noted = far
