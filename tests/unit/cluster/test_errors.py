"""HTTP answers and network failures become the error tree."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import orjson
import pytest

from egressgateway.cluster.errors import error_of, error_of_status, mapped
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
from unit.cluster.fake_api import status


def body(code: int, reason: str = "", message: str = "", **details: Any) -> bytes:
    return orjson.dumps(status(code, reason, message, **details))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (307, Unavailable), (400, Invalid), (401, Forbidden), (403, Forbidden), (404, NotFound), (405, Unavailable),
        (409, Conflict), (410, Expired), (413, Invalid), (422, Invalid), (429, Throttled), (500, Unavailable),
        (503, Unavailable), (504, Unavailable),
    ],
)  # fmt: skip
def test_code_decides_the_class(code: int, kind: type[ClusterError]) -> None:
    """The class says what to do; code, call and the server's words stay."""
    error = error_of("get X a/b", code, {}, body(code, "Some", "because"))
    assert type(error) is kind
    assert (str(error), error.code, error.reason) == ("get X a/b: because", code, "Some")


@pytest.mark.parametrize(
    "words",
    ["etcdserver: request is too large", "rpc error: trying to send message larger than max (3000000 vs. 2097152)"],
)
def test_what_etcd_does_not_store_is_refused_for_good(words: str) -> None:
    """The API server calls it an error of its own (500), and would be sent megabytes again and again for it."""
    assert type(error_of("x", 500, {}, body(500, "InternalError", words))) is Invalid


def test_conflicts_keep_the_reason_of_the_server() -> None:
    """Both 409s can be told apart."""
    assert error_of("x", 409, {}, body(409, "AlreadyExists")).reason == "AlreadyExists"
    assert error_of("x", 409, {}, body(409, "Conflict")).reason == "Conflict"


def test_terminating_namespace_is_told_from_a_missing_right() -> None:
    """A 403 by a namespace that goes away carries that as its reason."""
    answer = body(403, "Forbidden", "being terminated", causes=[{"reason": "NamespaceTerminating"}])
    assert error_of("x", 403, {}, answer).reason == "NamespaceTerminating"


def test_retry_after_comes_from_header_or_body() -> None:
    """The header wins over the body; a date, a negative or a missing value counts as one second for 429."""
    told = body(429, retryAfterSeconds=7)
    cases: list[tuple[dict[str, str], bytes, float]] = [
        ({"Retry-After": "3"}, told, 3.0),
        ({}, told, 7.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"", 1.0),
        ({"Retry-After": "-5"}, b"", 1.0),
        ({"Retry-After": "nan"}, b"", 1.0),
    ]
    for headers, answer, seconds in cases:
        error = error_of("x", 429, headers, answer)
        assert isinstance(error, Throttled)
        assert error.retry_after == seconds
    unavailable = error_of("x", 503, {}, b"")
    assert isinstance(unavailable, Unavailable)
    assert unavailable.retry_after is None


def test_answer_of_a_proxy_gives_its_first_line() -> None:
    """A body that is no Status is quoted, its first line only."""
    assert error_of("x", 502, {}, b"<html>Bad Gateway\nmore").message == "<html>Bad Gateway"
    assert error_of("x", 502, {}, b"").message == "HTTP 502"
    assert error_of("x", 502, {}, b"[1, 2]").message == "[1, 2]"


def test_version_beyond_the_servers_means_list_again() -> None:
    """After a restore of etcd the server is behind the version of a watch: only a list heals that."""
    answer = status(504, "Timeout", "Too large resource version", causes=[{"reason": "ResourceVersionTooLarge"}])
    assert isinstance(error_of_status("x", answer), Expired)


def test_malformed_status_counts_as_a_failure_of_the_server() -> None:
    """An ERROR event without a code is no reason to fail oneself."""
    assert isinstance(error_of_status("x", {"code": "what"}), Unavailable)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (TimeoutError(), "Timeout"),
        (aiohttp.SocketTimeoutError("slow"), "Timeout"),
        (aiohttp.ServerDisconnectedError(), "ConnectionFailed"),
        (aiohttp.ClientPayloadError("cut"), "ConnectionFailed"),
        (ConnectionResetError("reset"), "ConnectionFailed"),
        (ssl.SSLCertVerificationError("expired"), "ConnectionFailed"),
        (orjson.JSONDecodeError("x", "x", 0), "ConnectionFailed"),
    ],
)
def test_network_failures_are_unavailable(raised: Exception, reason: str) -> None:
    """Whatever the network does is one error, with the original as its cause."""
    with pytest.raises(Unavailable) as caught, mapped("get X a/b"):
        raise raised
    assert caught.value.reason == reason
    assert caught.value.__cause__ is raised
    assert len(str(caught.value)) > len("get X a/b: ")


def test_bugs_pass_unchanged() -> None:
    """An error of ours is not the network's fault."""
    with pytest.raises(KeyError), mapped("x"):
        raise KeyError("bug")
