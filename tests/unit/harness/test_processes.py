"""A started process is known from its first moment on, takes nothing of its caller's with it, and is never mistaken."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.processes import Process, remembered, spawn
from harness.wait import eventually

FOREVER = ("/bin/sleep", "300")
PYTHON = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = spawn(FOREVER, tmp_path / "log")
    yield started
    started.stop()


def test_process_is_alive_from_the_first_moment_on(tmp_path: Path) -> None:
    """
    Right after its start, while the kernel still replaces the program.

    The command line is empty for up to 16 ms of exec: who went by it took every second process for dead.
    """
    started = []
    try:
        seen = [(started.append(each := spawn(PYTHON, tmp_path / "log")), each.alive())[1] for _ in range(30)]
    finally:
        for each in started:
            each.stop()
    assert seen == [True] * 30


def test_process_is_the_same_when_it_becomes_another_program(tmp_path: Path) -> None:
    """`nsenter` becomes the command that it is given."""
    program = spawn(["/bin/sh", "-c", "exec /bin/sleep 300"], tmp_path / "log")
    try:
        command = Path(f"/proc/{program.pid}/cmdline")
        eventually(lambda: command.read_bytes().startswith(b"/bin/sleep"), what="the other program")
        assert program.alive()
    finally:
        program.stop()
    assert not program.alive()


def test_ended_process_is_not_alive(process: Process) -> None:
    """Nor is one that has ended and that nobody has waited for."""
    os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not process.alive(), what="the end")


def test_another_process_under_the_pid_is_not_taken_for_it(process: Process) -> None:
    """It is neither alive nor hit by a signal: neither one that began at another time nor one of another boot."""
    begin, _, boot = process.born.partition(" ")
    for other in (f"{int(begin) + 1} {boot}", f"{begin} another-boot"):
        stranger = replace(process, born=other)
        assert not stranger.alive()
        stranger.signal(signal.SIGKILL)
    assert process.alive()


def test_remembered_process_is_found_by_another_program(process: Process) -> None:
    """All that is known of a process can be written to a file; a program that runs already can be remembered, too."""
    assert remembered(process.pid, FOREVER) == process
    assert Process.load(json.loads(json.dumps(asdict(process)))) == process


def test_child_keeps_no_file_of_its_caller(tmp_path: Path) -> None:
    """
    A lock that the caller's shell holds open ends with the shell: `flock` in a script, a pipe to `tee`.

    A control plane that `make cluster` leaves in the background once held such a lock for half an hour.
    """
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        child = spawn(FOREVER, tmp_path / "log")
    try:
        # Its program may still be opening files to start.
        eventually(lambda: sorted(map(int, os.listdir(f"/proc/{child.pid}/fd"))) == [0, 1, 2], what="three files")
        with (tmp_path / "lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        child.stop()


def test_child_does_not_read_its_callers_input(process: Process) -> None:
    """Nothing that runs in the background eats what somebody types."""
    assert os.readlink(f"/proc/{process.pid}/fd/0") == "/dev/null"


def test_operator_in_the_foreground_takes_a_free_port() -> None:
    """Two `make run` on one machine do not collide; the operator's own default is the chart's, and stays."""
    root = Path(__file__).resolve().parents[3]
    argv = ["make", "--dry-run", "--no-print-directory", "run"]
    clean = {name: value for name, value in os.environ.items() if name != "METRICS_PORT"}

    def command(**environment: str) -> str:
        done = subprocess.run(argv, cwd=root, env={**clean, **environment}, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert command().endswith("egressgw run --log-format human --metrics-port 0")
    assert command(METRICS_PORT="9100").endswith("--metrics-port 9100")
