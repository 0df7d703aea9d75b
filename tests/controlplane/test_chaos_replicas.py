"""
Two operators at once where there should be one, clocks that are an hour apart, a leader that sleeps: nobody can tell.

`test_leader` is about how one of two is chosen.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from harness.chaos import world
from harness.chaos.account import Account, complaints, passed, writes_stop
from harness.chaos.clock import wrong_by
from harness.chaos.endstate import wipe
from harness.chaos.seeds import SEED
from harness.chaos.stage import ALONE, ELECTED, EXPECTED_IN_AN_OUTAGE, Stage, open_stage
from harness.chaos.story import LONG, Story, do
from harness.controlplane import ControlPlane
from harness.operator import OperatorProcess
from harness.wait import eventually

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

HOUR: Final = 3600.0
CHAPTERS: Final = 4
ASLEEP_SECONDS: Final = 5.0
"""Longer than the Lease of 3 s lives."""

WRITES_BY_TWO: Final = 3
"""Two that do not know of each other write everything twice, and a status again after a conflict."""


@pytest.fixture(scope="module")
def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(plane, tmp_path_factory.mktemp("stage"), Story(SEED)) as stage:
        yield stage


class TestTwoWithoutElection:
    """Both believe that they are alone."""

    def test_end_is_the_same_and_they_stop_writing(self, stage: Stage, tmp_path: Path) -> None:
        """
        The same objects, field by field, as one operator leaves; then no writes, in two intervals that follow.

        Both live, no log has a trace, and all in all no more is written than some times what one does.
        """
        print(f"EGRESSGATEWAY_CHAOS_SEED={SEED}")
        account = Account(stage.plane)
        with (
            stage.operator(tmp_path / "one.log", *ALONE) as one,
            stage.operator(tmp_path / "two.log", *ALONE) as two,
        ):
            stage.story.play(stage.plane)
            stage.ends_well()
            asked = account.read()
            writes_stop(stage.plane, LONG)
            assert (one.running, two.running) == (True, True)
            wipe(stage.plane)
            world.build(stage.plane)
        assert [*complaints(one.log), *complaints(two.log)] == []
        assert asked.written <= WRITES_BY_TWO * stage.undisturbed.written


class TestSleepingLeader:
    """A leader that is stopped in the midst of its work does not know that another one has taken over."""

    def test_end_is_the_same(self, stage: Stage, tmp_path: Path) -> None:
        """It wakes with old plans in hand, and leaves everything to the new leader, or leads again."""
        print(f"EGRESSGATEWAY_CHAOS_SEED={SEED}")
        with (
            stage.operator(tmp_path / "one.log", *ELECTED) as one,
            stage.operator(tmp_path / "two.log", *ELECTED) as two,
        ):
            for chapter in stage.story.chapters(CHAPTERS):
                for step in chapter:
                    do(stage.plane, step)
                sleep(leader_of(one, two))
            stage.ends_well()
            writes_stop(stage.plane, LONG)
            assert (one.running, two.running) == (True, True)
            eventually(lambda: sorted((one.leads, two.leads)) == [False, True], timeout=LONG, what="one leader")
            wipe(stage.plane)
            world.build(stage.plane)
        found = [*complaints(one.log, EXPECTED_IN_AN_OUTAGE), *complaints(two.log, EXPECTED_IN_AN_OUTAGE)]
        assert found == []


class TestClocks:
    """The leader's clock is not the API server's."""

    def test_end_is_the_same_whoever_leads(self, stage: Stage, tmp_path: Path) -> None:
        """Two replicas with clocks an hour apart lead in turns while the story goes on."""
        print(f"EGRESSGATEWAY_CHAOS_SEED={SEED}")
        clocks = [0.0, HOUR, -HOUR, HOUR / 2]
        logs = []
        for number, (chapter, ahead) in enumerate(zip(stage.story.chapters(CHAPTERS), clocks, strict=True)):
            logs.append(tmp_path / f"{number}.log")
            with stage.operator(logs[-1], *ELECTED, within=wrong_by(ahead)):
                for step in chapter:
                    do(stage.plane, step)
        with stage.operator(tmp_path / "right.log", *ELECTED) as operator:
            stage.ends_well()
            writes_stop(stage.plane, LONG)
            wipe(stage.plane)
            world.build(stage.plane)
        assert [line for log in (*logs, operator.log) for line in complaints(log, EXPECTED_IN_AN_OUTAGE)] == []


def leader_of(*operators: OperatorProcess) -> OperatorProcess:
    def leader() -> OperatorProcess | None:
        return next((each for each in operators if each.leads), None)

    found = eventually(leader, timeout=LONG, what="a leader")
    assert found is not None
    return found


def sleep(operator: OperatorProcess) -> None:
    """Stop a process for longer than its Lease lives, and let it go on where it was."""
    os.kill(operator.pid, signal.SIGSTOP)
    passed(ASLEEP_SECONDS)
    os.kill(operator.pid, signal.SIGCONT)
