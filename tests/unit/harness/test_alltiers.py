"""`make test` as a whole: one tier that fails keeps no other from running, and is not forgotten."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import tiers
from harness.alltiers import Tier, run_all
from harness.alltiers import tiers as all_tiers


def told(*every: Tier) -> tuple[bool, list[str]]:
    """Whether all passed, and the last lines: one a tier."""
    said: list[str] = []
    passed = run_all(every, said.append)
    return passed, said[-len(every) :]


def ends(code: int) -> tuple[str, ...]:
    return (sys.executable, "-c", f"raise SystemExit({code})")


def test_tier_after_a_failed_one_runs(tmp_path: Path) -> None:
    """And the whole fails, with the name of the one that did."""
    trace = tmp_path / "trace"
    runs = (sys.executable, "-c", f"open({str(trace)!r}, 'w')")
    passed, lines = told(Tier("first", ends(1)), Tier("second", runs))
    assert not passed
    assert trace.exists()
    assert ["FAILED" in line for line in lines] == [True, False]
    assert [line.split()[0] for line in lines] == ["first", "second"]


def test_tier_whose_tools_cannot_be_built_fails() -> None:
    """It could run here, or its builder would have said nothing and ended well."""
    passed, [line] = told(Tier("nodes", ends(0), tools=ends(1)))
    assert not passed
    assert "not to be built" in line


def test_tier_that_cannot_run_here_is_left_out_with_its_reason() -> None:
    passed, [line] = told(Tier("nodes", ends(1), lacking=lambda: "no root"))
    assert passed
    assert "left out: no root" in line


def test_tier_without_tests_is_a_failure_unless_some_were_asked_for() -> None:
    """A tier that nobody selects is one that did not run."""
    passed, [line] = told(Tier("mesh", ends(5)))
    assert not passed
    assert "FAILED: exit 5" in line
    passed, [line] = told(Tier("mesh", ends(5), may_be_empty=True))
    assert passed
    assert "no test was selected" in line
    assert not any(each.may_be_empty for each in all_tiers(("-n", "2")))
    assert all(each.may_be_empty for each in all_tiers(("-k", "steer")))


def test_workers_are_for_tests_that_share_no_cluster() -> None:
    """What is selected is selected in every tier."""
    first, *others = all_tiers(("-n", "2", "--dist", "loadfile", "-k", "steer"))
    assert first.tests[-6:] == ("-n", "2", "--dist", "loadfile", "-k", "steer")
    assert [each.tests[3:] for each in others] == [("-m", "mesh", "-k", "steer")]


@pytest.mark.parametrize("tier", ["mesh", "node"])
def test_nothing_is_left_out_in_ci(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a machine that cannot run a tier is a machine to be mended: the tier's tests fail and say why."""
    monkeypatch.setattr(tiers, "missing", lambda _: "no root")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv(tiers.REQUIRE, raising=False)
    assert tiers.left_out(tier) == "no root"
    monkeypatch.setenv("CI", "true")
    assert tiers.left_out(tier) == ""


def meets(mine: Path, other: Path) -> tuple[str, ...]:
    """A program that says something, and ends once another one has said that it is there."""
    program = f"""
import pathlib, time
print("{mine.name} begins", flush=True)
pathlib.Path({str(mine)!r}).touch()
until = time.monotonic() + 60
while not pathlib.Path({str(other)!r}).exists():
    assert time.monotonic() < until
    time.sleep(0.01)
print("{mine.name} ends", flush=True)
"""
    return (sys.executable, "-c", program)


def test_two_run_at_a_time_and_each_speaks_in_one_piece(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    passed, _ = told(Tier("first", meets(one, two)), Tier("second", meets(two, one)))
    assert passed
    assert capsys.readouterr().out.splitlines() == ["one begins", "one ends", "two begins", "two ends"]
