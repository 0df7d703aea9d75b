"""
Addresses that no name under a wildcard may lead to: those of this host, of the clouds' metadata services, and private
networks, the cluster's own among them, unless the class allows them.

The author of a wildcard does not know where its names lead; whoever runs their DNS does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec

_Networks = tuple[ipaddress.IPv4Network, ...]

_NEVER: Final[_Networks] = tuple(
    map(
        ipaddress.IPv4Network,
        (
            # Ranges that no name outside of the cluster should resolve to (IANA special-purpose address registry): this
            # host, link-local addresses where clouds serve credentials, multicast.
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/3",
            # The clouds' metadata services (`api.reserved`) outside of these ranges.
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
        ),
    )
)
PRIVATE: Final[_Networks] = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
)


def opened_networks(class_spec: EgressGatewayClassSpec) -> _Networks:
    """Networks in which the class allows private addresses; Envoy asks DNS for IPv4 alone."""
    allowed = (ipaddress.ip_network(network, strict=False) for network in class_spec.allowed_cidrs or ())
    return tuple(
        network
        for network in allowed
        if isinstance(network, ipaddress.IPv4Network) and any(network.overlaps(private) for private in PRIVATE)
    )


def refused_permissions(class_spec: EgressGatewayClassSpec) -> list[dict[str, Any]]:
    """The connections that a dynamic wildcard refuses, as permissions of Envoy's RBAC: one of them has to match."""
    opened = opened_networks(class_spec)
    if not opened:
        return list(_to(sorted((*_NEVER, *PRIVATE))))
    private = {
        "and_rules": {
            "rules": [
                {"or_rules": {"rules": list(_to(PRIVATE))}},
                {"not_rule": {"or_rules": {"rules": list(_to(opened))}}},
            ]
        }
    }
    return [*_to(_NEVER), private]


def _to(networks: Iterable[ipaddress.IPv4Network]) -> Iterator[dict[str, Any]]:
    for network in networks:
        upstream = {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        kind = "type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
        config = {"@type": kind, "upstream_ip": upstream}
        yield {"matcher": {"name": "envoy.rbac.matchers.upstream_ip_port", "typed_config": config}}
