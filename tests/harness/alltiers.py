"""
`make test`: every tier that can run here, two at a time, whatever becomes of the others; then a verdict on each.

They share no state, and tests of a mesh or of nodes wait most of the time. What a tier says is shown in one piece. One
that cannot run is left out with its reason, where it may be (`harness.tiers`); in CI it fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from harness.session import ROOT
from harness.tiers import left_out

_NO_TESTS: Final = 5
"""pytest's exit code where none was selected."""

_ALONE: Final = ("mesh",)
"""
Tiers with one cluster for all of their tests. The one on real nodes is called by itself (`make node-tier`) until all of
it has passed in one go.
"""

_AT_ONCE: Final = 2
_LOOK_SECONDS: Final = 0.5

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
    with TemporaryDirectory(prefix="tiers-") as directory, ThreadPoolExecutor(_AT_ONCE) as pool:
        logs = [Path(directory) / tier.name for tier in every]
        runs = [pool.submit(_run, tier, log) for tier, log in zip(every, logs, strict=True)]
        for tier, log, run in zip(every, logs, runs, strict=True):
            say(f"==> {tier.name}")
            _show(log, run)
        verdicts = [run.result() for run in runs]
    say("")
    for verdict in verdicts:
        say(str(verdict))
    return all(verdict.passed for verdict in verdicts)


def _run(tier: Tier, log: Path) -> Verdict:
    began = time.monotonic()
    with log.open("wb") as output:
        if tier.tools and _called(tier.tools, subprocess.DEVNULL, output):
            return Verdict(tier.name, "FAILED: not to be built", passed=False, seconds=time.monotonic() - began)
        if reason := tier.lacking():
            return Verdict(tier.name, f"left out: {reason}", passed=True)
        code = _called(tier.tests, output, output)
    empty = tier.may_be_empty and code == _NO_TESTS
    what = "no test was selected" if empty else f"FAILED: exit {code}" if code else "passed"
    return Verdict(tier.name, what, passed=empty or not code, seconds=time.monotonic() - began)


def _called(argv: Sequence[str], output: int | IO[bytes], errors: IO[bytes]) -> int:
    return subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, check=False
    ).returncode


def _show(log: Path, run: Future[Verdict]) -> None:
    """Write what a tier says to standard output, as it comes, until it has ended."""
    shown = 0
    while True:
        ended = run.done()
        if log.exists():
            with log.open("rb") as said:
                said.seek(shown)
                news = said.read()
            shown += len(news)
            sys.stdout.write(news.decode(errors="replace"))
            sys.stdout.flush()
        if ended:
            return
        time.sleep(_LOOK_SECONDS)


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
