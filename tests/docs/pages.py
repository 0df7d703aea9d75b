"""
The pages, and what of them can be tried: blocks of YAML, and commands.

A block of `sh` holds commands, one of `console` commands behind `$ ` with what they print. Both are run, in the order
of the page, unless a comment right before the block says why they cannot: `<!-- not run: needs a mesh -->`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
GROUP = "egressgateway.dev/"
COMMANDS = ("sh", "console")
OFFLINE = ("docs/cli.md",)
"""Pages whose commands need no cluster."""

NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*$")
_BLOCK = re.compile(r"^ *(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *(?P=fence)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    not_run: str
    """Why its commands are not run; empty when they are."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """The README and every page below `docs`."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        reason = NOT_RUN.search(before)
        line = before.count("\n") + 1
        inner = textwrap.dedent(match["text"])
        found.append(Block(name_of(page), line, match["language"], inner, reason[1] if reason else ""))
    return found


def commands(page: Path) -> list[Block]:
    """The blocks with commands, run or not."""
    return [each for each in blocks(page) if each.language in COMMANDS]


def objects(block: Block) -> Iterator[dict[str, Any]]:
    """Whole objects of our kinds in a block of YAML; a fragment has no kind and is none."""
    for document in yaml.safe_load_all(block.text):
        if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(GROUP):
            yield document
