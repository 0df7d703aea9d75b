"""Where meshes live on this machine, whether they can, and what is left of those that ended badly."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import psutil

from harness.mesh import netns

DIRECTORY = Path("/run/egressgateway/mesh")
"""Of `make mesh`. Not in the tree: proxies are not root, and a tree is often closed to others."""

PREFIX = "egw-"
"""Of the names of all namespaces that meshes make."""

PROGRAMS = ("ip", "nft", "nsenter", "setpriv", "sysctl", "curl")


def missing() -> str:
    """What this machine lacks for network namespaces; empty if nothing."""
    lacking = [name for name in PROGRAMS if not shutil.which(name)]
    lacking += ["root"] if os.geteuid() != 0 else []
    return f"{', '.join(lacking)}: needed for network namespaces" if lacking else ""


def new_prefix() -> str:
    """
    A prefix for the names of a mesh's namespaces, by which `sweep` knows who started it.

    Short: a device is named after it, and those have 15 characters.
    """
    return f"{PREFIX}{os.getpid():x}{secrets.token_hex(1)}-"


def sweep() -> None:
    """Remove what is left of meshes whose node has ended, and that nobody is about to start: nobody else will."""
    found = netns.with_prefix(PREFIX)
    for prefix in {_prefix_of(each.name) for each in found}:
        node = netns.Netns(f"{prefix}node")
        if not (node.exists() and node.processes()) and not psutil.pid_exists(_starter(prefix)):
            netns.delete_all(each for each in found if each.name.startswith(prefix))


def _prefix_of(name: str) -> str:
    return name[: name.index("-", len(PREFIX)) + 1]


def _starter(prefix: str) -> int:
    return int(prefix.removeprefix(PREFIX)[:-3], 16)
