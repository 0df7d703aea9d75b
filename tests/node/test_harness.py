"""The cluster itself: another beside it is no trouble, and nothing is left of one that has ended, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.golden import Golden
from harness.installed import Installed
from harness.node import place, tried
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
    argv = [sys.executable, "-c", BEGIN, str(nodes.directory), str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline().startswith(place.PREFIX.encode())
            other = NodeCluster.load(directory)
            assert other
            assert other.ready_nodes() == {"node-1"}
            resolves_names(other)
            assert nodes.ready_nodes() == {machine.name for machine in nodes.machines}
            # What is looked for afterwards is found while it is there: namespaces, the link, control groups, files.
            traces = "\n".join(other.left_behind())
            for trace in ("/netns/", f"{other.link.device}@", "/sys/fs/cgroup", "node.json", "node-1/kubelet"):
                assert trace in traces, (trace, traces)
        finally:
            owner.send_signal(signal.SIGKILL)
    eventually(lambda: not directory.exists(), what="the end of the cluster's directory")

    def gone() -> bool:
        # The guard, which did it, ends last.
        assert other.left_behind() == []
        return True

    eventually(gone, what="the end of all that it made")


def resolves_names(cluster: NodeCluster) -> None:
    """By the cluster's DNS, through kube-proxy, from within a node."""
    first = cluster.processes["node-1/init"].pid
    asked = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    script = f'echo nameserver {DNS_IP} > /run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf; exec "$@"'
    inside = ("unshare", "--mount", "sh", "-ec", script, "sh", sys.executable, "-c", asked, HOST)
    done = subprocess.run(entered(first, *inside), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("198.19."), done.stderr
