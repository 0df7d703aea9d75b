"""Earlier states of this project: their files, to be built and installed as their users have them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from harness.session import ROOT


def checkout(commit: str, directory: Path) -> Path:
    """
    The files of a commit below a directory.

    Raises:
        LookupError: the clone does not have it, as a shallow one does not.
    """
    done = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise LookupError(f"{commit}: {done.stderr.decode().strip()}; the tests need the whole history")
    place = directory / commit
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place
