"""
What a provider cannot do, or cannot do with a given class: rejected with the field's name, never ignored.

A value by itself is looked up in the table of `capabilities`. Rules over several fields are in the provider's `limits`,
or here, where they are the same for all of them. Each rule says what would happen without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec, MtlsMode
from egressgateway.facts import MeshConfig
from egressgateway.plan.capabilities.fields import SetField, refusals, set_fields
from egressgateway.plan.capabilities.model import Circumstance, Table
from egressgateway.plan.context import PlanContext
from egressgateway.plan.providers import provider_of

_LISTS: Final = ("destinations", "expose")
"""Lists whose entries are sections, judged one by one."""

_SHOWN: Final = (str, int)


def unsupported_in_class(spec: EgressGatewayClassSpec, class_name: str, mesh_config: MeshConfig) -> Iterator[str]:
    """Fields of the class that every object of it would need."""
    for message in _refused(spec, class_name, provider_of(spec).capabilities.class_spec, set_fields(spec)):
        yield f"{class_name}: {message}"
    yield from provider_of(spec).limits_of_class(spec, class_name, mesh_config)


def unsupported_in_spec(context: PlanContext) -> Iterator[str]:
    """Fields that concern the whole object."""
    own = (found for found in set_fields(context.spec) if found.row.partition(".")[0] not in _LISTS)
    yield from _refused_in(context, own)
    yield from provider_of(context.class_spec).limits_of_spec(context)


def unsupported_in_destination(context: PlanContext, destination: Destination, field: str) -> Iterator[str]:
    """Fields of one destination; `field` is its path."""
    own = set_fields(destination, field, "destinations")
    yield from _refused_in(context, own)
    if not destination.is_http:
        yield from _requests_without_http(destination, field)
    if destination.request_headers is not None:
        yield from _ambiguous_headers(destination, field)
    yield from provider_of(context.class_spec).limits_of_destination(context, destination, field)


def unsupported_in_exposed(context: PlanContext, exposed: ExposedHost, field: str) -> Iterator[str]:
    """Fields of one exposed host."""
    own = set_fields(exposed, field, "expose")
    yield from _refused_in(context, own)
    yield from provider_of(context.class_spec).limits_of_exposed(context, exposed, field)


def _refused_in(context: PlanContext, fields: Iterable[SetField]) -> Iterator[str]:
    table = provider_of(context.class_spec).capabilities.spec
    yield from _refused(context.class_spec, context.class_name, table, fields)


def _refused(
    class_spec: EgressGatewayClassSpec, class_name: str, table: Table, fields: Iterable[SetField]
) -> Iterator[str]:
    """What the table rejects; a field within a rejected one is not reported again."""
    holds = {Circumstance.ALWAYS}
    holds |= {Circumstance.SHARED} if class_spec.shared is not None else set()
    holds |= {Circumstance.PLAIN} if class_spec.mtls is MtlsMode.DISABLED else set()
    gone: tuple[str, ...] = ()
    for found in fields:
        if found.path.startswith(gone):
            continue
        for each in refusals(table, found):
            if each.only in holds:
                shown = f"{found.value} is " if isinstance(found.value, _SHOWN) else ""
                who = " ".join(filter(None, (f"provider {class_spec.data_plane}", each.only)))
                yield f"{found.path}: {shown}not supported by {class_name} ({who}): {each.why}; {each.remedy}"
                gone = (*gone, f"{found.path}.", f"{found.path}[")


def _requests_without_http(destination: Destination, field: str) -> Iterator[str]:
    """The gateway sees connections there, not requests."""
    traffic = destination.traffic
    if traffic is None:
        return
    pool = traffic.connection_pool
    for name, value in (
        ("timeout", traffic.timeout),
        ("retries", traffic.retries),
        ("connectionPool.maxPendingRequests", pool.max_pending_requests if pool else None),
        ("connectionPool.maxRequestsPerConnection", pool.max_requests_per_connection if pool else None),
    ):
        if value is not None:
            yield (
                f"{field}.traffic.{name}: needs ports with protocol HTTP, HTTP2 or GRPC only; remove it, or make a "
                "separate destination for the other ports"
            )


def _ambiguous_headers(destination: Destination, field: str) -> Iterator[str]:
    headers = destination.request_headers
    if headers is None:
        return
    counted = Counter(header.name.lower() for header in headers.set_)
    for name in sorted(name for name, count in counted.items() if count > 1):
        yield f"{field}.requestHeaders.set: {name} is set more than once (header names are case-insensitive); keep one"
    for name in sorted(counted.keys() & {name.lower() for name in headers.remove}):
        yield f"{field}.requestHeaders.remove: {name} is also set; keep one of the two"
