"""
Hops: the (host, port) pairs that go through one gateway, and everything that is named after them.

All of them share one hop port under ISTIO_MUTUAL; a private server name distinguishes them (notes "istio-recipes" §1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from egressgateway.api.destination import Destination, DestinationPort
from egressgateway.api.scalars import format_duration
from egressgateway.api.server import WildcardStrategy
from egressgateway.names import hop_name, sni_name, upgrade_name
from egressgateway.plan.gateway.target import GatewayTarget
from egressgateway.refs import Key

HTTP_FAMILY: Final = frozenset({"HTTP", "HTTP2", "GRPC"})
_DEFAULT_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Hop:
    """
    One (host, port) that goes through the gateway.

    Attributes:
        names: the host and its aliases, as clients ask for them.
        port: that clients dial; `target_port` at the destination.
        name: of the hop's subset and of the server in the Gateway.
        sni: private server name on the hop, host of the gateway's own entry for the destination.
        hop_port: of the gateway's Service.
        server: address of the destination when DNS is asked for another name than the host.
        originates: the gateway originates TLS to the destination.
        dynamic: the gateway resolves whatever name under the wildcard a client asks for.
        idle_timeout: after which the gateway ends a silent connection, in Istio's words; empty for the mesh's default.
    """

    destination: str
    host: str
    names: tuple[str, ...]
    port: int
    target_port: int
    protocol: str
    name: str
    sni: str
    hop_port: int
    server: str
    strict: bool = True
    originates: bool = False
    dynamic: bool = False
    idle_timeout: str = ""

    @property
    def http(self) -> bool:
        """Routed by authority; everything else is passed through by server name."""
        return self.protocol in HTTP_FAMILY

    @property
    def tls(self) -> bool:
        """The client's own TLS, passed through unopened."""
        return self.protocol == "TLS"

    @property
    def wildcard(self) -> bool:
        return self.host.startswith("*.")

    @property
    def server_hosts(self) -> list[str]:
        """
        The server's hosts in the Gateway: `./` keeps VirtualServices of other namespaces from attaching.

        Requests for a wildcard arrive with the name that the client asked for, so the wildcard is listed beside the
        private name; without mutual TLS there is no private server name, and a client's own TLS shows the real one.
        """
        if self.http:
            return [f"./{self.sni}", f"./{self.host}"] if self.wildcard else [f"./{self.sni}"]
        return [f"./{self.sni}"] if self.strict else [f"./{self.host if self.tls else '*'}"]

    @property
    def server_protocol(self) -> str:
        """Protocol of the server in the Gateway."""
        if self.strict:
            return "HTTPS" if self.http else "TLS"
        return "HTTP" if self.http else self.protocol

    @property
    def upstream(self) -> str:
        """Host of the gateway's own entry for the destination."""
        return f"*.{self.sni}" if self.dynamic else self.sni

    @property
    def port_name(self) -> str:
        return f"{self.protocol.lower()}-{self.port}"

    @property
    def upstream_protocol(self) -> str:
        """
        The protocol between the gateway and the destination, inside TLS where the gateway originates it, as Istio is
        told.

        Of a dynamic hop in plain text only an EnvoyFilter tells the gateway of HTTP/2: every proxy that sees the entry,
        such as the sidecars beside the gateway, would reject it, and with it every later change.
        """
        return "HTTP" if self.http and self.plainly_dynamic else self.protocol

    @property
    def plainly_dynamic(self) -> bool:
        """Whether istiod gives the dynamic cluster no automatic server names, without which it may have no options."""
        return self.dynamic and not self.originates

    @property
    def upgradable(self) -> bool:
        """Whether clients may go on as WebSocket: what speaks HTTP/2 with its clients has no upgrades."""
        return self.protocol == "HTTP"

    @property
    def upgrade_name(self) -> str:
        """Of the subset of its WebSockets, where they have one."""
        return upgrade_name(self.name)

    @property
    def authority(self) -> str:
        """
        The authority sent to the external host: as the client wrote it, with the port where it is not the default.
        """
        return self.host if self.port == _DEFAULT_PORT else f"{self.host}:{self.port}"

    @property
    def authority_pattern(self) -> str:
        """The authorities that a dynamic hop accepts: the port in them chooses where the gateway connects to."""
        if self.port != _DEFAULT_PORT:
            return f"[^:]+:{self.port}"
        return "[^:]+" if self.originates else f"[^:]+(:{self.port})?"


def build_hops(key: Key, destinations: Iterable[Destination], target: GatewayTarget) -> tuple[Hop, ...]:
    """Every hop through the gateway, in a stable order: a rule that changes place is a rule rewritten."""
    hops = [
        _hop(key, destination, host, port, target)
        for destination in destinations
        for host in destination.hosts
        for port in destination.ports
    ]
    return tuple(sorted(hops, key=lambda hop: (hop.destination, hop.host, hop.port)))


def family_of(port: DestinationPort) -> str:
    """
    How a hop routes its traffic: by authority, by the client's server name, or by port alone; and whether it originates
    TLS.

    A port that changes from one family to another becomes another hop, so that it changes without a moment of plain
    text.
    """
    protocol = str(port.protocol)
    family = "http" if protocol in HTTP_FAMILY else protocol.lower()
    return f"{family}s" if port.tls is not None else family


def _hop(key: Key, destination: Destination, host: str, port: DestinationPort, target: GatewayTarget) -> Hop:
    protocol = str(port.protocol)
    family = family_of(port)
    wildcard = destination.wildcard
    return Hop(
        destination=destination.name,
        host=host,
        names=(host, *destination.aliases),
        port=port.port,
        target_port=port.dialed,
        protocol=protocol,
        name=hop_name(host, family, port.port, target.id),
        sni=sni_name(key, host, family, port.port, target.id),
        hop_port=_hop_port(target, protocol, port.port),
        server=(wildcard.server if wildcard else None) or host,
        strict=target.strict,
        originates=port.tls is not None,
        dynamic=wildcard is not None and wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION,
        idle_timeout=_idle_timeout(destination),
    )


def _idle_timeout(destination: Destination) -> str:
    pool = destination.traffic.connection_pool if destination.traffic else None
    return "" if pool is None or pool.idle_timeout is None else format_duration(pool.idle_timeout)


def _hop_port(target: GatewayTarget, protocol: str, port: int) -> int:
    """
    Under mutual TLS one port serves all; without it only HTTP requests carry a host, and other protocols need ports of
    their own.
    """
    if target.strict:
        return target.hop_port
    if protocol in HTTP_FAMILY:
        return target.plain_port
    return port if target.dedicated else target.hop_port
