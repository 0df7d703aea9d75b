"""
Long pieces of work on the one event loop: each begins in a turn of its own.

Between two of them the Lease is renewed, and probes are answered.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

_YOUNG: Final = 8
"""
Pieces of work after which the young are collected. What is alive then is visited once, and never again while it is
young: a collection before each piece would visit twice what several pieces in flight hold.
"""


class OnePerTurn:
    """
    Lets each piece of work begin in another turn of the event loop, and bounds how many young objects there are.

    A collection visits about a million objects a second, and CPython's own trigger is no bound: it counts allocations
    minus deallocations, so that work that replaces old objects by new ones collects none for long, and then hundreds of
    thousands at once (https://docs.python.org/3/library/gc.html#gc.set_threshold).
    """

    def __init__(self) -> None:
        self._beginning = asyncio.Lock()
        self._begun = 0
        self.filling = 0
        """How many of the next pieces make what lives as long as the process: no later collection has to visit that."""

    async def begin(self) -> None:
        """Wait until the event loop has been around once since another piece began."""
        async with self._beginning:
            await asyncio.sleep(0)
        self._begun += 1
        self.filling -= self.filling > 0
        if self._begun % _YOUNG:
            return
        gc.collect(1)
        if self.filling:
            gc.freeze()
