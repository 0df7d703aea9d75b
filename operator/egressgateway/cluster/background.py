"""Tasks that run for as long as the process does: if a bug ends one, its trace is logged at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

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
