"""
What Istio's provider cannot do with fields taken together; the table of `capabilities` rejects single values.

Each rule says what would happen without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from egressgateway.api.destination import Destination, Protocol
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec, MtlsMode
from egressgateway.api.probe import Probe
from egressgateway.api.server import WildcardStrategy
from egressgateway.facts import MeshConfig
from egressgateway.plan.context import PlanContext

_DEFAULT_HTTP: Final = 80
_DEFAULT_HTTPS: Final = 443


def limits_of_class(spec: EgressGatewayClassSpec, class_name: str, mesh_config: MeshConfig) -> Iterator[str]:
    """Fields of the class that every object of it would need."""
    template = spec.dedicated.pod_template.as_json() if spec.dedicated and spec.dedicated.pod_template else {}
    for name in ("serviceAccountName", "serviceAccount"):
        if name in (template.get("spec") or {}):
            # Clients require the gateway's own identity.
            field = f"spec.dedicated.podTemplate.spec.{name}"
            yield f"{class_name}: {field}: each gateway has its own ServiceAccount; remove it"
    if spec.shared is not None and mesh_config.scopes_gateways:
        # A Gateway in the object's namespace would select nothing, and the hop would end nowhere.
        yield (
            f"{class_name}: spec.shared: the mesh lets Gateways select pods of their own namespace only "
            "(PILOT_SCOPE_GATEWAY_TO_NAMESPACE); use a class with a dedicated gateway"
        )


def limits_of_spec(context: PlanContext) -> Iterator[str]:
    """Fields that concern the whole object."""
    if context.class_spec.shared is not None and context.class_spec.mtls is not MtlsMode.DISABLED:
        yield from _not_by_denial(context)


def limits_of_destination(context: PlanContext, destination: Destination, field: str) -> Iterator[str]:
    """Fields of one destination; `field` is its path."""
    yield from _endless_idling(destination, field)
    if destination.wildcard is not None:
        yield from _wildcard(context, destination, field)
    if destination.probe is not None:
        yield from _probe(destination, destination.probe, field)
    if context.class_spec.shared is not None:
        yield from _destination_on_a_shared_gateway(context, destination, field)
    authorizer = context.class_spec.external_authorization
    kind = (context.mesh_config.authorizers or {}).get(authorizer.provider) if authorizer else None
    if authorizer is not None and kind == "http" and not destination.is_http:
        # Istio leaves an HTTP authorizer out for other protocols, and allows everything there.
        yield (
            f"{field}.ports: the authorizer {authorizer.provider} of {context.class_name} checks HTTP requests only; "
            "use ports with protocol HTTP, HTTP2 or GRPC"
        )


def limits_of_exposed(context: PlanContext, exposed: ExposedHost, field: str) -> Iterator[str]:
    """Fields of one exposed host."""
    if context.class_spec.shared is not None and exposed.gateway_ref is None:
        yield f"{field}.gatewayRef: required with {context.class_name}, whose gateway is shared; name an Istio Gateway"


def _not_by_denial(context: PlanContext) -> Iterator[str]:
    """
    On a shared gateway access is what is not denied; several conditions on one destination cannot be expressed that
    way.
    """
    entries = context.spec.access.from_ if context.spec.access else ()
    limited = [index for index, entry in enumerate(entries) if entry.methods or entry.paths]
    for destination in context.spec.destinations:
        touching = [
            index
            for index in limited
            if not entries[index].destinations or destination.name in entries[index].destinations
        ]
        if len(touching) > 1:
            yield (
                f"spec.access.from[{touching[1]}]: with the shared gateway of {context.class_name} only one entry may "
                f"have methods or paths for destination {destination.name}; merge them"
            )


def _endless_idling(destination: Destination, field: str) -> Iterator[str]:
    """Istio's DestinationRule accepts no zero for requests, only for connections."""
    pool = destination.traffic.connection_pool if destination.traffic else None
    never = pool is not None and pool.idle_timeout == timedelta(0)
    if never and any(port.protocol.is_http for port in destination.ports):
        yield (
            f"{field}.traffic.connectionPool.idleTimeout: 0s needs ports with protocol TLS or TCP only; set a long "
            "duration instead"
        )


def _wildcard(context: PlanContext, destination: Destination, field: str) -> Iterator[str]:
    numbers = [port.port for port in destination.ports if port.protocol.is_http]
    if len(numbers) > 1:
        # A real host may be in one server of a gateway only; the second would be skipped silently.
        yield (
            f"{field}.ports: wildcard hosts may have only one port with protocol HTTP, HTTP2 or GRPC, and these are "
            f"{', '.join(map(str, numbers))}; make a separate object for the other"
        )
    assert destination.wildcard is not None  # noqa: S101  (asked for wildcards only)
    if destination.wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION:
        yield from _dynamic(context, destination, field)


def _dynamic(context: PlanContext, destination: Destination, field: str) -> Iterator[str]:
    """The requested name decides where the gateway connects to, so nothing else can."""
    if context.class_spec.mtls is MtlsMode.DISABLED:
        yield (
            f"{field}.wildcard.strategy: DynamicResolution needs mtls Strict, {context.class_name} has Disabled; use "
            "strategy SingleServer, or another class"
        )
    for index, port in enumerate(destination.ports):
        expected = _DEFAULT_HTTPS if port.tls is not None else port.port
        if port.dialed != expected:
            yield f"{field}.ports[{index}].targetPort: with DynamicResolution it must be {expected}; set it to that"
        if port.tls is not None and port.port != _DEFAULT_HTTP:
            yield (
                f"{field}.ports[{index}].port: with DynamicResolution and tls it must be {_DEFAULT_HTTP}; set it to "
                "that"
            )
        if port.tls is not None and (port.tls.sni or port.tls.subject_alt_names):
            yield (
                f"{field}.ports[{index}].tls: DynamicResolution sends and verifies the requested name; remove sni and "
                "subjectAltNames"
            )
    traffic = destination.traffic
    for name, value in (
        ("loadBalancing", traffic.load_balancing if traffic else None),
        ("outlierDetection", traffic.outlier_detection if traffic else None),
    ):
        if value is not None:
            yield (
                f"{field}.traffic.{name}: has no effect with DynamicResolution, where each name has its own servers; "
                "remove it"
            )


def _probe(destination: Destination, probe: Probe, field: str) -> Iterator[str]:
    if destination.wildcard is not None and destination.wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION:
        yield f"{field}.probe: with DynamicResolution there is no single server to probe; remove it, or name a host"
    asks = any(port.protocol in (Protocol.HTTP, Protocol.HTTP2) for port in destination.ports)
    if probe.path is not None and not asks:
        yield f"{field}.probe.path: needs a port with protocol HTTP or HTTP2; remove it to check a connection instead"
    if probe.path is None and probe.statuses:
        yield f"{field}.probe.statuses: only an HTTP probe gets a status; set probe.path"


def _destination_on_a_shared_gateway(context: PlanContext, destination: Destination, field: str) -> Iterator[str]:
    wildcard = destination.wildcard
    if wildcard is not None and (
        wildcard.strategy is WildcardStrategy.DYNAMIC_RESOLUTION
        or any(port.protocol.is_http for port in destination.ports)
    ):
        # Its real host would be in a server of a gateway that others configure, too.
        yield (
            f"{field}.wildcard: on the shared gateway of {context.class_name} only strategy SingleServer with protocol "
            "TLS works; use a class with a dedicated gateway"
        )
    if context.class_spec.mtls is MtlsMode.DISABLED:
        if destination.has_tcp:
            yield (
                f"{field}.ports: TCP needs mtls Strict on the shared gateway of {context.class_name}; use a class with "
                "a dedicated gateway, or with mtls Strict"
            )
        tls_ports = [port.port for port in destination.ports if port.protocol == "TLS"]
        if len(tls_ports) > 1:
            yield (
                f"{field}.ports: without mtls the shared gateway of {context.class_name} serves only one TLS port; "
                "remove the others, or use a class with mtls Strict"
            )
