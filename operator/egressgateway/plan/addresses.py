"""
Where no gateway may be sent, whatever a class allows: beside the cluster, credentials are a request away.

Link-local addresses, and the metadata services that clouds serve elsewhere. Whoever reaches one of them has what the
machine has: a token, a certificate, a password in its user data.
"""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LINK_LOCAL: Final = ("169.254.0.0/16", "fe80::/10")
METADATA_SERVICES: Final = (
    # Those that are not link-local, from the clouds' own pages. Single addresses: what is beside them may be anything.
    "100.100.100.200",  # Alibaba Cloud
    "168.63.129.16",  # Azure's WireServer, an address of the internet that is inside of each virtual network
    "192.0.0.192",  # Oracle Cloud, Classic
    "fd00:ec2::23",  # AWS: the agent of EKS Pod Identity
    "fd00:ec2::254",  # AWS: instance metadata
    "fd20:ce::254",  # Google Cloud, on machines without IPv4
)


def parsed_address(text: str) -> Address | None:
    """The IP address that `text` is; None for a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def forbidden_address(address: str) -> str:
    """Why no gateway may ever be sent to an IP address, in a word or two; empty when it may. Names are no addresses."""
    parsed = parsed_address(address)
    if parsed is None:
        return ""
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    for kind in ("loopback", "link_local", "multicast", "unspecified"):
        if getattr(mapped, f"is_{kind}"):
            return kind.replace("_", "-")
    return "a cloud's metadata service" if str(mapped) in METADATA_SERVICES else ""


def unreachable_networks(version: int) -> list[str]:
    """CIDRs of one IP version, 4 or 6, that the gateway's NetworkPolicy leaves out of what destinations may be."""
    networks = map(ipaddress.ip_network, (*LINK_LOCAL, *METADATA_SERVICES))
    return [str(network) for network in networks if network.version == version]
