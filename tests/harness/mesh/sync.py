"""When istiod and its proxies are in step, from what istiod says of each proxy (`/debug/syncz`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from harness.rest import Object

QUIET: Final = 0.3
"""Seconds without a push after which istiod has sent all that it knows: three times its debounce."""

STANDSTILL: Final = 15.0
"""Seconds without a push or an acknowledgement after which none will come."""


class Sync:
    """Watches what istiod says of its proxies until it changes no more."""

    def __init__(self, look: Callable[[], list[Object]], clock: Callable[[], float] = time.monotonic) -> None:
        """`look`: the state of each proxy, as `istio.sync_states` returns it."""
        self._look = look
        self._clock = clock
        self._last: list[Object] | None = None
        self._since = 0.0
        self.unacknowledged: list[str] = []
        """As of the last look: updates that istiod has sent, and holds to be unacknowledged."""

    def is_settled(self) -> bool:
        """
        Look once more. True when nothing has moved for a while, for a long while if something is unacknowledged.

        Raises:
            LookupError: not yet; says what is unacknowledged.
        """
        states, now = self._look(), self._clock()
        if states != self._last:
            self._last, self._since = states, now
        self.unacknowledged = list(_unacknowledged(states))
        if now - self._since >= (STANDSTILL if self.unacknowledged else QUIET):
            return True
        raise LookupError(f"unacknowledged: {self.unacknowledged}")


def _unacknowledged(states: Iterable[Object]) -> Iterable[str]:
    for state in states:
        for kind in ("cluster", "listener", "route", "endpoint"):
            if state.get(f"{kind}_sent", "") != state.get(f"{kind}_acked", ""):
                yield f"{kind} of {state['proxy']}"
