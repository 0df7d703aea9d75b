"""
API server and etcd freeze, die and forget while objects of all kinds come, change and go: nobody can tell afterwards.

The same process lives through all of it. `test_outage` has long outages, `test_faults` single requests that fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.chaos.account import Account, complaints, passed, writes_stop
from harness.chaos.endstate import wipe
from harness.chaos.seeds import SEED
from harness.chaos.stage import ELECTED, EXPECTED_IN_AN_OUTAGE, Stage, open_stage
from harness.chaos.story import LONG, Story, do
from harness.controlplane import ControlPlane
from harness.metrics import Metrics
from harness.operator import OperatorProcess

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

CHAPTERS = 3
"""A disturbance comes at the end of each, while its last steps are under way."""

FROZEN_SECONDS = 5.0
"""Longer than the Lease of 3 s lives."""

WRITES_PER_OBJECT = 15
"""What an object may cost more for each disturbance: a burst that was under way is made again."""

Disturbance = Callable[[ControlPlane], None]


def frozen(plane: ControlPlane) -> None:
    """The API server takes connections and answers nothing."""
    plane.freeze_apiserver()
    passed(FROZEN_SECONDS)
    plane.thaw_apiserver()


def killed(plane: ControlPlane) -> None:
    """The API server dies."""
    plane.stop_apiserver(patience=0)
    passed(1.0)
    plane.start_apiserver()


def without_etcd(plane: ControlPlane) -> None:
    """The API server answers every request with an error."""
    plane.kill_etcd()
    passed(FROZEN_SECONDS)
    plane.start_etcd()


def compacted(plane: ControlPlane) -> None:
    """The API server comes back, and knows nothing of the versions at which watches stood."""
    plane.stop_apiserver(patience=0)
    plane.compact()
    plane.start_apiserver()


DISTURBANCES: dict[str, Disturbance] = {
    "frozen": frozen,
    "killed": killed,
    "etcd-killed": without_etcd,
    "compacted": compacted,
}


@pytest.fixture(scope="module")
def stage(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(plane, tmp_path_factory.mktemp("stage"), Story(SEED)) as stage:
        yield stage


@pytest.mark.parametrize("disturb", DISTURBANCES.values(), ids=DISTURBANCES)
def test_story_ends_as_if_nothing_had_been(stage: Stage, disturb: Disturbance, operator_log: Path) -> None:
    """
    Disturbed in the midst of its work again and again, the same process leaves the same objects, field by field.

    Nothing is left of what was deleted, the log has no trace, and each object costs but some writes more.
    """
    print(f"EGRESSGATEWAY_CHAOS_SEED={SEED}")
    account = Account(stage.plane)
    with stage.operator(operator_log, *ELECTED) as operator:
        pid = operator.pid
        for chapter in stage.story.chapters(CHAPTERS):
            for step in chapter:
                do(stage.plane, step)
            disturb(stage.plane)
        stage.ends_well()
        asked = account.read()
        writes_stop(stage.plane, LONG)
        assert disturb is not compacted or expired_watches(operator) > 0
        assert operator.running
        assert operator.pid == pid
        wipe(stage.plane)
    assert complaints(operator_log, EXPECTED_IN_AN_OUTAGE) == []
    more = CHAPTERS * len(stage.story.objects) * WRITES_PER_OBJECT
    assert asked.written <= stage.undisturbed.written + more


def expired_watches(operator: OperatorProcess) -> float:
    """How many watches had to list anew, as the server had forgotten their version."""
    restarts = Metrics(operator.get("/metrics")).samples("egressgateway_watch_restarts_total")
    return sum(each.value for each in restarts if each.labels["reason"] == "expired")
