"""
containerd's directory with images unpacked: made once for the same images, kept in the cache, copied for each node.

A copy takes a moment, because it is made of hard links: nothing writes to content and unpacked layers, only the
databases are copied for real. A store with one more image is a copy of another one into which that image is imported,
so that only the layers that are new are unpacked.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.node.manifests import containerd_config
from harness.node.programs import Programs
from harness.tools import cache_directory

KEPT: Final = 4
"""Stores that are kept, the last used ones: each costs what is not in the others."""

_IMPORT: Final = r"""
set -eu
containerd=$1 ctr=$2 directory=$3
"$containerd" --config "$directory/config.toml" --log-level warn > "$directory/log" 2>&1 &
server=$!
tries=0
until [ -S "$directory/state/containerd.sock" ]; do
  tries=$((tries + 1))
  [ $tries -lt 400 ] && kill -0 $server || { cat "$directory/log"; exit 1; }
  sleep 0.05
done
"$ctr" --address "$directory/state/containerd.sock" --namespace k8s.io images import "$directory/archive" > /dev/null
kill $server
wait $server || true
"""
"""In a mount and PID namespace of its own: what containerd mounts, and what it leaves behind, ends with that."""


class StoreError(Exception):
    """containerd refused; holds what it said."""


def store(programs: Programs, name: str, key: str, write: Callable[[Path], None], base: Path | None = None) -> Path:
    """
    The store of a name and a key, made if it is not there: that of `base`, and the images of an archive, which `write`
    writes to a path.

    Raises:
        StoreError: containerd refused.
    """
    digest = hashlib.sha256(f"{key} {base.name if base else ''}".encode()).hexdigest()[:16]
    place = cache_directory() / "stores" / f"{name}-{digest}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with _lock(place.parent):
        if not place.exists():
            new = place.with_name(f"new-{name}")
            shutil.rmtree(new, ignore_errors=True)
            (new / "state").mkdir(parents=True)
            if base:
                _link(base, new / "root")
            else:
                (new / "root").mkdir()
            write(new / "archive")
            _import(programs, new)
            (new / "root").rename(place)
            shutil.rmtree(new)
        place.touch()
        _prune(place.parent, {place, base})
    return place


def copy(store: Path, place: Path) -> None:
    """Give a node the images of a store."""
    with _lock(store.parent):
        _link(store, place)


def _link(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", "--link", source, target], check=True)
    for path in target.rglob("*.db"):
        path.unlink()
        shutil.copyfile(source / path.relative_to(target), path)


def _import(programs: Programs, directory: Path) -> None:
    config = containerd_config(directory / "root", directory / "state", pods=False)
    (directory / "config.toml").write_text(config)
    isolated = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _IMPORT, "import")
    argv = [*isolated, str(programs.containerd), str(programs.ctr), str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"{done.stdout}{done.stderr}{(directory / 'log').read_text()}")


def _prune(stores: Path, used: set[Path | None]) -> None:
    found = sorted(stores.glob("*-*"), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in found[KEPT:]:
        if each not in used:
            shutil.rmtree(each)


@contextmanager
def _lock(stores: Path) -> Iterator[None]:
    with (stores / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
