"""The commands of the tool's page, typed as they stand there; they need no cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from docs import walk
from docs.pages import OFFLINE, ROOT, commands
from egressgateway.cli.main import app


@pytest.mark.parametrize("page", OFFLINE)
def test_commands_of_the_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    program = tmp_path / "egressgw"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m egressgateway "$@"\n')
    program.chmod(0o755)
    blocks = [block for block in commands(ROOT / page) if not block.not_run]
    assert len(blocks) > 4
    for step in walk.run(blocks, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}):
        assert not step.failed, f"{step.block}:\n{step.block.text}\nprinted:\n{step.output}"
        assert walk.unexpected(step) == [], f"{step.block} printed:\n{step.output}"


def test_the_page_has_every_command_that_help_shows() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    shown = [each for each in app.registered_commands if not each.hidden and each.callback is not None]
    names = [each.name or each.callback.__name__ for each in shown if each.callback is not None]
    assert len(names) > 5
    assert [name for name in names if f"egressgw {name}" not in text] == []
