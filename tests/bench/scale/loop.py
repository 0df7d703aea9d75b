"""
An event loop that measures itself, and whose clock does not wait.

A turn is what lies between two looks at the sockets: whoever has a Lease to renew or a probe to answer waits for its
end. The clock moves to the next timer when nothing is left to do, so that ten minutes take no time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

TURN_SECONDS: Final = 0.001
"""By how much each turn moves the clock: the same in each run, whatever the machine."""


class Meter:
    """CPU seconds of this thread, without those that were spent aside: on what is no part of the operator."""

    def __init__(self) -> None:
        self._aside = 0.0
        self._turn = 0.0
        self.longest_turn = 0.0
        """CPU seconds of the longest turn since the last `restart`."""

    def cpu(self) -> float:
        """CPU seconds until now."""
        return time.thread_time() - self._aside

    def restart(self) -> None:
        """Measure turns anew. The one that goes on counts from now."""
        self.longest_turn = 0.0
        self._turn = self.cpu()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done within is not the operator's work."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._aside += time.thread_time() - began

    def begin_turn(self) -> None:
        self._turn = self.cpu()

    def end_turn(self) -> None:
        self.longest_turn = max(self.longest_turn, self.cpu() - self._turn)


class _Selector(selectors.SelectSelector):
    """Looks at the sockets, and never waits for one: the clock moves instead."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter()
        self.now = 1000.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.meter.end_turn()
        if timeout is None:
            raise RuntimeError("nothing is left to do, and nothing will ever come")
        self.now += max(timeout, TURN_SECONDS)
        self.turns += 1
        found = super().select(0)
        self.meter.begin_turn()
        return found


class MeasuredLoop(asyncio.SelectorEventLoop):
    """For one thread that does nothing else."""

    def __init__(self) -> None:
        self._looking = _Selector()
        super().__init__(self._looking)

    @property
    def meter(self) -> Meter:
        return self._looking.meter

    @property
    def turns(self) -> int:
        """How many there were."""
        return self._looking.turns

    def time(self) -> float:
        return self._looking.now
