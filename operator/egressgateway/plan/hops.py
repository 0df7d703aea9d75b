"""
Hops: the ways of (host, port) pairs through one gateway, and everything that is named after them.

All of them share one hop port under ISTIO_MUTUAL; a private server name tells them apart (notes "istio-recipes" §1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from egressgateway.api.destination import Destination, DestinationPort
from egressgateway.plan.names import hop_name, sni_name
from egressgateway.refs import Key

HOP_PORT: Final = 443
"""Port of the hop Service; it never changes when destinations do."""

LISTENER_PORT: Final = 15443
"""Port that the gateway's Envoy listens on."""

HTTP_FAMILY: Final = frozenset({"HTTP", "HTTP2", "GRPC"})
_DEFAULT_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Hop:
    """One (host, port) on its way through the gateway. `target_port` is the port at the destination."""

    destination: str
    host: str
    port: int
    target_port: int
    protocol: str
    name: str
    sni: str

    @property
    def http(self) -> bool:
        """Routed by authority; everything else is passed on by server name, unopened."""
        return self.protocol in HTTP_FAMILY

    @property
    def gateway_host(self) -> str:
        """The server's host in the Gateway: `./` keeps VirtualServices of other namespaces from attaching."""
        return f"./{self.sni}"

    @property
    def port_name(self) -> str:
        return f"{self.protocol.lower()}-{self.port}"

    @property
    def authority(self) -> str:
        """What the external host is asked for: as the client wrote it, with the port where it is not the default."""
        return self.host if self.port == _DEFAULT_PORT else f"{self.host}:{self.port}"


def build_hops(key: Key, destinations: Iterable[Destination]) -> tuple[Hop, ...]:
    """Every way through the gateway, in a stable order: a rule that changes place is a rule rewritten."""
    hops = [
        _hop(key, destination.name, host, port)
        for destination in destinations
        for host in destination.hosts
        for port in destination.ports
    ]
    return tuple(sorted(hops, key=lambda hop: (hop.destination, hop.host, hop.port)))


def family_of(protocol: str) -> str:
    """How a hop tells its traffic: `http` by authority, `tls` by the client's server name, `tcp` by port alone."""
    return "http" if protocol in HTTP_FAMILY else protocol.lower()


def _hop(key: Key, destination: str, host: str, port: DestinationPort) -> Hop:
    protocol = str(port.protocol)
    family = family_of(protocol)
    return Hop(
        destination=destination,
        host=host,
        port=port.port,
        target_port=port.target_port or port.port,
        protocol=protocol,
        name=hop_name(host, family, port.port),
        sni=sni_name(key, host, family, port.port),
    )
