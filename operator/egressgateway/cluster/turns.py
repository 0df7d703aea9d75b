"""
When the readers of gateways' pages ask which pod, so that pods that do not answer delay only each other.

Pods that answered last time have slots of their own, and so have those that did not: however many of these there are,
they only delay each other. Silent pods are asked less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

_FAST: Final = 16
"""Concurrent requests to pods that answered last time, or were never asked."""

_SLOW: Final = 8
"""The same for those that were silent."""

_LONGEST_SILENCE: Final = 3
"""Rounds, as a power of two, after which a pod is asked again, however long it has been silent."""


class Turns:
    """Remembers for each pod, by its address, how often in a row it did not answer."""

    def __init__(self) -> None:
        self._fast = asyncio.Semaphore(_FAST)
        self._slow = asyncio.Semaphore(_SLOW)
        self._silent: dict[str, int] = {}
        self._skips: dict[str, int] = {}

    def is_due(self, address: str) -> bool:
        """Whether the pod is asked in this round of its object; a silent one in every second, fourth, eighth ..."""
        left = self._skips.get(address, 0)
        if left:
            self._skips[address] = left - 1
        return not left

    def place(self, address: str) -> asyncio.Semaphore:
        """The semaphore to hold while the pod is asked."""
        return self._slow if address in self._silent else self._fast

    def record_answer(self, address: str, *, answered: bool) -> None:
        """The result of asking the pod."""
        if answered:
            self.forget((address,))
            return
        silent = self._silent[address] = min(self._silent.get(address, 0) + 1, _LONGEST_SILENCE)
        self._skips[address] = 2**silent - 1

    def forget(self, addresses: Iterable[str]) -> None:
        """These pods are gone, or have changed (one became ready, for example): they count as never asked."""
        for address in addresses:
            self._silent.pop(address, None)
            self._skips.pop(address, None)
