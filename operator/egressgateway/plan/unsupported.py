"""
What this version of the operator does not do yet. Refused by name, never ignored.

Each function names the field, as its author wrote it. An entry leaves this module when the planner has learnt it.
"""

from __future__ import annotations

from collections.abc import Iterator

from egressgateway.api.destination import Destination, Protocol, Resolution
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec

_PROTOCOLS = frozenset({Protocol.HTTP, Protocol.TLS})


def unsupported_in_class(name: str, spec: EgressGatewayClassSpec) -> Iterator[str]:
    """Fields of the class that every object of it would need."""
    where = f"EgressGatewayClass {name}"
    if spec.provider is not None and spec.provider != "Istio":
        yield f"{where}: spec.provider {spec.provider} is not supported yet; use a class with provider Istio"
    if spec.shared is not None:
        yield f"{where}: spec.shared is not supported yet; use a class with a dedicated gateway"
    if spec.mtls is not None and spec.mtls != "Strict":
        yield f"{where}: spec.mtls {spec.mtls} is not supported yet; use Strict"
    if spec.external_authorization is not None:
        yield f"{where}: spec.externalAuthorization is not supported yet; remove it"
    if spec.dedicated is not None and spec.dedicated.pod_template:
        yield f"{where}: spec.dedicated.podTemplate is not supported yet; remove it"


def unsupported_in_spec(spec: EgressGatewaySpec) -> Iterator[str]:
    """Fields that concern the whole object."""
    if spec.expose:
        yield "spec.expose is not supported yet; remove it"
    if spec.access is not None:
        yield "spec.access is not supported yet; remove it: without it the own namespace may use the destinations"
    if spec.telemetry is not None:
        yield "spec.telemetry is not supported yet; remove it: without it nothing of the mesh leaves with a request"
    if spec.gateway is not None and spec.gateway.service is not None:
        yield "spec.gateway.service is for exposed ports, which are not supported yet; remove it"


def unsupported_in_destination(destination: Destination, field: str) -> Iterator[str]:
    """Fields of one destination; `field` is its path."""
    for number, port in enumerate(destination.ports):
        if port.protocol not in _PROTOCOLS:
            yield f"{field}.ports[{number}].protocol: {port.protocol} is not supported yet; use HTTP or TLS"
        if port.tls is not None:
            yield f"{field}.ports[{number}].tls is not supported yet; remove it, or let clients open TLS: protocol TLS"
    for name, value in (
        ("aliases", destination.aliases),
        ("endpoints", destination.endpoints),
        ("wildcard", destination.wildcard),
        ("requestHeaders", destination.request_headers),
        ("traffic", destination.traffic),
    ):
        if value:
            yield f"{field}.{name} is not supported yet; remove it"
    if destination.resolution not in (None, Resolution.DNS):
        yield f"{field}.resolution: {destination.resolution} is not supported yet; use DNS"
