"""The pre-commit hook and the GitHub action that the repository offers run commands that there are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from egressgateway.cli.main import app
from unit.tool.files import gateway

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "validate" / "action.yml"
[HOOK] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("texts", "code"), [([gateway()], 0), (["replicas: 1\n"], 0), ([gateway("first"), gateway("second")], 1)]
)
def test_the_hook_passes_right_files_and_files_of_others(tmp_path: Path, texts: list[str], code: int) -> None:
    """It is run with the YAML files of a commit, whatever they hold."""
    files = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    program, *argv = shlex.split(HOOK["entry"])
    assert (program, HOOK["id"], HOOK["types"], HOOK["require_serial"]) == (
        "egressgw",
        "egressgw-validate",
        ["yaml"],
        True,
    )
    assert CliRunner().invoke(app, [*argv, *map(str, files)]).exit_code == code


def test_the_action_shows_findings_at_their_lines(tmp_path: Path) -> None:
    """Its command, with the action's inputs as it passes them on."""
    action: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    (tmp_path / "a.yaml").write_text(gateway("first") + "---\n" + gateway("second"))
    [step] = action["runs"]["steps"]
    command = re.sub(r"^pipx run --spec \S+ egressgw", f"{sys.executable} -m egressgateway", step["run"])
    given = {"EGRESSGW_PATHS": str(tmp_path), "EGRESSGW_ARGUMENTS": "--skip EGW1203"}
    assert given.keys() == step["env"].keys()
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **given}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"::error file={tmp_path}/a.yaml,line=16,col=13,title=EGW3001 HostConflict::")


def test_the_action_fits_the_schema_and_has_no_injection() -> None:
    """Inputs are passed as environment, never written into the command."""
    argv = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-actions", str(ACTION)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    [step] = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    assert "${{" not in step["run"]
