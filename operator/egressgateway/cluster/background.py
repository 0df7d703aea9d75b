"""Tasks that run for as long as the process does: if a bug ends one, its trace is logged at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress

log = logging.getLogger(__name__)


def background(work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
    """
    Start `work` as a task called `name`.

    asyncio keeps a task's exception until the task is awaited, and these tasks never are.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report_bug)
    return task


def _report_bug(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    bug = task.exception()
    if bug is not None:
        log.error("Background task ended because of a bug", exc_info=bug, extra={"fields": {"task": task.get_name()}})


class Background:
    """One task of that kind, which its owner starts and stops."""

    def __init__(self, run: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        """`run` makes the work; `name` is the task's."""
        self._run = run
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = background(self._run(), self._name)

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def ended(self) -> bool:
        """Whether it was started and ended without `stop`, which only a bug causes."""
        return self._task is not None and self._task.done()
