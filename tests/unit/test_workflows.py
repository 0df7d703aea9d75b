"""The workflows are valid, ask for no right that they do not need, and run nobody's code but what was looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
BIN = Path(sys.executable).parent
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.stem))


def jobs(path: Path) -> Iterator[dict[str, Any]]:
    """The jobs of a workflow."""
    yield from yaml.safe_load(path.read_text())["jobs"].values()


def test_there_are_workflows() -> None:
    """The tests below find what they look for."""
    assert [path.stem for path in WORKFLOWS] == ["chart", "image", "release", "test"]


@each_workflow
def test_workflow_fits_the_schema(path: Path) -> None:
    """GitHub would refuse to run another one, and say so only after a push."""
    argv = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@each_workflow
def test_auditor_finds_nothing(path: Path) -> None:
    """No injection by a title, no token left on disk, no cache that poisons a release: zizmor's strictest look."""
    argv = [str(BIN / "zizmor"), "--offline", "--no-config", "--persona=auditor", "--no-progress", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@each_workflow
def test_actions_are_pinned_to_commits(path: Path) -> None:
    """A tag can be moved to other code, a commit cannot; the comment says which release it is."""
    lines = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not PINNED.match(line)] == []


@each_workflow
def test_jobs_have_the_least_rights_and_an_end(path: Path) -> None:
    """A workflow has none; a job names its own, and says for each right to write what it is for."""
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for job in jobs(path):
        assert job["timeout-minutes"] <= 90
        assert job["permissions"]["contents"] in ("read", "write")
    rights = re.findall(r"^ +[a-z-]+: write(.*)$", path.read_text(), re.MULTILINE)
    assert [right for right in rights if not re.fullmatch(r" # to .+", right)] == []


@each_workflow
def test_make_targets_exist(path: Path) -> None:
    """A job runs what a developer can run."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for job in jobs(path) for step in job["steps"] for word in re.findall(r"make (\S+)", step.get("run", ""))
    }
    assert named <= targets


def test_release_checks_what_it_tags() -> None:
    """The files that the release compares with the tag, and what it looks for in them, are there."""
    text = (ROOT / ".github" / "workflows" / "release.yaml").read_text()
    assert (ROOT / "operator" / "egressgateway" / "__init__.py").read_text().count("__version__ = ") == 1
    assert 'grep -qx "__version__ = ' in text
    assert "/.ci/run" in text
    assert (ROOT / ".ci" / "run").exists()


def test_release_tells_the_image_what_it_is() -> None:
    """Every argument of the Dockerfile that labels the image is given by the release."""
    arguments = set(re.findall(r"^ARG (VERSION|REVISION)\b", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    given = set(
        re.findall(r"^ +(\w+)=\$\{\{", (ROOT / ".github" / "workflows" / "release.yaml").read_text(), re.MULTILINE)
    )
    assert arguments == given == {"VERSION", "REVISION"}
