"""The operator is killed again and again while objects come, change and go: nobody can tell afterwards."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from harness.chaos.account import Account, complaints, writes_stop
from harness.chaos.endstate import wipe
from harness.chaos.seeds import KILLS, SEED
from harness.chaos.stage import ALONE, Stage, open_stage
from harness.chaos.story import LONG, Story
from harness.controlplane import ControlPlane
from harness.operator import OperatorProcess
from harness.wait import eventually

pytestmark = pytest.mark.controlplane

LONGEST_LIFE = 80
"""Lines of the log after which a process is killed at the latest: its start makes ten, each write and pass one."""

MAX_IN_FLIGHT = 32
"""Calls that the operator has under way at most (`--max-in-flight`): what its successor may do again."""

READS_PER_LIFE = 80
"""Lists and gets of one process: each cache is listed once, and what objects refer to is read once."""


@pytest.fixture(scope="module")
def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(plane, tmp_path_factory.mktemp("stage"), Story(SEED)) as stage:
        yield stage


@pytest.mark.timeout(900)
def test_killed_operator_leaves_what_an_undisturbed_one_does(stage: Stage, tmp_path: Path) -> None:
    """
    Killed (SIGKILL) at random moments while objects of all kinds are applied, edited, suspended and deleted, the
    operator leaves the same objects, field by field, as one that nobody touched; no orphans, no trace in a log.

    A kill costs no more writes than were under way, and what each process reads at its start.
    """
    print(f"EGRESSGATEWAY_CHAOS_SEED={SEED} EGRESSGATEWAY_CHAOS_KILLS={KILLS}")
    account = Account(stage.plane)
    logs = kill_again_and_again(stage, tmp_path)
    with stage.operator(tmp_path / "last.log", *ALONE) as operator:
        stage.ends_well()
        disturbed = account.read()
        writes_stop(stage.plane, LONG)
        assert operator.running
        wipe(stage.plane)
    assert [line for log in (*logs, operator.log) for line in complaints(log)] == []
    assert disturbed.written <= stage.undisturbed.written + KILLS * MAX_IN_FLIGHT
    assert disturbed.reads.total() <= stage.undisturbed.reads.total() + (KILLS + 2) * READS_PER_LIFE


def kill_again_and_again(stage: Stage, directory: Path) -> list[Path]:
    """Play the story and kill the operator all the time; returns the logs."""
    dice = random.Random(SEED)
    logs = [directory / f"{number}.log" for number in range(KILLS)]
    with ThreadPoolExecutor(1) as pool, Pace(len(stage.story.steps), KILLS) as pace:
        told = pool.submit(stage.story.play, stage.plane, pace.wait)
        for log in logs:
            operator = stage.operator(log, *ALONE).start(wait=False)
            pace.go_on()
            lines = dice.randrange(LONGEST_LIFE)
            try:
                eventually(partial(has_said, operator, lines), timeout=LONG, what=f"{lines} lines")
            finally:
                operator.kill()
            if told.done():
                told.result()
        with stage.operator(directory / "rest.log", *ALONE):
            pace.end()
            told.result()
    return [*logs, directory / "rest.log"]


class Pace:
    """Gives a story's steps out evenly over so many lives of an operator, and the rest at the end of the block."""

    def __init__(self, steps: int, lives: int) -> None:
        self._steps = steps
        self._per_life = steps / lives
        self._lives = 0
        self._permits = threading.Semaphore(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def wait(self) -> None:
        """Until the next step may be done."""
        self._permits.acquire()

    def go_on(self) -> None:
        """One life more."""
        before = int(self._lives * self._per_life)
        self._lives += 1
        for _ in range(before, int(self._lives * self._per_life)):
            self._permits.release()

    def end(self) -> None:
        """Hold nothing up any more."""
        self._permits.release(self._steps)


def has_said(operator: OperatorProcess, lines: int) -> bool:
    """Whether the process has logged so much, or has nothing left to do."""
    if operator.log.read_bytes().count(b"\n") >= lines:
        return True
    return operator.answers("/readyz") and operator.is_idle(1, later=1000)
