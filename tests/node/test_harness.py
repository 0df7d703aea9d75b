"""The cluster itself: another beside it is no trouble, and nothing is left of one that has ended, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.golden import Golden
from harness.installed import Installed
from harness.node import cgroups, place, tried
from harness.node.cluster import NodeCluster, remove
from harness.node.layout import DNS_IP
from harness.node.machine import entered
from harness.real import HOST
from harness.session import Run
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

BEGIN = """
import os, sys
from pathlib import Path
from harness.node.cluster import NodeCluster
model = NodeCluster.load(Path(sys.argv[1]))
other = NodeCluster(Path(sys.argv[2]), model.tools, model.programs, model.images, nodes=1)
other.up(os.getpid())
print(other.prefix, flush=True)
sys.stdin.read()
"""


def test_page_names_the_versions_that_run_here(
    nodes: NodeCluster, release: Installed, shop: Shop, golden: Golden
) -> None:
    """`docs/tested.md` says what was tested with what; `--update-golden` writes it."""
    golden(tried.PAGE, tried.page(nodes, shop))


def footprint() -> set[str]:
    """Traces that clusters leave on a machine: namespaces, devices, mounts, control groups, directories."""
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    groups = (each for hierarchy in cgroups.hierarchies() for each in hierarchy.glob(f"{place.PREFIX}*"))
    return {
        *(str(each) for each in Path("/run/netns").glob("*")),
        *(line.split(":")[1].strip().partition("@")[0] for line in links.splitlines()),
        *(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        *map(str, groups),
        *map(str, place.clusters().iterdir()),
    }


@pytest.fixture
def directory(nodes: NodeCluster, run: Run) -> Iterator[Path]:
    """Where another cluster may be."""
    other = place.clusters() / f"{run.directory.name}-other"
    yield other
    remove(other)


def test_killed_owner_leaves_nothing(nodes: NodeCluster, directory: Path) -> None:
    """
    A second cluster works beside the first, with the same addresses in it; when the process that it belongs to is
    killed, all of it goes: namespaces, devices, mounts, control groups, processes and files.
    """
    before = footprint()
    owner = subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(nodes.directory), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert owner.stdout
        assert owner.stdout.readline().startswith(place.PREFIX.encode())
        other = NodeCluster.load(directory)
        assert other
        assert other.ready_nodes() == {"node-1"}
        resolves_names(other)
        assert nodes.ready_nodes() == {machine.name for machine in nodes.machines}
        processes = {name: each for name, each in other.processes.items() if each.alive()}
        assert processes.keys() >= {"kube-apiserver", "node-1/kubelet", "world"}
    finally:
        with suppress(ProcessLookupError):
            owner.send_signal(signal.SIGKILL)
        owner.wait()
    eventually(lambda: not directory.exists(), what="the end of the cluster's directory")
    assert footprint() == before
    # The guard, which did it, ends last.
    eventually(lambda: not any(each.alive() for each in processes.values()), what="the end of its processes")


def resolves_names(cluster: NodeCluster) -> None:
    """By the cluster's DNS, through kube-proxy, from within a node."""
    first = cluster.processes["node-1/init"].pid
    asked = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    script = f'echo nameserver {DNS_IP} > /run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf; exec "$@"'
    inside = ("unshare", "--mount", "sh", "-ec", script, "sh", sys.executable, "-c", asked, HOST)
    done = subprocess.run(entered(first, *inside), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("198.19."), done.stderr
