"""`EgressGateway.spec`: its sections together, and the rules that compare them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.access import Access
from egressgateway.api.destination import CEL_IS_HTTP, Destination
from egressgateway.api.expose import DestinationBackend, ExposedHost
from egressgateway.api.gateway import GatewaySettings, ServiceType
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import Offence, Rule, list_map
from egressgateway.api.scalars import Boolean, ObjectName


class AccessLog(StrEnum):
    """Whether the gateway writes an access log."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class TracingMode(StrEnum):
    """What happens to the trace context."""

    STRIP = "Strip"
    PROPAGATE = "Propagate"


class MeshHeadersMode(StrEnum):
    """What happens to the mesh's own headers."""

    STRIP = "Strip"
    KEEP = "Keep"


class Telemetry(ApiModel):
    """What is logged, and what of the mesh the external hosts may see. `x-forwarded-client-cert` never leaves."""

    access_log: AccessLog | None = None
    """`Enabled` or `Disabled`. Default: the mesh's setting."""

    tracing: TracingMode | None = None
    """The trace context towards external hosts: `Strip` (default) or `Propagate`."""

    mesh_headers: MeshHeadersMode | None = None
    """
    `x-envoy-*`, `x-forwarded-for` and the like towards external hosts: `Strip` (default) or `Keep`, which shows
    them pod addresses.
    """


MAX_WAYS = 512
"""Most pairs of a name (host or alias) and a port of one object: each becomes several objects and an Envoy cluster."""


def _unknown_destinations_in_access(spec: EgressGatewaySpec) -> Iterator[Offence]:
    known = {destination.name for destination in spec.destinations}
    for index, entry in enumerate(spec.access.from_ if spec.access else ()):
        for position, name in enumerate(entry.destinations):
            if name not in known:
                yield Offence(f".access.from[{index}].destinations[{position}]", name)


def _http_conditions_without_http(spec: EgressGatewaySpec) -> Iterator[Offence]:
    for index, entry in enumerate(spec.access.from_ if spec.access else ()):
        if not (entry.methods or entry.paths):
            continue
        field = "methods" if entry.methods else "paths"
        named = [item for item in spec.destinations if not entry.destinations or item.name in entry.destinations]
        if not all(destination.is_http for destination in named):
            yield Offence(f".access.from[{index}].{field}", list(entry.methods or entry.paths))


def _backends(spec: EgressGatewaySpec) -> Iterator[tuple[str, DestinationBackend]]:
    for index, exposed in enumerate(spec.expose):
        if exposed.backend.destination is not None:
            yield f".expose[{index}].backend.destination", exposed.backend.destination


def _unknown_destinations_in_expose(spec: EgressGatewaySpec) -> Iterator[Offence]:
    known = {destination.name for destination in spec.destinations}
    for path, backend in _backends(spec):
        if backend.name not in known:
            yield Offence(f"{path}.name", backend.name)


def _backends_that_cannot_be_exposed(spec: EgressGatewaySpec) -> Iterator[Offence]:
    by_name = {destination.name: destination for destination in spec.destinations}
    for path, backend in _backends(spec):
        destination = by_name.get(backend.name)
        if destination is not None and not _can_be_exposed(destination, backend.port):
            yield Offence(path, {"name": backend.name, "port": backend.port})


def _can_be_exposed(destination: Destination, number: int) -> bool:
    return (
        len(destination.hosts) == 1
        and destination.wildcard is None
        and any(port.port == number and port.protocol.is_http for port in destination.ports)
    )


def _service_serves_something(spec: EgressGatewaySpec) -> bool:
    service = spec.gateway.service if spec.gateway else None
    if service is None or service.type in (None, ServiceType.CLUSTER_IP):
        return True
    return any(exposed.gateway_ref is None for exposed in spec.expose)


def _repeated_hosts(spec: EgressGatewaySpec) -> Iterator[Offence]:
    seen: set[str] = set()
    for index, destination in enumerate(spec.destinations):
        for position, host in enumerate(destination.hosts):
            if host in seen:
                yield Offence(f".destinations[{index}].hosts[{position}]", host)
        seen.update(destination.hosts)


def _repeated_aliases(spec: EgressGatewaySpec) -> Iterator[Offence]:
    seen = {host for destination in spec.destinations for host in destination.hosts}
    for index, destination in enumerate(spec.destinations):
        for position, alias in enumerate(destination.aliases):
            if alias in seen:
                yield Offence(f".destinations[{index}].aliases[{position}]", alias)
        seen.update(destination.aliases)


class EgressGatewaySpec(ApiModel):
    """Which external hosts a team's clients reach through a gateway, which clients, and how."""

    class_name: ObjectName | None = None
    """
    An EgressGatewayClass. Default: the class annotated `egressgateway.dev/is-default-class: "true"`, else the
    built-in one.
    A change leaves no gap: the old data plane stays until the new one serves.
    """

    suspend: Boolean | None = None
    """
    `true`: the operator only writes status; traffic flows as it is and nothing expires. What the class does not allow
    any more is withdrawn all the same. Default: `false`.
    """

    gateway: GatewaySettings | None = None
    """
    The object's own (dedicated) gateway. A field set here replaces the class's whole. Not with a class that has
    a shared gateway.
    """

    destinations: Annotated[tuple[Destination, ...], Field(max_length=64), list_map("name")] = ()
    """
    External hosts that are reached through the gateway: at most 64, and at most 512 pairs of a name (host or alias) and
    a port in all. At least one destination or one entry in `expose` is needed.
    """

    expose: Annotated[tuple[ExposedHost, ...], Field(max_length=32), list_map("name")] = ()
    """Hosts published to clients outside the mesh, HTTP only: at most 32."""

    access: Access | None = None
    """Who may use the destinations. Default: the own namespace; present: just what it lists, so name the own too."""

    telemetry: Telemetry | None = None
    """What is logged, and what of the mesh external hosts may see."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["EgressGatewaySpec"](
            cel=(
                "(has(self.destinations) && size(self.destinations) > 0) || (has(self.expose) && size(self.expose) > 0)"
            ),
            message="at least one entry in destinations or expose is required",
            holds=lambda self: bool(self.destinations or self.expose),
            reason="FieldValueRequired",
        ),
        Rule["EgressGatewaySpec"](
            cel="!has(self.access) || (has(self.destinations) && size(self.destinations) > 0)",
            message="access needs destinations: it grants their use, and there are none",
            holds=lambda self: self.access is None or bool(self.destinations),
            field=".access",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.access) || !has(self.destinations) || self.access.from.all(f, !has(f.destinations) || "
                "self.destinations.filter(d, d.name in f.destinations).size() == f.destinations.size())"
            ),
            message="access.from names an unknown destination: use a name of spec.destinations",
            offences=_unknown_destinations_in_access,
            field=".access.from",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                # A list of one binds a name: what stands in it is computed once, not for each entry.
                "!has(self.access) || !has(self.destinations) || ["
                "self.destinations.filter(d, d.ports.exists(p, p.protocol == 'TLS' || p.protocol == 'TCP'))"
                ".map(d, d.name)"
                "].all(unseen, self.access.from.all(f, !(has(f.methods) || has(f.paths)) || "
                "(has(f.destinations) ? !f.destinations.exists(n, n in unseen) : size(unseen) == 0)))"
            ),
            message=(
                "methods and paths need destinations whose ports all have protocol HTTP, HTTP2 or GRPC: list "
                "such destinations"
            ),
            offences=_http_conditions_without_http,
            field=".access.from",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.expose) || self.expose.all(e, !has(e.backend.destination) || "
                "(has(self.destinations) && self.destinations.exists(d, d.name == e.backend.destination.name)))"
            ),
            message="expose names an unknown destination: use a name of spec.destinations",
            offences=_unknown_destinations_in_expose,
            field=".expose",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.expose) || !has(self.destinations) || self.expose.all(e, !has(e.backend.destination) || "
                "[e.backend.destination.port].all(port, self.destinations.all(d, "
                "d.name != e.backend.destination.name || "
                f"(size(d.hosts) == 1 && !has(d.wildcard) && d.ports.exists(p, p.port == port && {CEL_IS_HTTP})))))"
            ),
            message=(
                "an exposed destination needs exactly one host, no wildcard, and that port with protocol HTTP, "
                "HTTP2 or GRPC"
            ),
            offences=_backends_that_cannot_be_exposed,
            field=".expose",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.gateway) || !has(self.gateway.service) || !has(self.gateway.service.type) || "
                "self.gateway.service.type == 'ClusterIP' || "
                "(has(self.expose) && self.expose.exists(e, !has(e.gatewayRef)))"
            ),
            message=(
                "a Service type other than ClusterIP needs a host exposed on the object's own gateway: remove it, or "
                "add to expose"
            ),
            holds=_service_serves_something,
            field=".gateway.service.type",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.destinations) || self.destinations.map(d, (size(d.hosts) + "
                f"(has(d.aliases) ? size(d.aliases) : 0)) * size(d.ports)).sum() <= {MAX_WAYS}"
            ),
            message=(
                f"hosts and aliases, times the ports of their destination, may be {MAX_WAYS} in all: make several "
                "objects"
            ),
            holds=lambda self: sum(len(each.names) * len(each.ports) for each in self.destinations) <= MAX_WAYS,
            field=".destinations",
        ),
        Rule["EgressGatewaySpec"](
            # Each pair once: all pairs of 64 destinations with 16 hosts would exceed what a rule may cost at run time.
            cel=(
                "!has(self.destinations) || self.destinations.all(d, self.destinations.all(e, "
                "e.name <= d.name || !sets.intersects(d.hosts, e.hosts)))"
            ),
            message="a host may be in one destination only",
            offences=_repeated_hosts,
            field=".destinations",
        ),
        Rule["EgressGatewaySpec"](
            cel=(
                "!has(self.destinations) || self.destinations.all(d, !has(d.aliases) || self.destinations.all(e, "
                "!sets.intersects(d.aliases, e.hosts) && "
                "(e.name <= d.name || !has(e.aliases) || !sets.intersects(d.aliases, e.aliases))))"
            ),
            message="an alias may be in one destination only, and not among hosts",
            offences=_repeated_aliases,
            field=".destinations",
        ),
    )
