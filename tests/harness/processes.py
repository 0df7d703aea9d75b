"""
Processes that outlive the function, and perhaps the program, that started them.

A process is remembered as (pid, start time, command), so that it can be ended from another program and a
recycled pid is never hit. What runs in them and in which order is decided in `controlplane`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.wait import eventually


@dataclass(frozen=True, slots=True)
class Process:
    """A started process. `created` is its start in seconds since the epoch, as the kernel tells it."""

    pid: int
    created: float
    argv: tuple[str, ...]

    def alive(self) -> bool:
        """Whether this very process still runs: a zombie does not, nor does another one under its pid."""
        _reap(self.pid)
        try:
            found = psutil.Process(self.pid)
            same = found.create_time() == self.created and found.cmdline() == list(self.argv)
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, patience: float = 0) -> None:
        """Ask the process to end, and after `patience` seconds do not ask."""
        if patience:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                eventually(lambda: not self.alive(), timeout=patience, what=f"the end of {self.argv[0]}")
        self.signal(signal.SIGKILL)
        eventually(lambda: not self.alive(), timeout=10, what=f"the end of killed {self.argv[0]}")


def spawn(argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Process:
    """
    Start `argv` in a session of its own, with output appended to `log`.

    posix_spawn and not subprocess: a `Popen` object complains when it is dropped while its process runs,
    and these run on by design.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(argv[0], list(argv), {**os.environ, **(env or {})}, file_actions=files, setsid=True)
    return Process(pid, psutil.Process(pid).create_time(), tuple(argv))


def wait_for_exit(pid: int) -> None:
    """Return once process `pid` has ended, or at once if there is none. It need not be a child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
