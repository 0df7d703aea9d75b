"""Hosts published to clients outside of the mesh, on the class's APISIX: an ApisixRoute for each entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from egressgateway.api.expose import ExposedHost
from egressgateway.live.children import section_of
from egressgateway.plan.apisix.limits import gateway_pods
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
        section = exposed_section(entry.name)
        values = {
            "ingress_class": context.class_spec.ingress_class,
            "hosts": sorted(entry.hosts),
            "paths": sorted(entry.paths) or [EVERY_PATH],
            **_backend(context, entry, upstreams),
        }
        yield section_child(
            context.owner, "ApisixRoute", Stage.GATEWAY, section, ("expose",), values, "apisix/apisixroute-expose"
        )


def _backend(context: PlanContext, entry: ExposedHost, upstreams: Sequence[Upstream]) -> dict[str, Any]:
    behind, service = entry.backend.destination, entry.backend.service
    if service is not None:
        host = f"{service.name}.{context.key.namespace}.svc.{context.mesh.cluster_domain}"
        return {
            "service_name": service.name,
            "service_port": service.port,
            "upstream": None,
            "headers": {"set": {}, "remove": []},
            "host": host if _leaves_by_sidecars(context, entry, host) else None,
        }
    assert behind is not None  # noqa: S101  (the schema has exactly one of the two)
    wanted = (behind.name, behind.port)
    found = next(each for each in upstreams if (each.hop.destination, each.hop.port) == wanted)
    return {
        "service_name": None,
        "service_port": None,
        "upstream": upstream_name(context, found.hop),
        "headers": request_headers(context, found),
        "host": None,
    }


def _leaves_by_sidecars(context: PlanContext, entry: ExposedHost, host: str) -> bool:
    """
    Whether requests take sidecars of APISIX's pods, which know the Service by its own name alone: by another one they
    let the request out in plain text, or not at all.

    While there are no pods, the route stays as it is: the next ones are likely to be as the last ones were.
    """
    pods = gateway_pods(context)
    if pods:
        return any(pod.sidecar for pod in pods)
    section = exposed_section(entry.name)
    routes = [found for ref, found in context.live.objects.items() if ref.kind == "ApisixRoute"]
    return any(section_of(found) == section and host in str(found.get("spec")) for found in routes)
