"""A synthetic check of a destination, made by the gateway's own pods over the route that requests use."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule
from egressgateway.api.scalars import Integer, Text

ProbePath = Annotated[
    Text,
    Field(min_length=1, max_length=256),
    Rule[str](
        cel="self.startsWith('/') && !self.matches('[^!-~]')",
        message="must be a path such as /healthz, with a query if needed; no spaces",
        holds=lambda path: path.startswith("/") and not re.search("[^!-~]", path),
    ),
]
HttpStatus = Annotated[Integer, Field(ge=100, le=599)]

DEFAULT_PERIOD_SECONDS = 30
DEFAULT_TIMEOUT_SECONDS = 5
DEFAULT_FAILURE_THRESHOLD = 3


class ProbeGate(StrEnum):
    """What of the gateway's pods follows the destination."""

    READINESS = "Readiness"
    LIVENESS = "Liveness"


class Probe(ApiModel):
    """
    A synthetic check by each gateway pod, over the route that requests use: the same addresses, TLS and client
    certificate.
    """

    path: ProbePath | None = None
    """
    The path of a GET request on ports with protocol HTTP or HTTP2, such as `/healthz`. Absent, and on other ports:
    a connection is opened, with TLS where the gateway originates it.
    """

    statuses: Annotated[tuple[HttpStatus, ...], Field(min_length=1, max_length=16), SET] = ()
    """Statuses that count as success, at most 16. Only with `path`. Default: 200 to 399."""

    period_seconds: Annotated[Integer, Field(ge=1, le=3600)] | None = None
    """Seconds between two checks, 1 to 3600, default 30."""

    timeout_seconds: Annotated[Integer, Field(ge=1, le=60)] | None = None
    """Seconds that a check may take, 1 to 60, default 5."""

    failure_threshold: Annotated[Integer, Field(ge=1, le=100)] | None = None
    """Failed checks in a row after which an address counts as unreachable, 1 to 100, default 3."""

    gates: ProbeGate | None = None
    """
    `Readiness`: a gateway pod is ready only while it reaches the destination, so that all destinations of the gateway
    stop with this one. `Liveness`: also restart a pod that has lost the destination, once for each loss. Default: the
    result is reported, and changes nothing.
    """

    @property
    def period(self) -> int:
        return self.period_seconds or DEFAULT_PERIOD_SECONDS

    @property
    def timeout(self) -> int:
        return self.timeout_seconds or DEFAULT_TIMEOUT_SECONDS

    @property
    def threshold(self) -> int:
        return self.failure_threshold or DEFAULT_FAILURE_THRESHOLD
