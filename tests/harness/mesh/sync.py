"""When istiod and its proxies are in step, from what istiod says of each proxy (`/debug/syncz`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from harness.rest import Object

QUIET: Final = 0.3
"""Seconds without a push after which istiod has sent all that it knows: three times its debounce."""

STANDSTILL: Final = 15.0
"""Seconds without a push or an acknowledgement after which none will come by itself."""


class Sync:
    """
    Watches what istiod says of its proxies until all is acknowledged.

    In a burst of pushes istiod can miss an acknowledgement, and learns of it with its next push (seen under load: one
    type of one proxy in arrears, and no push for the minute that followed). So it is asked to push what stands still,
    and each proxy has to acknowledge that.
    """

    def __init__(
        self,
        look: Callable[[], list[Object]],
        push: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look`: the state of each proxy, as `istio.sync_states` returns it; `push`: makes istiod push everything."""
        self._look = look
        self._push = push
        self._clock = clock
        self._last: list[Object] | None = None
        self._since = 0.0
        self.missed: list[str] = []
        """Updates that stood unacknowledged until istiod was asked to push again."""

    def is_settled(self) -> bool:
        """
        Look once more. True when everything is acknowledged, and nothing has moved for a while.

        Raises:
            LookupError: not yet; says what is unacknowledged.
        """
        states, now = self._look(), self._clock()
        if states != self._last:
            self._last, self._since = states, now
        open_ = list(_unacknowledged(states))
        if not open_ and now - self._since >= QUIET:
            return True
        if open_ and now - self._since >= STANDSTILL:
            self.missed += open_
            self._since = now
            self._push()
        raise LookupError(f"unacknowledged: {open_}")


def _unacknowledged(states: Iterable[Object]) -> Iterable[str]:
    for state in states:
        for kind in ("cluster", "listener", "route", "endpoint"):
            if state.get(f"{kind}_sent", "") != state.get(f"{kind}_acked", ""):
                yield f"{kind} of {state['proxy']}"
