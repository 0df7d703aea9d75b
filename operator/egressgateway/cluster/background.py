"""Tasks that run for as long as the process does: one that ends by a bug leaves its trace in the log, at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

log = logging.getLogger(__name__)


def background(work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
    """
    Start `work` as a task called `name`.

    asyncio keeps what a task raised until somebody asks for it; of a task that is never awaited nobody does.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_of_bug)
    return task


def _tell_of_bug(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    bug = task.exception()
    if bug is not None:
        log.error("Background task ended because of a bug", exc_info=bug, extra={"fields": {"task": task.get_name()}})
