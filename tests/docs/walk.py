"""
Runs the commands of a page as a reader would: in one shell, from the root of the repository, in their order.

What a `console` block prints is compared line by line: spaces, ages and times may differ, `…` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from docs.pages import ROOT, Block

SECONDS = 420
_MARK = "----- end of block "
_AGE = r"(?:\d+[smhd])+"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@dataclass(frozen=True, slots=True)
class Step:
    """A block, and what its commands printed; `failed` when they ended with an error."""

    block: Block
    output: str
    failed: bool


def commands_of(block: Block) -> str:
    """The commands of a block as text for a shell."""
    if block.language == "sh":
        return block.text
    return "".join(f"{line[2:]}\n" for line in block.text.splitlines() if line.startswith("$ "))


def expected_of(block: Block) -> list[str]:
    """The lines that a `console` block says are printed."""
    lines = block.text.splitlines() if block.language == "console" else []
    return [line for line in lines if line.strip() and not line.startswith("$ ")]


def run(blocks: list[Block], environment: dict[str, str]) -> Iterator[Step]:
    """Run the blocks in one shell; it ends at the first command that fails."""
    # `eval`, so that the shell reads a block whole before it runs any of it.
    script = "".join(
        f"eval {shlex.quote(commands_of(block))}\necho '{_MARK}{number}'\n" for number, block in enumerate(blocks)
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script,
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    rest = done.stdout
    for number, block in enumerate(blocks):
        output, ended, rest = rest.partition(f"{_MARK}{number}\n")
        yield Step(block, output, failed=not ended)
        if not ended:
            return


def unexpected(step: Step) -> list[str]:
    """Lines of the block that its commands did not print, in the block's order."""
    missing = []
    lines = step.output.splitlines()
    for wanted in expected_of(step.block):
        pattern = re.compile(_pattern(wanted))
        found = next((index for index, line in enumerate(lines) if pattern.fullmatch(line.strip())), None)
        if found is None:
            missing.append(wanted)
        else:
            lines = lines[found + 1 :]
    return missing


def _pattern(line: str) -> str:
    words = []
    for word in line.split():
        text = _AGE if re.fullmatch(_AGE, word) else re.escape(word).replace("…", ".*")
        words.append(re.sub(r"\d{4}\\-\d\d\\-\d\dT\d\d:\d\d:\d\dZ", lambda _: _TIME, text))
    return r"\s+".join(words)
