"""Hosts published to clients outside of the mesh, on the class's APISIX: an ApisixRoute for each entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from egressgateway.api.expose import ExposedHost
from egressgateway.plan.apisix.routes import EVERY_PATH, request_headers, upstream_name
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import exposed_section
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.stages import Stage


def plan_exposed(
    context: PlanContext, exposed: Sequence[ExposedHost], upstreams: Sequence[Upstream]
) -> Iterator[Child]:
    """Routes of hosts to Services, and of chains to the upstream of a destination."""
    for entry in exposed:
        values = {
            "ingress_class": context.class_spec.ingress_class,
            "hosts": sorted(entry.hosts),
            "paths": sorted(entry.paths) or [EVERY_PATH],
            **_backend(context, entry, upstreams),
        }
        section = exposed_section(entry.name)
        yield section_child(
            context.owner, "ApisixRoute", Stage.GATEWAY, section, ("expose",), values, "apisix/apisixroute-expose"
        )


def _backend(context: PlanContext, entry: ExposedHost, upstreams: Sequence[Upstream]) -> dict[str, Any]:
    behind, service = entry.backend.destination, entry.backend.service
    if service is not None:
        values = {"service_name": service.name, "service_port": service.port}
        return {**values, "upstream": None, "headers": {"set": {}, "remove": []}}
    assert behind is not None  # noqa: S101  (the schema has exactly one of the two)
    wanted = (behind.name, behind.port)
    found = next(each for each in upstreams if (each.hop.destination, each.hop.port) == wanted)
    return {
        "service_name": None,
        "service_port": None,
        "upstream": upstream_name(context, found.hop),
        "headers": request_headers(context, found),
    }
