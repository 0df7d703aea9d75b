"""How the gateway treats requests and connections to a destination: time-outs, retries, pools, ejection."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule
from egressgateway.api.scalars import Duration, Integer, PositiveDuration, Text

# Envoy's retry policies for HTTP and gRPC, those that need no further setting (envoyproxy.io, "x-envoy-retry-on").
_RETRY_CONDITIONS = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
)  # fmt: skip


def _is_retry_condition(text: str) -> bool:
    return text in _RETRY_CONDITIONS or (len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "12345")


RetryCondition = Annotated[
    Text,
    Field(min_length=1, max_length=32),
    Rule[str](
        cel="self in ["
        + ", ".join(f"'{name}'" for name in _RETRY_CONDITIONS)
        + "] || self.matches('^[1-5][0-9][0-9]$')",
        message="must be an HTTP status such as 503, or one of " + ", ".join(_RETRY_CONDITIONS),
        holds=_is_retry_condition,
    ),
]


class Retries(ApiModel):
    """Retries by the gateway, never also by the client's sidecar."""

    attempts: Annotated[Integer, Field(ge=0, le=10)] | None = None
    """How often a failed request is tried again: 0 to 10, default 2; 0 switches retries off."""

    per_try_timeout: PositiveDuration | None = None
    """How long each try may take, such as `2s`. Default: the request's own `timeout`."""

    retry_on: Annotated[tuple[RetryCondition, ...], Field(max_length=16), SET] = ()
    """
    What counts as failed: HTTP statuses and Envoy's conditions such as `5xx`, `gateway-error` or
    `connect-failure`. Default: the mesh's.
    """


class TcpKeepalive(ApiModel):
    """TCP keep-alive towards the destination. Default: the mesh's."""

    time: PositiveDuration | None = None
    """How long a connection is idle before the first probe."""

    interval: PositiveDuration | None = None
    """Time between two probes."""

    probes: Annotated[Integer, Field(ge=1, le=100)] | None = None
    """Unanswered probes after which a connection counts as dead: 1 to 100."""


class ConnectionPool(ApiModel):
    """Connections to the destination, counted in each gateway pod."""

    max_connections: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None
    """Connections at once from one gateway pod. Default: the mesh's."""

    max_pending_requests: Annotated[Integer, Field(ge=1, le=1_000_000)] | None = None
    """Requests of one gateway pod that may wait for a connection; more are answered 503. Default: the mesh's."""

    max_requests_per_connection: Annotated[Integer, Field(ge=0, le=1_000_000)] | None = None
    """Requests after which a connection is closed; 0 means no limit. Default: the mesh's."""

    connect_timeout: PositiveDuration | None = None
    """How long a connection may take to open. Default: the mesh's, usually 10s."""

    idle_timeout: Duration | None = None
    """After which time without requests a connection is closed; `0s` means never. Default: 1h."""

    tcp_keepalive: TcpKeepalive | None = None
    """TCP keep-alive towards the destination. Default: the mesh's."""


class OutlierDetection(ApiModel):
    """Leaves out an endpoint of the destination that keeps failing."""

    consecutive5xx_errors: Annotated[Integer, Field(ge=1, le=1000)] | None = Field(
        default=None, alias="consecutive5xxErrors"
    )
    """Failures in a row after which an endpoint is left out: 1 to 1000, default 5."""

    interval: PositiveDuration | None = None
    """Time between two evaluations. Default: 10s."""

    base_ejection_time: PositiveDuration | None = None
    """How long an endpoint is left out the first time, longer each further time. Default: 30s."""

    max_ejection_percent: Annotated[Integer, Field(ge=0, le=100)] | None = None
    """
    Largest share of endpoints left out at once, in percent. Default: 10, or 100 where the gateway fails over
    between localities.
    """


class LoadBalancingAlgorithm(StrEnum):
    """How the gateway chooses among endpoints."""

    ROUND_ROBIN = "RoundRobin"
    LEAST_REQUEST = "LeastRequest"
    RANDOM = "Random"


class LoadBalancing(ApiModel):
    """How the gateway spreads requests over the destination's endpoints."""

    algorithm: LoadBalancingAlgorithm
    """`RoundRobin`, `LeastRequest` or `Random`."""


class Traffic(ApiModel):
    """How the gateway treats requests and connections to a destination."""

    timeout: Duration | None = None
    """How long a request may take in all, retries included; `0s` means no limit. Default: no limit."""

    retries: Retries | None = None
    """Retries by the gateway, never also by the client's sidecar. Default: the mesh's."""

    connection_pool: ConnectionPool | None = None
    """Connections to the destination, counted in each gateway pod. Default: the mesh's."""

    outlier_detection: OutlierDetection | None = None
    """Leaves out an endpoint that keeps failing. Default: off, but on where `endpoints` name several localities."""

    load_balancing: LoadBalancing | None = None
    """How requests are spread over the endpoints. Default: `LeastRequest`."""
