"""Headers of the mesh that requests carry, and which of them external hosts may not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from egressgateway.api.spec import MeshHeadersMode, Telemetry, TracingMode
from egressgateway.plan.context import PlanContext

# The headers that a sidecar, gateway or tracer adds to a request; measured at an external server ("istio-recipes" §8).
_NEVER_LEAVES: Final = ("x-forwarded-client-cert",)
_MESH_HEADERS: Final = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-original-path",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-request-id",
    "x-istio-attributes",
)
_TRACE_HEADERS: Final = (
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
)


def stripped_headers(context: PlanContext) -> Iterator[str]:
    """Headers of the mesh that are hidden from external hosts, unless the object asks for them."""
    yield from _NEVER_LEAVES
    if strips_mesh_headers(context):
        yield from _MESH_HEADERS
    if strips_trace_context(context):
        yield from _TRACE_HEADERS


def strips_trace_context(context: PlanContext) -> bool:
    """Whether external hosts may not see the trace context of a request."""
    return _telemetry(context).tracing is not TracingMode.PROPAGATE


def strips_mesh_headers(context: PlanContext) -> bool:
    """Whether external hosts may not see the headers that the mesh adds to requests."""
    return _telemetry(context).mesh_headers is not MeshHeadersMode.KEEP


def _telemetry(context: PlanContext) -> Telemetry:
    return context.spec.telemetry or Telemetry()
