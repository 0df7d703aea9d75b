"""Where clusters live on this machine, whether they can, and what is left of those that ended badly."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

import psutil

from harness.mesh import netns
from harness.mesh import place as mesh_place
from harness.node.init import HIDDEN
from harness.tools import cache_directory

PREFIX: Final = "egn-"
"""Of the names of all namespaces, devices and control groups that clusters make."""

PROGRAMS: Final = (
    *mesh_place.PROGRAMS,
    *("unshare", "mount", "runc", "iptables", "ipset", "buildah", "mmdebstrap"),
)

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def missing() -> str:
    """What this machine lacks for a cluster; empty if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "root on Linux: nodes are namespaces of this machine"
    if platform.machine() not in ARCHITECTURES:
        return f"{platform.machine()}: images are made for {', '.join(ARCHITECTURES)}"
    if lacking := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(lacking)}: needed for nodes and their images"
    # A place under a mount that hides it cannot be seen by the node's programs.
    if any(clusters().is_relative_to(hidden) for hidden in HIDDEN):
        return f"{clusters()}: nodes have a {', '.join(HIDDEN)} of their own; set EGRESSGATEWAY_TOOLS"
    return ""


def clusters() -> Path:
    """
    The directory in which each cluster has one. It is on the file system of the cache: images are copied by links.
    """
    return (cache_directory() / "nodes").resolve()


def new_prefix() -> str:
    """A prefix for the names of a cluster; short, as devices are named after it, and those have 15 characters."""
    return f"{PREFIX}{os.getpid():x}{secrets.token_hex(1)}-"


def sweep() -> None:
    """Remove what is left of clusters whose nodes have ended, and that nobody is about to start."""
    # Imported here, as a cluster knows this module.
    from harness.node.cluster import NodeCluster, remove  # noqa: PLC0415

    kept = []
    for directory in clusters().glob("*") if clusters().exists() else ():
        cluster = NodeCluster.load(directory)
        if cluster and (any(each.alive() for each in cluster.processes.values()) or _is_there(cluster.prefix)):
            kept.append(cluster.prefix)
        elif cluster:
            remove(directory)
    for each in netns.with_prefix(PREFIX):
        prefix = each.name[: each.name.index("-", len(PREFIX)) + 1]
        if prefix not in kept and not _is_there(prefix):
            each.delete()


def _is_there(prefix: str) -> bool:
    """Whether the process that chose a prefix lives."""
    return psutil.pid_exists(int(prefix.removeprefix(PREFIX)[:-3], 16))
