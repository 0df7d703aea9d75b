"""
Names and addresses that are never an external server, whatever a class allows: the one list of them.

The schema's rules, the guards of planning and the gateway's NetworkPolicy are all made of it. What depends on the
cluster at hand (its domain, its namespaces) is in `egressgateway.plan.checks.external`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# -- names

PRIVATE_DOMAIN: Final = "egress.internal"
"""Names under it distinguish the hops of a gateway (`egressgateway.plan.names.sni_name`)."""


@dataclass(frozen=True, slots=True)
class ReservedNames:
    """
    Names that cannot be external hosts.

    Attributes:
        domains: each stands for itself and for every name under it.
        exact: each stands for itself alone; wildcards that cover one of `domains` are listed here.
        prefixes: first labels, with their dot.
        infixes: labels inside of a name, with both dots.
        message: what a name must be instead.
    """

    message: str
    domains: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    infixes: tuple[str, ...] = ()

    def hold(self, name: str) -> bool:
        return (
            name in self.domains
            or name in self.exact
            or name.endswith(tuple(f".{domain}" for domain in self.domains))
            or name.startswith(self.prefixes)
            or any(infix in name for infix in self.infixes)
        )

    @property
    def cel(self) -> str:
        """The opposite of `hold` in CEL. A comparison with a constant costs the API server next to nothing."""
        return " && ".join(
            [
                *(f"!self.endsWith('.{domain}')" for domain in self.domains),
                *(f"!self.startsWith('{prefix}')" for prefix in self.prefixes),
                *(f"!self.contains('{infix}')" for infix in self.infixes),
                # A name without a dot is refused before.
                *(f"self != '{name}'" for name in (*self.domains, *self.exact) if "." in name),
            ]
        )


IN_CLUSTER: Final = ReservedNames(
    "must be a host outside the cluster: no *.svc, *.svc.*, *.pod, *.cluster.local, *.clusterset.local, *.localhost, "
    "*.localdomain",
    # Kubernetes' DNS specification (kubernetes/dns, "DNS-Based Service Discovery"): Services and pods, with and without
    # the cluster's domain, as search paths complete them; KEP-1645 for clusterset.local; RFC 6761 for localhost.
    domains=("svc", "pod", "cluster.local", "clusterset.local", "localhost", "localdomain"),
    infixes=(".svc.",),
)
PRIVATE: Final = ReservedNames(
    f"must not be under {PRIVATE_DOMAIN}: these names are reserved for the gateways themselves",
    domains=(PRIVATE_DOMAIN,),
)
_NO_METADATA: Final = "must not be a name of a cloud's metadata service, which gives out the machine's credentials"
METADATA: Final = ReservedNames(
    _NO_METADATA,
    # From the clouds' own pages. `instance-data` is completed by the search path of a region on AWS.
    domains=("google.internal", "metadata.goog"),
    exact=("*.ec2.internal",),
    prefixes=("instance-data.",),
)
MORE_METADATA: Final = ReservedNames(
    _NO_METADATA,
    domains=(
        "metadata.azure.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "api.metadata.cloud.ibm.com",
    ),
    exact=("*.compute.internal", "*.azure.internal"),
)
"""Left to planning: the API server's budget for rules, of which each name takes a share, is nearly spent."""

IN_SCHEMA: Final = (IN_CLUSTER, PRIVATE, METADATA)
RESERVED: Final = (*IN_SCHEMA, MORE_METADATA)


def reserved_name(name: str) -> str:
    """Why `name` is not an external host, in words that follow it; empty when it may be one."""
    return next((reserved.message for reserved in RESERVED if reserved.hold(name)), "")


# -- addresses

_UNSPECIFIED: Final = "unspecified"
_LOOPBACK: Final = "loopback"
_LINK_LOCAL: Final = "link-local"
_MULTICAST: Final = "multicast"
_METADATA: Final = "a cloud's metadata service"
_MESH: Final = "an address reserved by the mesh"
_DOUBTFUL: Final = "an address that is translated to another one"

FORBIDDEN_NETWORKS: Final = {
    # IANA special-purpose address registries, unless said otherwise.
    "0.0.0.0/32": _UNSPECIFIED,
    "0.0.0.0/8": "an address of this host",
    "127.0.0.0/8": _LOOPBACK,
    "169.254.0.0/16": _LINK_LOCAL,
    "224.0.0.0/4": _MULTICAST,
    "255.255.255.255/32": "broadcast",
    # 240.240.0.0/16 is what Istio gives hosts without an address; what follows is `names.private_address`.
    "240.240.0.0/12": _MESH,
    # Metadata services that are not link-local, from the clouds' own pages. Single addresses: what is beside them may
    # be anything.
    "100.100.100.200/32": _METADATA,  # Alibaba Cloud
    "168.63.129.16/32": _METADATA,  # Azure's WireServer, an address of the internet that is inside of each network
    "192.0.0.192/32": _METADATA,  # Oracle Cloud, Classic
    "::/128": _UNSPECIFIED,
    "::1/128": _LOOPBACK,
    "fe80::/10": _LINK_LOCAL,
    "ff00::/8": _MULTICAST,
    "2001:2::/48": _MESH,  # what Istio gives hosts without an address, in IPv6
    "fd00:ec2::23/128": _METADATA,  # AWS: the agent of EKS Pod Identity
    "fd00:ec2::254/128": _METADATA,  # AWS: instance metadata
    "fd20:ce::254/128": _METADATA,  # Google Cloud, on machines without IPv4
    # Where the IPv4 address lies in these depends on a translator, or it is hidden: none of them can be judged.
    "::/96": _DOUBTFUL,  # IPv4-compatible, deprecated (RFC 4291)
    "::ffff:0:0:0/96": _DOUBTFUL,  # IPv4-translated (RFC 2765)
    "64:ff9b:1::/48": _DOUBTFUL,  # NAT64 for local use (RFC 8215)
    "2001::/32": _DOUBTFUL,  # Teredo (RFC 4380)
}
"""Where no gateway may connect to, with a description. Of overlapping networks the narrower one counts."""

_NETWORKS: Final = tuple(
    sorted(
        ((ipaddress.ip_network(network), why) for network, why in FORBIDDEN_NETWORKS.items()),
        key=lambda entry: -entry[0].prefixlen,
    )
)
# Prefixes with an IPv4 address right behind them that a gateway of the network takes it out of: NAT64 (RFC 6052) and
# 6to4 (RFC 3056). What they lead to is judged.
_EMBEDDING: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("2002::/16"))


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
    meant = _meant_by(parsed)
    return next((why for network, why in _NETWORKS if meant in network), "")


@cache
def unreachable_networks(version: int) -> tuple[str, ...]:
    """
    CIDRs of one IP version, 4 or 6, that the gateway's NetworkPolicy leaves out of what destinations may be.

    The spellings of IPv4 addresses in IPv6 are among them, but for IPv4-mapped ones: no packet has such an address, the
    kernel sends IPv4 instead.
    """
    networks = [network for network, _ in _NETWORKS if network.version == version]
    if version == 6:
        networks += _embedded_networks()
    return tuple(str(network) for network in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


def _meant_by(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where that is certain."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    for prefix in _EMBEDDING:
        if address in prefix:
            return ipaddress.IPv4Address(int(address) >> (96 - prefix.prefixlen) & 0xFFFFFFFF)
    return address


def _embedded_networks() -> Iterator[ipaddress.IPv6Network]:
    for network, _ in _NETWORKS:
        if isinstance(network, ipaddress.IPv4Network):
            for prefix in _EMBEDDING:
                start = int(prefix.network_address) | int(network.network_address) << (96 - prefix.prefixlen)
                yield ipaddress.IPv6Network((start, prefix.prefixlen + network.prefixlen))
