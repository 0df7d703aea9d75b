"""One destination: external hosts, their ports, and how the gateway reaches them."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from egressgateway.api.headers import RequestHeaders
from egressgateway.api.hosts import Fqdn, Host, IpAddress
from egressgateway.api.model import ApiModel
from egressgateway.api.probe import Probe
from egressgateway.api.rules import SET, Rule, list_map
from egressgateway.api.scalars import ClientPort, Instant, PartName
from egressgateway.api.server import Endpoint, Wildcard
from egressgateway.api.tls import PortTls
from egressgateway.api.traffic import Traffic


class Protocol(StrEnum):
    """What the client speaks on a port."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TLS = "TLS"
    TCP = "TCP"

    @property
    def is_http(self) -> bool:
        """Whether the gateway sees requests: HTTP, HTTP2 or GRPC."""
        return self in _HTTP_FAMILY


_HTTP_FAMILY = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC})
CEL_IS_HTTP = "p.protocol != 'TLS' && p.protocol != 'TCP'"
"""Whether port `p` is of the HTTP family; two comparisons cost the API server less than a list."""

PLAIN_TEXT_FIRST: Final = {
    21: "FTP",
    25: "SMTP",
    110: "POP3",
    119: "NNTP",
    143: "IMAP",
    389: "LDAP",
    587: "SMTP",
    1433: "SQL Server",
    3306: "MySQL",
    5222: "XMPP",
    5432: "PostgreSQL",
}
"""Ports whose protocol usually begins in plain text and goes on with TLS later (STARTTLS, PostgreSQL's SSLRequest)."""


class DestinationPort(ApiModel):
    """One port of a destination that clients dial."""

    port: ClientPort
    """The port that clients dial, on every host of the destination: 1 to 65535, not 15000 to 15099."""

    protocol: Protocol
    """
    What the client speaks: `HTTP`, `HTTP2`, `GRPC`, `TLS` or `TCP`. `TLS` is the client's own TLS, https
    included: routed by its server name and passed through.
    """

    target_port: ClientPort | None = None
    """
    The destination's port: 1 to 65535, not 15000 to 15099, where a gateway pod serves itself. Default: `port`; required
    with `tls`.
    """

    tls: PortTls | None = None
    """
    TLS that the gateway opens to the destination, so that clients may speak plain text to the gateway. Not with
    protocol `TLS`.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["DestinationPort"](
            cel="!has(self.tls) || self.protocol != 'TLS'",
            message=(
                "tls is TLS origination by the gateway: not with protocol TLS, which is passthrough of the client's "
                "own TLS"
            ),
            holds=lambda port: port.tls is None or port.protocol is not Protocol.TLS,
            field=".tls",
            reason="FieldValueForbidden",
        ),
        Rule["DestinationPort"](
            cel="!has(self.tls) || has(self.targetPort)",
            message="targetPort is required with tls: the TLS port of the destination, usually 443",
            holds=lambda port: port.tls is None or port.target_port is not None,
            field=".targetPort",
            reason="FieldValueRequired",
        ),
    )

    @property
    def dialed(self) -> int:
        """The port that the gateway connects to."""
        return self.port if self.target_port is None else self.target_port


class Resolution(StrEnum):
    """How the gateway finds the destination's addresses."""

    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNSRoundRobin"


def _is_wildcard(host: str) -> bool:
    return host.startswith("*.")


def _port_numbers_differ(ports: tuple[DestinationPort, ...]) -> bool:
    return len(ports) == len({port.port for port in ports})


class Destination(ApiModel):
    """External hosts, their ports, and how the gateway reaches them."""

    name: PartName
    """
    Names the destination: a DNS label of at most 40 characters. It is part of the names of the objects that the
    operator creates, and of the status.
    """

    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=16), SET]
    """
    1 to 16 hosts as clients name them, or wildcards such as `*.example.com`, but not both: lower-case fully
    qualified names outside the cluster, no public suffixes (`co.uk`), no IP addresses.
    A host may be in one destination only.
    """

    aliases: Annotated[tuple[Fqdn, ...], Field(max_length=4), SET] = ()
    """
    At most 4 further names for the one host; the gateway rewrites the request's authority. Only with HTTP,
    HTTP2 and GRPC ports.
    Clients must be able to resolve them.
    """

    addresses: Annotated[tuple[IpAddress, ...], Field(max_length=8), SET] = ()
    """
    The fixed addresses to which clients resolve the one host: at most 8, in the class's `allowedCIDRs`, and of one
    object in each consumer namespace. Several hosts may then have one TCP port, and its other addresses are left alone.
    Default: none.
    """

    ports: Annotated[
        tuple[DestinationPort, ...],
        Field(min_length=1, max_length=16),
        list_map("port", "protocol"),
        Rule[tuple[DestinationPort, ...]](
            cel="self.all(p, self.exists_one(q, q.port == p.port))",
            message="a port number may appear only once: one protocol per port",
            holds=_port_numbers_differ,
        ),
    ]
    """
    1 to 16 ports that clients dial, the same on every host. Other ports of the hosts are not registered with
    the mesh.
    """

    resolution: Resolution | None = None
    """
    `DNS` (default): the gateway uses every address of the host; `DNSRoundRobin`: one address at a time, with at
    most one endpoint.
    """

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=32), list_map("address")] = ()
    """The addresses of the hosts, 1 to 32 endpoints. Default: those from DNS."""

    wildcard: Wildcard | None = None
    """
    How wildcard hosts are reached; required for them, forbidden otherwise. Excludes `aliases`, `endpoints`,
    `resolution` and TCP ports.
    """

    request_headers: RequestHeaders | None = None
    """Headers that the gateway sets or removes. Only with HTTP, HTTP2 and GRPC ports."""

    traffic: Traffic | None = None
    """
    Time-outs, retries, connection pool, outlier detection and load balancing, all at the gateway. Default: the
    mesh's.
    """

    probe: Probe | None = None
    """
    A synthetic check by the gateway's pods; its result is the condition `Reachable`. Not with `DynamicResolution`, nor
    with a shared gateway. Default: none.
    """

    expires_at: Instant | None = None
    """
    A time of RFC 3339 after which the destination counts as deleted, with a warning event a day before.
    Default: never.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Destination"](
            cel="self.hosts.all(h, h.startsWith('*.')) || !self.hosts.exists(h, h.startsWith('*.'))",
            message="exact and wildcard hosts need separate destinations",
            holds=lambda self: len({_is_wildcard(host) for host in self.hosts}) == 1,
            field=".hosts",
        ),
        Rule["Destination"](
            cel="has(self.wildcard) || !self.hosts.exists(h, h.startsWith('*.'))",
            message="wildcard is required for wildcard hosts: choose a strategy",
            holds=lambda self: self.wildcard is not None or not any(map(_is_wildcard, self.hosts)),
            field=".wildcard",
            reason="FieldValueRequired",
        ),
        Rule["Destination"](
            cel="!has(self.wildcard) || self.hosts.exists(h, h.startsWith('*.'))",
            message="wildcard is only for wildcard hosts such as *.example.com",
            holds=lambda self: self.wildcard is None or any(map(_is_wildcard, self.hosts)),
            field=".wildcard",
            reason="FieldValueForbidden",
        ),
        Rule["Destination"](
            cel=(
                "!has(self.wildcard) || !((has(self.aliases) && size(self.aliases) > 0) || has(self.endpoints) "
                "|| has(self.resolution))"
            ),
            message="aliases, endpoints and resolution are not for wildcard hosts",
            holds=lambda self: self.wildcard is None or not (self.aliases or self.endpoints or self.resolution),
            field=".wildcard",
            reason="FieldValueForbidden",
        ),
        Rule["Destination"](
            cel="!has(self.wildcard) || !self.ports.exists(p, p.protocol == 'TCP')",
            message="TCP carries no host name, so a wildcard host cannot have a TCP port: use TLS, or name the hosts",
            holds=lambda self: self.wildcard is None or not self.has_tcp,
            field=".ports",
        ),
        Rule["Destination"](
            cel="!self.ports.exists(p, p.protocol == 'TCP') || size(self.hosts) == 1",
            message=(
                "TCP carries no host name, so a destination with a TCP port has one host: make a destination for "
                "each host"
            ),
            holds=lambda self: not self.has_tcp or len(self.hosts) == 1,
            field=".hosts",
        ),
        Rule["Destination"](
            cel=(
                "!has(self.aliases) || size(self.aliases) == 0 || "
                f"(size(self.hosts) == 1 && self.ports.all(p, {CEL_IS_HTTP}))"
            ),
            message="aliases need exactly one host and only ports with protocol HTTP, HTTP2 or GRPC",
            holds=lambda self: not self.aliases or (len(self.hosts) == 1 and self.is_http),
            field=".aliases",
        ),
        Rule["Destination"](
            cel=(
                "!has(self.addresses) || size(self.addresses) == 0 || "
                "(size(self.hosts) == 1 && !self.hosts[0].startsWith('*.'))"
            ),
            message="addresses are those of one host, no wildcard: make a destination for each host",
            holds=lambda self: not self.addresses or (len(self.hosts) == 1 and not _is_wildcard(self.hosts[0])),
            field=".addresses",
        ),
        Rule["Destination"](
            cel=f"!has(self.requestHeaders) || self.ports.all(p, {CEL_IS_HTTP})",
            message="requestHeaders need only ports with protocol HTTP, HTTP2 or GRPC",
            holds=lambda self: self.request_headers is None or self.is_http,
            field=".requestHeaders",
        ),
        Rule["Destination"](
            cel=(
                "!has(self.resolution) || self.resolution != 'DNSRoundRobin' || !has(self.endpoints) || "
                "size(self.endpoints) == 1"
            ),
            message="resolution DNSRoundRobin takes at most one endpoint",
            holds=lambda self: self.resolution is not Resolution.DNS_ROUND_ROBIN or len(self.endpoints) <= 1,
            field=".endpoints",
        ),
    )

    @property
    def has_tcp(self) -> bool:
        """Whether a port carries no host name at all."""
        return any(port.protocol is Protocol.TCP for port in self.ports)

    @property
    def is_http(self) -> bool:
        """Whether the gateway sees requests on every port."""
        return all(port.protocol.is_http for port in self.ports)

    @property
    def contended_ports(self) -> tuple[DestinationPort, ...]:
        """Ports that clients' proxies know by their numbers alone, or by names: a TCP port of an address is neither."""
        return tuple(port for port in self.ports if not (self.addresses and port.protocol is Protocol.TCP))

    @property
    def claimed(self) -> tuple[str, ...]:
        """What no other object may have for the same clients: names and addresses."""
        return (*self.names, *self.canonical_addresses)

    @property
    def canonical_addresses(self) -> tuple[str, ...]:
        """The addresses, each in one spelling."""
        return tuple(str(ipaddress.ip_address(address)) for address in self.addresses)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that clients may use: hosts, then aliases."""
        return self.hosts + self.aliases
