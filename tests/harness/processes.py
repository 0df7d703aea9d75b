"""
Processes that outlive the function, and perhaps the program, that started them.

A process is remembered as (pid, start, boot), so that it can be ended from another program and a recycled pid is never
hit. What runs in them and in which order is decided in `controlplane`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.wait import eventually

_STATE: Final = 0
_START: Final = 19
"""Places in /proc/PID/stat behind the name of the program (proc(5): fields 3 and 22)."""

_ENDED: Final = ("Z", "X", "x")


@dataclass(frozen=True, slots=True)
class Process:
    """
    A started process.

    `born` is its start in the kernel's ticks, and the boot that they are counted from. Neither the wall clock nor the
    command line: the one is set while a machine runs, the other is empty in the middle of exec, and is another one once
    `nsenter` has become what it was told to start.
    """

    pid: int
    born: str
    argv: tuple[str, ...]

    @classmethod
    def load(cls, record: Mapping[str, Any]) -> Process:
        """The process of a record that `asdict` made, perhaps in another program."""
        # A record without a birth is of an older version of this harness: whatever has the pid now is not taken for it.
        return cls(record["pid"], record.get("born", ""), tuple(record["argv"]))

    def alive(self) -> bool:
        """Whether this very process still runs: a zombie does not, nor does another one under its pid."""
        _reap(self.pid)
        try:
            state, born = _stat(self.pid)
        except ProcessLookupError:
            return False
        return born == self.born and state not in _ENDED

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
    Start `argv` in a session of its own, with output appended to `log`, and with no other file of the caller's.

    posix_spawn and not subprocess: a `Popen` object complains when it is dropped while its process runs,
    and these run on by design.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
        # Python's own files are closed by exec. Those that this process was started with are not: a shell's lock, a
        # pipe to whoever waits for the end of all output.
        *((os.POSIX_SPAWN_CLOSE, each) for each in _inherited()),
    ]
    pid = os.posix_spawn(argv[0], list(argv), {**os.environ, **(env or {})}, file_actions=files, setsid=True)
    return remembered(pid, argv)


def remembered(pid: int, argv: Sequence[str]) -> Process:
    """
    A process that somebody else started, as one that `spawn` did.

    Raises:
        ProcessLookupError: there is none.
    """
    return Process(pid, _stat(pid)[1], tuple(argv))


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


def _stat(pid: int) -> tuple[str, str]:
    """State and birth of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    # The name may hold spaces and parentheses; what stands behind the last one is numbers.
    fields = text.rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return fields[_STATE], f"{fields[_START]} {boot}"


def _inherited() -> Iterator[int]:
    """Files above the three of every program that exec would leave open."""
    for each in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if each > 2 and os.get_inheritable(each):
                yield each


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
