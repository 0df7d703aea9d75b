"""
A reverse proxy in front of an API server that breaks requests on purpose and remembers every one.

It listens on plain HTTP on loopback and forwards with the credentials of the kubeconfig given, so a client needs
no credentials of its own. It runs in a thread: tests call it, synchronous or not. What breaks is said by `faults`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from harness.faults import WRITES, Answer, Delay, Effect, Empty, Injection, Reset, Rule, first_strike
from harness.kubeconfig import Access
from harness.proxypages import ADDRESS_FILE
from harness.watch import lines

# What concerns one connection only (RFC 9110 §7.6.1), and what aiohttp sets itself.
_OWN_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "host", "content-length"})
_EXPIRED = {"type": "ERROR", "object": Answer(410).body()}


@dataclass(slots=True)
class Record:
    """
    One request that came. `at`: time.monotonic(). `status` is None while it runs and when no answer was sent;
    `injected` names the fault it met. Bodies are kept only if asked for, and never of a watch.
    """

    at: float
    method: str
    path: str
    query: str
    watch: bool
    status: int | None = None
    injected: str = ""
    request_body: bytes = b""
    response_body: bytes = b""

    @property
    def write(self) -> bool:
        return self.method in WRITES


@dataclass(slots=True, eq=False)
class _Watch:
    """A watch that is being forwarded. `flowing` is cleared to stall it, `expire` lets it end with a 410."""

    task: asyncio.Task[None] | None = None
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    expire: bool = False


class FaultProxy:
    """
    The proxy, for use in a `with` block.

        with FaultProxy(cluster.kubeconfig, tmp_path / "kubeconfig") as proxy:
            proxy.inject(Rule(Answer(503), methods=WRITES, every=3))
    """

    def __init__(self, upstream: Path, kubeconfig: Path, *, keep_bodies: bool = False) -> None:
        self.kubeconfig = kubeconfig
        self._upstream = upstream
        self._access = Access.read(upstream)
        self._keep_bodies = keep_bodies
        self._records: list[Record] = []
        self._injections: tuple[Injection, ...] = ()
        self._watches: set[_Watch] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._stop = asyncio.Event()
        self._session: aiohttp.ClientSession
        self.port = 0

        self.clock_offset = timedelta(0)
        """How far the server's clock is ahead, as its answers tell it: to a client, its own clock is so far behind."""

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise RuntimeError("the fault proxy does not start") from self._failure
        Access(f"http://127.0.0.1:{self.port}").write(self.kubeconfig)
        # Who finds the pods of the cluster beside the one kubeconfig finds them beside this one, too.
        pods = self._upstream.with_name(ADDRESS_FILE)
        if pods.exists():
            shutil.copyfile(pods, self.kubeconfig.with_name(ADDRESS_FILE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def requests(self) -> list[Record]:
        """Every request so far, oldest first."""
        return list(self._records)

    def forget(self) -> None:
        """Begin the list of requests anew."""
        self._records = []

    def inject(self, rule: Rule) -> Injection:
        """Put a rule in force, after those that are."""
        injection = Injection(rule)
        self._injections = (*self._injections, injection)
        return injection

    def heal(self) -> None:
        """Take all rules out of force, and let stalled watches flow again."""
        self._injections = ()
        self._each_watch(lambda watch: watch.flowing.set())

    @contextmanager
    def injected(self, rule: Rule) -> Iterator[Injection]:
        """A rule in force for a block."""
        injection = self.inject(rule)
        try:
            yield injection
        finally:
            self._injections = tuple(each for each in self._injections if each is not injection)

    def open_watches(self) -> int:
        """How many watches are being forwarded."""
        return len(self._watches)

    def cut_watches(self) -> int:
        """Reset the connections of all open watches; returns how many."""
        return self._each_watch(_cancel)

    def stall_watches(self) -> int:
        """Forward nothing more on the watches open now, but keep their connections; returns how many."""
        return self._each_watch(lambda watch: watch.flowing.clear())

    def expire_watches(self) -> int:
        """End all open watches with an ERROR event 410, as the server does when a version is too old."""

        def expire(watch: _Watch) -> None:
            watch.expire = True
            _cancel(watch)

        return self._each_watch(expire)

    def _each_watch(self, act: Callable[[_Watch], object]) -> int:
        async def all_of_them() -> int:
            watches = list(self._watches)
            for watch in watches:
                act(watch)
            return len(watches)

        return asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except Exception as error:
            if self._started.is_set():
                raise
            self._failure = error
        finally:
            self._started.set()
            self._loop.close()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context() or True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            headers=self._access.headers(),
            # The client's headers, and no more: an Accept-Encoding added here would compress what it cannot read.
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as self._session:
            # A request must end at the server, too, when its client goes away.
            runner = web.AppRunner(
                self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
            )
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()
        # TLS connections end a little after their session, and tell nobody (aiohttp's pages, "Graceful Shutdown").
        await asyncio.sleep(0.25)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = parse_qs(request.query_string).get("watch", ["0"])[0] in ("1", "true")
        record = Record(time.monotonic(), request.method, request.path, request.query_string, watch)
        self._records.append(record)
        effect = first_strike(self._injections, request.method, request.path_qs, watch)
        record.injected = str(effect) if effect else ""
        response = await self._respond(request, record, effect)
        if not isinstance(response, _Lost):
            record.status = response.status
        return response

    async def _respond(self, request: web.Request, record: Record, effect: Effect | None) -> web.StreamResponse:
        match effect:
            case Answer():
                return web.json_response(effect.body(), status=effect.status, headers=effect.headers())
            case Empty():
                return web.Response(content_type="application/json")
            case Reset(when="before"):
                return _reset(request)
            case Reset(when="after"):
                await self._forward(request, record)
                return _reset(request)
            case Delay():
                await asyncio.sleep(effect.seconds)
        try:
            return await self._forward(request, record)
        except aiohttp.ClientError:
            # The server is away: so is the proxy, as far as a client can tell.
            return _reset(request)

    async def _forward(self, request: web.Request, record: Record) -> web.StreamResponse:
        body = await request.read()
        # Taken as it is: decoding and encoding again could change a selector in the query.
        url = URL(self._access.server + request.path_qs, encoded=True)
        async with self._session.request(
            request.method, url, data=body or None, headers=_passed_on(request.headers), allow_redirects=False
        ) as answer:
            headers = _passed_on(answer.headers)
            if self.clock_offset and "Date" in headers:
                told = parsedate_to_datetime(headers["Date"]) + self.clock_offset
                headers["Date"] = format_datetime(told, usegmt=True)
            if record.watch and answer.status == 200:
                return await self._stream(request, record, answer, headers)
            content = await answer.read()
            if self._keep_bodies:
                record.request_body, record.response_body = body, content
            return web.Response(status=answer.status, headers=headers, body=content)

    async def _stream(
        self, request: web.Request, record: Record, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        record.status = answer.status
        watch = _Watch()
        watch.flowing.set()
        watch.task = asyncio.create_task(_copy(answer.content, response, watch))
        self._watches.add(watch)
        try:
            await asyncio.wait([watch.task])
        finally:
            self._watches.discard(watch)
            watch.task.cancel()
        if watch.expire:
            await response.write(json.dumps(_EXPIRED).encode() + b"\n")
        elif watch.task.cancelled() or watch.task.exception():
            _reset(request)
        return response


async def _copy(content: aiohttp.StreamReader, response: web.StreamResponse, watch: _Watch) -> None:
    # Whole lines, so that an ERROR event never lands within another event.
    async for line in lines(content):
        await watch.flowing.wait()
        await response.write(line + b"\n")
    # A stalled watch hears of nothing, not of its end either.
    await watch.flowing.wait()


def _cancel(watch: _Watch) -> None:
    if watch.task:
        watch.task.cancel()


class _Lost(web.Response):
    """What a handler returns when the connection is gone already; it goes nowhere."""


def _reset(request: web.Request) -> _Lost:
    """End the client's connection with RST and without a word."""
    if request.transport:
        connection = request.transport.get_extra_info("socket")
        # Linger for 0 s: closing then resets instead of saying goodbye.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return _Lost()


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OWN_HEADERS)
