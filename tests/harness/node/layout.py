"""
Who lives at which address of a cluster. All of it is within network namespaces, so that several clusters may run side
by side; only the machine's link to the first node is the cluster's own.

    machine --link-- node-1 --172.30.0.0/30-- world
                       |
                       +-----172.30.2.0/30-- node-2, and so on
"""

from __future__ import annotations

from typing import Final

POD_NETWORK: Final = "10.244.0.0/16"
SERVICE_NETWORK: Final = "10.96.0.0/16"
DNS_IP: Final = "10.96.0.10"
CLUSTER_DOMAIN: Final = "cluster.local"


def pods_of(number: int) -> str:
    """Addresses of the pods of a node, the first of which is 1."""
    return f"10.244.{number}.0/24"


def ends_of(number: int) -> tuple[str, str]:
    """Addresses of the link between the first node and another, or the world, which is 0: the first node's first."""
    return f"172.30.{number}.1", f"172.30.{number}.2"
