"""
`make test`: every tier that can run here, one after the other, whatever became of those before; then a verdict on each.

A tier that cannot run is left out with its reason, where it may be (`harness.tiers`); in CI it fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from harness.session import ROOT
from harness.tiers import left_out

_NO_TESTS: Final = 5
"""pytest's exit code where none was selected."""

_ALONE: Final = ("mesh",)
"""
Tiers with one cluster for all of their tests. The one on real nodes is called by itself (`make node-tier`) until all of
it has passed in one go.
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tier:
    """One run of pytest, and the command that builds what it needs."""

    name: str
    tests: tuple[str, ...]
    tools: tuple[str, ...] = ()
    lacking: Callable[[], str] = lambda: ""
    """Why it is left out here; empty: it is not. Asked once the tools are built."""

    may_be_empty: bool = False
    """Whether some tests were asked for, of which this tier may have none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a tier."""

    name: str
    what: str
    passed: bool
    seconds: float = 0

    def __str__(self) -> str:
        return f"{self.name:20} {self.what:24} {self.seconds:6.0f} s"


def tiers(arguments: Sequence[str]) -> Iterator[Tier]:
    """All of them, by pytest's arguments: workers are for the first alone, as the clusters of the others are one."""
    alone = _without_workers(arguments)
    some = bool(alone)
    yield Tier("unit to controlplane", _pytest("not mesh and not node", arguments), may_be_empty=some)
    for name in _ALONE:
        build = (sys.executable, "-m", f"harness.{name}", "tools", "--where-possible")
        yield Tier(name, _pytest(name, alone), build, partial(left_out, name), some)


def run_all(every: Sequence[Tier], say: Say) -> bool:
    """Run them all; whether none failed. The last lines say what became of each."""
    verdicts = []
    for tier in every:
        say(f"==> {tier.name}")
        verdicts.append(_run(tier))
    say("")
    for verdict in verdicts:
        say(str(verdict))
    return all(verdict.passed for verdict in verdicts)


def _run(tier: Tier) -> Verdict:
    began = time.monotonic()
    if tier.tools and _called(tier.tools, stdout=subprocess.DEVNULL):
        return Verdict(tier.name, "FAILED: not to be built", passed=False, seconds=time.monotonic() - began)
    if reason := tier.lacking():
        return Verdict(tier.name, f"left out: {reason}", passed=True)
    code = _called(tier.tests)
    empty = tier.may_be_empty and code == _NO_TESTS
    what = "no test was selected" if empty else f"FAILED: exit {code}" if code else "passed"
    return Verdict(tier.name, what, passed=empty or not code, seconds=time.monotonic() - began)


def _called(argv: Sequence[str], stdout: int | None = None) -> int:
    return subprocess.run(argv, cwd=ROOT, stdout=stdout, check=False).returncode


def _pytest(marks: str, arguments: Sequence[str]) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", "-m", marks, *arguments)


def _without_workers(arguments: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for each in arguments:
        if skip:
            skip = False
        elif each in ("-n", "--dist"):
            skip = True
        else:
            kept.append(each)
    return kept
