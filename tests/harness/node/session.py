"""
One cluster for a whole test run, however many processes pytest-xdist makes of it. As `harness.session` does for the
control plane.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from egressgateway import __version__
from harness import tools
from harness.node import istio, place
from harness.node.cluster import NodeCluster
from harness.node.programs import Programs
from harness.node.stock import stock
from harness.session import ROOT, Run


def directory_of(run: Run) -> Path:
    """Where the cluster of a run is: with the other clusters, on the file system of their images."""
    return place.clusters() / run.directory.name


def cluster_of(run: Run) -> NodeCluster:
    """
    The cluster of a run, with Istio: the first process that asks starts it, `Run.end` stops it, a guard if that process
    is killed.
    """
    with (run.directory / "node-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if running := NodeCluster.load(directory_of(run)):
            return running
        return begin(directory_of(run), run.owner)


def begin(
    directory: Path,
    owner: int | None,
    *,
    nodes: int = 2,
    checkouts: dict[str, Path] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> NodeCluster:
    """
    Start a cluster with Istio, on whose nodes the operator's image is for each checkout, by default for this one under
    its version.
    """
    programs, mesh = Programs.find(), tools.find_mesh()
    say("images")
    images = stock(programs, mesh, checkouts or {__version__: ROOT})
    cluster = NodeCluster(directory, tools.find(), programs, images, nodes)
    cluster.up(owner, say)
    try:
        say("installing Istio")
        istio.install(cluster, mesh.istioctl, cluster.machines[0].name)
    except BaseException:
        cluster.stop()
        raise
    return cluster
