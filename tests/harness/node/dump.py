"""What a failed test in a real cluster has to show: pods, events, statuses, and the operator's last lines."""

from __future__ import annotations

from typing import Final

from harness.cluster import Cluster
from harness.helm import RELEASE
from harness.real import SYSTEM

_SHOWN: Final = (
    ("get", "nodes,pods", "--all-namespaces", "--output", "wide"),
    ("get", "egressgateways", "--all-namespaces", "--output", "wide"),
    ("get", "events", "--all-namespaces", "--sort-by", ".metadata.creationTimestamp"),
    ("logs", f"deployment/{RELEASE}", "--namespace", SYSTEM, "--all-pods", "--tail", "40"),
)
_LINES: Final = 80


def dump(cluster: Cluster) -> str:
    """All of it as one text; what cannot be had is said."""
    found = []
    for argv in _SHOWN:
        done = cluster.kubectl(*argv, check=False)
        lines = (done.stdout or done.stderr).splitlines()[-_LINES:]
        found.append("\n".join([f"$ kubectl {' '.join(argv)}", *lines]))
    return "\n\n".join(found)
