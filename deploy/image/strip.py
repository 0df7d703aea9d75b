"""
Removes from the root of an image every program but Python, and what only those programs need. Runs once, during the
build, and removes itself last.

By what a file is, not by its name: whichever Python image the build starts from, no shell, package manager or
downloader is left to somebody who gets in. The list of Debian's packages stays: scanners know by it what is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
INTERPRETERS = {"python", "python3", f"python3.{sys.version_info.minor}"}
KEPT_TREES = ("/app", "/dev", "/proc", "/run/secrets", "/sys")
DEAD_TREES = (
    # Package managers, their caches and state.
    *("etc/apt", "usr/lib/apt", "usr/share/dpkg", "usr/lib/dpkg", "usr/share/perl*", "usr/lib/*/perl*", "var/cache"),
    *("var/lib/apt", "var/lib/dpkg/info", "var/log/apt", "usr/share/python-wheels", "usr/share/debconf"),
    # What installs pip again, and parts of Python for people.
    *(
        f"usr/**/python3*/{name}"
        for name in ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")
    ),
    *(f"usr/**/python3*/*-packages/{name}*" for name in ("pip", "setuptools", "wheel")),
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "usr/include"),
)
ELF, SCRIPT = b"\x7fELF", b"#!"


def main() -> None:
    for pattern in DEAD_TREES:
        for path in ROOT.glob(pattern):
            remove(path)
    for path in programs(ROOT):
        path.unlink()
    for path in links(ROOT):
        path.unlink()
    Path(__file__).unlink()


def programs(root: Path) -> Iterator[Path]:
    """What could be started, but for Python and the loader; in the directories of programs everything is one."""
    for path in files(root):
        if path.name in INTERPRETERS:
            continue
        if path.parent.name in ("bin", "sbin"):
            yield path
            continue
        if path.is_symlink() or not os.access(path, os.X_OK) or is_library(path):
            continue
        with path.open("rb") as file:
            begun = file.read(4)
        if begun == ELF or begun.startswith(SCRIPT):
            yield path


def links(root: Path) -> Iterator[Path]:
    """Links whose target is gone, such as those of alternatives."""
    return (path for path in files(root) if path.is_symlink() and not path.exists())


def files(root: Path) -> Iterator[Path]:
    for place, directories, names in os.walk(root):
        directories[:] = [each for each in directories if f"{place.rstrip('/')}/{each}" not in KEPT_TREES]
        found = [Path(place, each) for each in (*names, *directories)]
        yield from (each for each in found if each.is_symlink() or each.is_file())


def is_library(path: Path) -> bool:
    """
    Libraries are often executable, and so are some of Python's own modules. One of them is the loader, without which
    nothing starts.
    """
    return ".so" in path.suffixes or path.suffix == ".py" or path.name.startswith("ld-linux")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
