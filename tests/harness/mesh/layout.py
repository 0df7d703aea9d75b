"""
Who lives at which address of a mesh. All of it is within network namespaces, so that several meshes may run side by
side.
"""

from __future__ import annotations

import ipaddress
from typing import Final

POD_NETWORK: Final = ipaddress.IPv4Network("10.244.0.0/16")
NODE_IP: Final = "10.244.0.1"
"""The node: kubelet, istiod, and every pod's way out."""

SERVICE_NETWORK: Final = ipaddress.IPv4Network("10.96.0.0/16")
DNS_IP: Final = "10.96.0.10"
CLUSTER_DOMAIN: Final = "cluster.local"

LOAD_BALANCER_NETWORK: Final = ipaddress.IPv4Network("192.0.2.0/24")

WORLD_NETWORK: Final = ipaddress.IPv4Network("198.19.0.0/16")
"""
Every external name has an address of its own here: a server can tell which name was meant, even where no byte says it.
"""

WORLD_IP: Final = "198.19.0.1"
WORLD_DNS_IP: Final = "198.19.0.53"
WORLD_NETWORK_6: Final = ipaddress.IPv6Network("2001:db8:19::/64")
"""
The same for names with addresses of IPv6 (RFC 3849: routed nowhere). Not the twin of the network above: 2001:2::/48
is what Istio gives hosts itself.
"""

WORLD_IP_6: Final = "2001:db8:19::1"
NODE_IP_6: Final = "fd00:10:244::1"
ROUTER_6: Final = "fe80::1"
"""
The node, at the other end of every link: an address of another device is not answered for there, as it is with ARP.
"""

POD_NETWORK_6: Final = ipaddress.IPv6Network("fd00:10:244::/64")
"""
Addresses that pods have beside those that their status tells of, where the machine knows IPv6. Only a sidecar's proxy
leaves by them, and pods without one.
"""

INNER_NETWORK: Final = ipaddress.IPv4Network("10.128.0.0/16")
"""A company's private network, beyond the cluster's own. The servers of the world answer here, too."""

METADATA_IP: Final = "169.254.169.254"
"""Here as well, as the metadata service of a cloud would."""

DEAD_NETWORK: Final = ipaddress.IPv4Network("198.19.254.0/24")
"""Part of the world where nobody lives: packets come back as unreachable."""
NODE_NAME: Final = "mesh-node"
PROXY_UID: Final = 1337


def twin_of(address: str) -> str:
    """The address of IPv6 that a pod has beside its own."""
    number = int(ipaddress.IPv4Address(address)) - int(POD_NETWORK.network_address)
    return str(POD_NETWORK_6[number])
