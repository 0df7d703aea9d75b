"""The Dockerfile: pinned, linted, and copying what is there and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.fetched import obtain_hadolint
from harness.tools import ToolsMissing

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ALLOWED = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}


def test_bases_are_pinned_by_digest() -> None:
    """A tag may be another image tomorrow."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)
    [python] = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert set(bases) - set(stages) == {"${PYTHON}", "scratch"}
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim@sha256:[0-9a-f]{64}", python)


def test_packages_are_locked_by_hash() -> None:
    """Whatever is installed from an index is installed by hash; the rest is our wheel."""
    installs = re.findall(r"pip .*?install ([^&\\]*)", DOCKERFILE)
    assert len(installs) == 3
    assert [each for each in installs if "--require-hashes" not in each] == ["--no-deps --root /own /dist/*.whl "]


def test_build_context_is_what_is_copied() -> None:
    """`.dockerignore` lets through what the build copies, and no more: no key or kubeconfig gets into a layer."""
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }
    assert copied == ALLOWED
    assert [each for each in copied if not (ROOT / each).exists()] == []


def test_user_is_nobody_by_number() -> None:
    """The kubelet can tell that it is not root; the program begins without a shell."""
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["65532:65532"]
    assert re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE) == ['["egressgw"]']


def test_hadolint_has_no_objection() -> None:
    """The usual mistakes in Dockerfiles; skipped where the linter cannot be had."""
    try:
        hadolint = obtain_hadolint()
    except ToolsMissing as missing:
        pytest.skip(str(missing))
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
