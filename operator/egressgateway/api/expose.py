"""Hosts that are published to clients outside the mesh: the other direction of the same gateway."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.hosts import Host
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule
from egressgateway.api.scalars import (
    Boolean,
    ClientPort,
    HttpPath,
    LabelName,
    ObjectName,
    PartName,
    PartReference,
    Port,
)


class GatewayRef(ApiModel):
    """An existing Istio Gateway."""

    name: ObjectName
    """Name of the Gateway."""

    namespace: LabelName | None = None
    """Namespace of the Gateway. Default: the own one; others need the class's `allowedGateways`."""


class ExposeTls(ApiModel):
    """TLS of an exposed host, which the gateway ends."""

    credential_name: ObjectName
    """A Secret of the object's namespace with the server's certificate and key."""

    https_redirect: Boolean | None = None
    """`true` answers plain HTTP on port 80 with a redirect. Default: `false`."""


class ServiceBackend(ApiModel):
    """A Service of the own namespace."""

    name: LabelName
    """Name of the Service."""

    port: Port
    """Port of the Service."""


class DestinationBackend(ApiModel):
    """A destination of the same object."""

    name: PartReference
    """Name of the destination, which must have exactly one host, no wildcard."""

    port: Port
    """Port of the destination, with protocol HTTP, HTTP2 or GRPC."""


class Backend(ApiModel):
    """Where requests for an exposed host go: exactly one of its fields."""

    service: ServiceBackend | None = None
    """A Service of the own namespace."""

    destination: DestinationBackend | None = None
    """
    A destination of the same object: requests come in and leave again. Only the ingress gateway
    may then use that destination.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Backend"](
            cel="has(self.service) != has(self.destination)",
            message="exactly one of service and destination is required",
            holds=lambda self: (self.service is None) != (self.destination is None),
        ),
    )


class ExposedHost(ApiModel):
    """Hosts published to clients outside the mesh, HTTP only."""

    name: PartName
    """
    Names the entry: a DNS label of at most 40 characters. It is part of the names of the objects that the
    operator creates, and of the status.
    """

    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=16), SET]
    """1 to 16 hosts as clients name them, or wildcards such as `*.example.com`, but not both."""

    gateway_ref: GatewayRef | None = None
    """
    An Istio Gateway to attach to. Default: the own gateway, or the class's APISIX; required with a shared Istio
    class.
    """

    port: ClientPort | None = None
    """Port on the own gateway: default 80, or 443 with `tls`. Not with `gatewayRef`."""

    tls: ExposeTls | None = None
    """TLS on the own gateway. Not with `gatewayRef`, whose Gateway has its own."""

    paths: Annotated[tuple[HttpPath, ...], Field(min_length=1, max_length=16), SET] = ()
    """Paths such as `/v1/a`, or prefixes such as `/v1/*`: at most 16. Default: `/*`."""

    backend: Backend
    """Where requests go: exactly one of `service` and `destination`."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["ExposedHost"](
            cel="self.hosts.all(h, h.startsWith('*.')) || !self.hosts.exists(h, h.startsWith('*.'))",
            message="exact and wildcard hosts need separate entries",
            holds=lambda self: len({host.startswith("*.") for host in self.hosts}) == 1,
            field=".hosts",
        ),
        Rule["ExposedHost"](
            cel="!has(self.gatewayRef) || !has(self.port)",
            message="port is for the object's own gateway: the Gateway of gatewayRef has its own ports",
            holds=lambda self: self.gateway_ref is None or self.port is None,
            field=".port",
            reason="FieldValueForbidden",
        ),
        Rule["ExposedHost"](
            cel="!has(self.gatewayRef) || !has(self.tls)",
            message="tls is for the object's own gateway: the Gateway of gatewayRef has its own certificates",
            holds=lambda self: self.gateway_ref is None or self.tls is None,
            field=".tls",
            reason="FieldValueForbidden",
        ),
        Rule["ExposedHost"](
            cel=(
                "!has(self.tls) || !has(self.tls.httpsRedirect) || !self.tls.httpsRedirect || !has(self.port) || "
                "self.port != 80"
            ),
            message="httpsRedirect answers on port 80, so tls needs another port",
            holds=lambda self: not (self.tls and self.tls.https_redirect and self.port == 80),
            field=".port",
        ),
    )

    @property
    def listens_on(self) -> int:
        """The port on the own gateway."""
        if self.port is not None:
            return self.port
        return 80 if self.tls is None else 443
