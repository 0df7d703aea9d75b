"""
Sends requests to the API server: bytes out, JSON in, errors as the tree of `egressgateway.errors`.

It bounds the calls in flight, waits when the server asks all callers to wait, and renews credentials once when the
server rejects them. It never retries a call: the work queue does, with the newest state. (Sessions of aiohttp with
ready bytes cost a quarter of what the package's own client costs per call: notes on the engine, B1.)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from yarl import URL

from egressgateway import __version__
from egressgateway.cluster.clock import ServerClock
from egressgateway.cluster.credentials import Credentials, Endpoint
from egressgateway.cluster.documents import parse
from egressgateway.cluster.errors import error_of, mapped
from egressgateway.cluster.framing import LineFramer
from egressgateway.cluster.request import Request
from egressgateway.errors import ClusterError, Throttled, TooLarge, Unavailable
from egressgateway.refs import Manifest

OnRequest = Callable[[str, str, str, float], None]
"""Called after each call: verb, resource, HTTP status (`error` without one), seconds."""

CALL_TIMEOUT_SECONDS = 30.0
CONNECT_TIMEOUT_SECONDS = 5.0
# The API server closes idle connections after 90 s; a request into that race would be lost.
KEEPALIVE_SECONDS = 75.0
TOKEN_AGE_SECONDS = 60.0
# An exec plugin may take a second of CPU: refused credentials must not start it for every call.
RELOAD_SPACING_SECONDS = 5.0
# A guess: longer than any server in trouble asks for, short enough that a proxy's mistake does not stop the operator.
LONGEST_PAUSE_SECONDS = 60.0
LARGE_ANSWERS_AT_ONCE = 2
"""Pages of lists that are held and parsed at the same time; each takes several times its size."""

STREAM_BUFFER_BYTES = 2**18

HEADERS = {
    "Accept": "application/json",
    # Compression costs the server far more CPU than it saves inside a data centre.
    "Accept-Encoding": "identity",
    "User-Agent": f"egressgateway-operator/{__version__}",
}


class ApiCaller(Protocol):
    """Sends single calls: all that the Lease and the events need of a client."""

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        """See `ApiClient.send`."""


@dataclass(frozen=True, slots=True)
class _Login:
    """One login: a session to an endpoint, with the headers of every call."""

    endpoint: Endpoint
    session: aiohttp.ClientSession
    headers: dict[str, str]
    read_at: float

    def arguments(self, request: Request) -> dict[str, Any]:
        """What aiohttp needs to send `request`."""
        headers = self.headers
        if request.content_type:
            headers = headers | {"Content-Type": request.content_type}
        arguments: dict[str, Any] = {"headers": headers, "data": request.body, "allow_redirects": False}
        if self.endpoint.proxy:
            arguments["proxy"] = self.endpoint.proxy
        if self.endpoint.tls_server_name:
            arguments["server_hostname"] = self.endpoint.tls_server_name
        return arguments

    def url(self, request: Request) -> URL:
        return URL(self.endpoint.server + request.target, encoded=True)


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    headers: Any
    body: bytes


class ApiClient:
    """A connection to one API server. Open it with `connect`, close it with `close` or `async with`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        max_in_flight: int,
        kubeconfig: str | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.clock = ServerClock()
        """The API server's time."""
        self._kubeconfig = kubeconfig
        self._credentials = credentials
        self._on_request = on_request or _ignore
        self._slots = asyncio.Semaphore(max_in_flight)
        self._large_answers = asyncio.Semaphore(LARGE_ANSWERS_AT_ONCE)
        self._paused_until = 0.0
        self._reloading = asyncio.Lock()
        self._reloaded_at = float("-inf")
        self._sessions: dict[Endpoint, aiohttp.ClientSession] = {}
        self._login: _Login | None = None

    @classmethod
    async def connect(
        cls, max_in_flight: int = 32, *, kubeconfig: str | None = None, on_request: OnRequest | None = None
    ) -> ApiClient:
        """
        A client for the configured cluster; nothing is sent yet.

        Raises:
            ClusterError: no configuration, or a broken one.
        """
        credentials = await Credentials.load(kubeconfig)
        return cls(credentials, max_in_flight=max_in_flight, kubeconfig=kubeconfig, on_request=on_request)

    @property
    def server(self) -> str:
        """Base URL of the API server, for messages."""
        return self._credentials.endpoint.server

    @property
    def source(self) -> str:
        """Where the credentials are from, for messages."""
        return self._credentials.source

    async def send(self, request: Request, *, urgent: bool = False) -> Manifest | None:
        """
        Make one call; returns the object in the answer, None for an empty one.

        `urgent` bypasses the limit of calls in flight and a pause that the server asked for: only for calls whose delay
        does harm (the renewal of the Lease).

        Raises:
            ClusterError: the server rejected the call, or could not be reached.
        """
        if urgent:
            return await self._call(request)
        if request.largest_answer is not None:
            async with self._large_answers:
                return await self._send_in_turn(request)
        return await self._send_in_turn(request)

    async def _send_in_turn(self, request: Request) -> Manifest | None:
        async with self._slots:
            # After the slot was acquired: a caller that queued for it before the pause began must see the pause, too.
            await self._wait_for_pause()
            return await self._call(request)

    async def stream(self, request: Request, *, inactivity_seconds: float = 90.0) -> AsyncGenerator[Manifest, None]:
        """
        Events of a watch until the server ends it. Close it (`contextlib.aclosing`) when leaving early.

        Raises:
            ClusterError: refused, cut, or silent for `inactivity_seconds` (then with reason `Timeout`).
        """
        await self._wait_for_pause()
        login = await self._current_login()
        # The socket's own read time-out, and no timer around the `yield`: a busy consumer is not a silent server.
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=inactivity_seconds)
        framer = LineFramer()
        started = self._loop.time()
        code = "error"
        try:
            with mapped(request.call):
                async with login.session.request(
                    request.method, login.url(request), timeout=timeout, **login.arguments(request)
                ) as response:
                    code = self._observed(request, str(response.status), started)
                    if response.status != 200:
                        raise await self._refusal(request, login, response)
                    with _cut_at_the_end(response):
                        async for chunk in response.content.iter_any():
                            for line in framer.feed(chunk):
                                yield await parse(line)
        finally:
            if code == "error":
                self._observed(request, code, started)

    async def close(self) -> None:
        """Close every connection; calls in flight fail."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._login = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, request: Request) -> Manifest | None:
        with mapped(request.call):
            login = await self._current_login()
            answer = await self._exchange(request, login)
            if answer.code == 401 and await self._reload(login):
                answer = await self._exchange(request, await self._current_login())
            if answer.code < 300:
                return await parse(answer.body) if answer.body else None
        error = error_of(request.call, answer.code, answer.headers, answer.body)
        self._honour_pause(error)
        raise error

    async def _exchange(self, request: Request, login: _Login) -> _Answer:
        started, sent = self._loop.time(), self.clock.monotonic
        code = "error"
        try:
            async with login.session.request(
                request.method, login.url(request), **login.arguments(request)
            ) as response:
                if response.status < 500:
                    # Beyond that it may be the answer of a proxy, which has its own clock.
                    self.clock.heard(response.headers.get("Date"), sent, self.clock.monotonic)
                body = await _body_of(response, request)
                code = str(response.status)
                return _Answer(response.status, response.headers, body)
        finally:
            self._observed(request, code, started)

    async def _refusal(self, request: Request, login: _Login, response: aiohttp.ClientResponse) -> ClusterError:
        """The error behind a rejected watch. Its caller retries, with the credentials read here."""
        error = error_of(request.call, response.status, response.headers, await response.read())
        if response.status == 401:
            await self._reload(login)
        self._honour_pause(error)
        return error

    async def _current_login(self) -> _Login:
        login = self._login
        if login is not None and self._loop.time() - login.read_at < TOKEN_AGE_SECONDS:
            return login
        authorization = await self._credentials.authorization()
        headers = {"Authorization": authorization} if authorization else {}
        endpoint = self._credentials.endpoint
        login = self._login = _Login(endpoint, self._session(endpoint), headers, self._loop.time())
        return login

    def _session(self, endpoint: Endpoint) -> aiohttp.ClientSession:
        # A session whose endpoint was replaced stays open for its calls in flight; `close` ends it.
        session = self._sessions.get(endpoint)
        if session is None:
            session = self._sessions[endpoint] = _open_session(endpoint)
        return session

    async def _reload(self, refused: _Login) -> bool:
        """Read the configuration again after a 401. False when that cannot help: it was just done."""
        async with self._reloading:
            if self._login is not refused:
                return True
            if self._loop.time() - self._reloaded_at < RELOAD_SPACING_SECONDS:
                return False
            self._reloaded_at = self._loop.time()
            self._credentials = await Credentials.load(self._kubeconfig)
            self._login = None
            return True

    def _honour_pause(self, error: ClusterError) -> None:
        """A server that asks one caller to wait means all of them: the next call would only add to its load."""
        if isinstance(error, Throttled | Unavailable) and error.retry_after:
            pause = min(error.retry_after, LONGEST_PAUSE_SECONDS)
            self._paused_until = max(self._paused_until, self._loop.time() + pause)

    async def _wait_for_pause(self) -> None:
        while (rest := self._paused_until - self._loop.time()) > 0:  # noqa: ASYNC110  (a time is awaited, no state)
            await asyncio.sleep(rest * random.uniform(1.0, 1.25))  # noqa: S311  (jitter, no secret)

    def _observed(self, request: Request, code: str, started: float) -> str:
        self._on_request(request.verb, request.resource, code, self._loop.time() - started)
        return code


async def _body_of(response: aiohttp.ClientResponse, request: Request) -> bytes:
    """
    The whole answer.

    Raises:
        TooLarge: it is longer than the caller of `request` accepts.
    """
    if request.largest_answer is None:
        return await response.read()
    body = bytearray()
    with _cut_if_raised(response):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > request.largest_answer:
                raise TooLarge(request.call, f"the answer has more than {request.largest_answer} bytes")
    return bytes(body)


@contextmanager
def _cut_if_raised(response: aiohttp.ClientResponse) -> Iterator[None]:
    """The rest of an abandoned answer is not read: its connection cannot be used again."""
    try:
        yield
    except BaseException:
        response.close()
        raise


@contextmanager
def _cut_at_the_end(response: aiohttp.ClientResponse) -> Iterator[None]:
    """
    Close the socket of a watch that ends before its server does.

    aiohttp would close it with TLS's goodbye and wait for the server's, for 30 seconds and past `ApiClient.close`.
    """
    try:
        yield
    finally:
        connection = response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


def _open_session(endpoint: Endpoint) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        # Calls are bounded by `max_in_flight`, watches by the number of informers; the Lease must never queue.
        limit=0,
        keepalive_timeout=KEEPALIVE_SECONDS,
        ssl=endpoint.tls or True,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS),
        read_bufsize=STREAM_BUFFER_BYTES,
    )


def _ignore(verb: str, resource: str, code: str, seconds: float) -> None:
    """No metrics are kept."""
