"""
HTTP answers and network failures, turned into the tree of `egressgateway.errors`. The only place that does so.

An error's class decides what to do about it (retry, wait, give up); its `reason` is the server's own word, so that
`AlreadyExists` and `Conflict`, both 409, stay distinct.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import orjson

from egressgateway.errors import (
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from egressgateway.refs import Manifest

TIMEOUT = "Timeout"
CONNECTION = "ConnectionFailed"
TOO_LARGE = "RequestEntityTooLarge"
"""The API server's word for a request above its own limit (413, 3 MiB)."""

UNAUTHORIZED = 401
DEFAULT_RETRY_AFTER_SECONDS = 1.0
LONGEST_MESSAGE = 1024

# The messages of etcd, and of its client in the API server, for an object above their limits (1.5 and 2 MiB). The API
# server answers 500 then, as if the problem were its own and temporary.
_TOO_LARGE_FOR_ETCD = ("etcdserver: request is too large", "trying to send message larger than max")

_SIMPLE: dict[int, type[Conflict | NotFound | Invalid | Forbidden | Expired]] = {
    400: Invalid,
    UNAUTHORIZED: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}


def error_of(call: str, code: int, headers: Mapping[str, str], body: bytes) -> ClusterError:
    """The error that an answer with a code of 300 or more stands for. `body`: a Status, or whatever a proxy wrote."""
    status = _parse_status(body)
    return error_of_status(call, status | {"code": code}, retry_after=_parse_seconds(headers.get("Retry-After")))


def error_of_status(call: str, status: Manifest, *, retry_after: float | None = None) -> ClusterError:
    """The error that a `Status` stands for: the body of an answer, or the object of a watch's ERROR event."""
    code = status.get("code")
    code = code if isinstance(code, int) else 500
    details = status.get("details") or {}
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or f"HTTP {code}")[:LONGEST_MESSAGE]
    causes = {str(cause.get("reason")) for cause in details.get("causes") or ()}
    wait = retry_after if retry_after is not None else _parse_seconds(details.get("retryAfterSeconds"))
    if code == 429:
        told = DEFAULT_RETRY_AFTER_SECONDS if wait is None else wait
        return Throttled(call, message, retry_after=told, reason=reason)
    if "ResourceVersionTooLarge" in causes:
        # The server is behind the version that we ask for. It may catch up, or its etcd was restored from a backup
        # and never will: as with a version that is too old, only a list helps.
        return Expired(call, message, reason="ResourceVersionTooLarge", code=code)
    if "NamespaceTerminating" in causes:
        reason = "NamespaceTerminating"
    if any(words in message for words in _TOO_LARGE_FOR_ETCD):
        return Invalid(call, message, reason=TOO_LARGE, code=code)
    if code in _SIMPLE:
        return _SIMPLE[code](call, message, reason=reason, code=code)
    # All others, among them 405 (the answer of a CRD that is being deleted) and 3xx (we never follow a redirect with
    # our credentials), may be resolved without a change of the object.
    return Unavailable(call, message, reason=reason, code=code, retry_after=wait)


@contextmanager
def mapped(call: str) -> Iterator[None]:
    """
    In this context, failures of network, TLS and framing become `Unavailable`.

    Its `reason` is `Timeout` or `ConnectionFailed`; nothing is known about whether the call took effect.
    """
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(call, "the server did not answer in time", reason=TIMEOUT) from error
    except (aiohttp.ClientError, OSError) as error:
        message = str(error) or type(error).__name__
        raise Unavailable(call, message[:LONGEST_MESSAGE], reason=CONNECTION) from error
    except orjson.JSONDecodeError as error:
        raise Unavailable(call, f"the answer is not JSON: {error}", reason=CONNECTION) from error


def _parse_status(body: bytes) -> dict[str, Any]:
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return status
    # A proxy's page, or a plain "404 page not found": its first line is the best message available.
    lines = body.decode("utf-8", "replace").strip().splitlines()
    return {"message": lines[0]} if lines else {}


def _parse_seconds(value: object) -> float | None:
    """Seconds from a Retry-After header or field. Dates, which no Kubernetes server sends, count as missing."""
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
