"""The control groups below which all pods of a cluster live: in every hierarchy, whichever version the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_INHERITED: Final = ("cpuset.cpus", "cpuset.mems")
"""Empty in a new group of version 1, in which then nothing can run."""


def create(name: str, root: Path = ROOT) -> None:
    """Make the group `name`, a path below the root, with every controller that there is."""
    for hierarchy in hierarchies(root):
        place = hierarchy
        for part in Path(name).parts:
            _delegate(place)
            parent, place = place, place / part
            place.mkdir(exist_ok=True)
            for file in _INHERITED:
                # Version 2 has a file of that name as well, which means the parent's while it is empty.
                if not _is_unified(hierarchy) and (place / file).exists():
                    (place / file).write_text((parent / file).read_text())
        _delegate(place)


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the group and all groups in it; no process may be left there."""
    for place in found(name, root):
        inner = (each for each in place.rglob("*") if each.is_dir())
        for each in sorted(inner, key=lambda each: len(each.parts), reverse=True):
            each.rmdir()
        place.rmdir()


def found(name: str, root: Path = ROOT) -> list[Path]:
    """Directories of the group, one a hierarchy."""
    return [hierarchy / name for hierarchy in hierarchies(root) if (hierarchy / name).exists()]


def hierarchies(root: Path = ROOT) -> Iterator[Path]:
    """The one of version 2, or those of version 1; names that are links stand for one that is there already."""
    if _is_unified(root):
        yield root
        return
    for each in sorted(root.iterdir()):
        if (each / "cgroup.procs").exists() and not each.is_symlink():
            yield each


def _is_unified(place: Path) -> bool:
    return (place / "cgroup.controllers").exists()


def _delegate(place: Path) -> None:
    """Let groups below have the controllers of this one."""
    if _is_unified(place) and (names := (place / "cgroup.controllers").read_text().split()):
        (place / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in names))
