"""The world of the mesh tier, on loopback: each kind of server with the program that pods call it with."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.mesh.clients import CHAT, DIAL
from harness.mesh.continuity import LOAD
from harness.mesh.world.certificates import Certificates
from harness.mesh.world.journal import Journal
from harness.mesh.world.names import Names
from harness.mesh.world.server import Servers, echo, greet, speak_http

HOST = "127.0.0.1"


class World:
    """Servers of loopback, what they saw, and clients."""

    def __init__(self, directory: Path) -> None:
        self.certificates, self.names, self.journal = Certificates(directory), Names(directory), Journal(directory)
        self.certificates.create()
        self.journal.open()
        self.servers = Servers(self.names, self.journal, (HOST,))

    def saw(self) -> dict[str, Any]:
        """The only thing that a server saw."""
        [seen] = self.journal.since()
        return seen

    async def call(self, program: Path, *arguments: object) -> dict[str, Any]:
        """What a client's program prints."""
        argv = (str(program), *map(str, arguments))
        done = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await done.communicate()
        told: dict[str, Any] = json.loads(output)
        return told


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.servers.close()
    world.journal.close()


async def test_echo_comes_back_to_who_speaks_first(world: World) -> None:
    """A line about the connection, then every byte; and once more after a silence."""
    [port] = await world.servers.listen((0,), echo)
    told = await world.call(DIAL, "--idle", "0.1", HOST, port)
    facts, *echoed = told["body"].splitlines()
    assert (told["status"], echoed, json.loads(facts)["port"]) == (200, ["hello", "hello"], port)
    assert (world.saw()["protocol"], world.saw()["tls"], world.saw()["bytes"]) == ("TCP", None, 6)


async def test_greeting_is_read_by_who_says_nothing(world: World) -> None:
    """A server that speaks first tells a silent client; one that waits for the client tells it nothing."""
    [port] = await world.servers.listen((0,), greet)
    told = await world.call(DIAL, "--silent", HOST, port)
    assert (told["status"], json.loads(told["body"])["port"]) == (200, port)
    assert world.saw()["event"] == "greeted"
    [mute] = await world.servers.listen((0,), echo)
    told = await world.call(DIAL, "--silent", HOST, mute)
    assert (told["status"], told["body"]) == (0, "")
    assert "TimeoutError" in told["error"]


async def test_connection_that_ends_too_soon_is_told(world: World) -> None:
    """A server that takes the connection and closes it has said nothing."""

    async def close(_: object) -> None:
        return

    [port] = await world.servers.listen((0,), close)
    told = await world.call(DIAL, HOST, port)
    assert (told["status"], told["body"]) == (0, "")
    assert "closed without a word" in told["error"] or "reset" in told["error"]


async def test_echo_of_tls_tells_the_name_that_was_asked_for(world: World) -> None:
    """TLS from the first byte on, then the same bytes as without."""
    [port] = await world.servers.listen((0,), echo, world.certificates.contexts(client_required=False))
    context = ssl.create_default_context(cafile=str(world.certificates.trusted.certificate_file))
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname="cache.example.com")
    writer.write(b"hello\n")
    facts, echoed = json.loads(await reader.readline()), await reader.readline()
    writer.close()
    assert (facts["tls"]["sni"], facts["protocol"], echoed) == ("cache.example.com", "TCP", b"hello\n")


async def test_many_handshakes_at_once_lose_nothing(world: World) -> None:
    """The first bytes of TLS may be there before the server has begun to speak it."""
    [port] = await world.servers.listen((0,), echo, world.certificates.contexts(client_required=False))
    context = ssl.create_default_context(cafile=str(world.certificates.trusted.certificate_file))

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname="cache.example.com")
        writer.write(b"hello\n")
        await reader.readline()
        line = await reader.readline()
        writer.close()
        return line

    assert await asyncio.gather(*(ask() for _ in range(50))) == [b"hello\n"] * 50


@pytest.mark.parametrize(
    ("dialled", "asked", "shown"),
    [
        ("api.example.com", "api.example.com", "api.example.com"),
        ("api.example.com", "other.example.com", "other.example.com"),
        ("fixed-api.example.com", "other.example.com", "fixed-api.example.com"),
        ("fixed-api.example.com", "fixed-api.example.com", "fixed-api.example.com"),
    ],
)
async def test_certificate_follows_the_name_that_is_asked_for_but_for_fixed_ones(
    world: World, dialled: str, asked: str, shown: str
) -> None:
    """And the server knows the name that was asked for either way."""
    context = world.certificates.contexts(client_required=False)(dialled)
    trusting = ssl.create_default_context(cafile=str(world.certificates.trusted.certificate_file))
    trusting.check_hostname = False
    client, server = handshake(trusting, asked, context)
    certificate = client.getpeercert() or {}
    assert certificate["subjectAltName"] == (("DNS", shown),)
    assert getattr(server.context, "name", None) == asked


async def test_websocket_sends_back_what_it_gets(world: World) -> None:
    """Text and bytes; the first message, and the journal, tell of the request with which it began."""
    [port] = await world.servers.listen((0,), speak_http)
    told = await world.call(CHAT, "--header", "x-trial: 1", "--idle", "0.1", f"ws://{HOST}:{port}/chat?a=b")
    assert (told["status"], told["error"]) == (101, "")
    seen = json.loads(told["body"])
    assert (seen["path"], seen["headers"]["x-trial"], seen["authority"]) == ("/chat?a=b", "1", f"{HOST}:{port}")
    assert world.saw() == {**seen, "status": 101}


async def test_connection_serves_requests_before_it_becomes_a_websocket(world: World) -> None:
    """A proxy's connection may have been used before."""
    [port] = await world.servers.listen((0,), speak_http)
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    writer.write(
        b"GET /second HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert b" 101 " in answer.partition(b"\r\n")[0]
    assert [each["path"] for each in world.journal.since()] == ["/first", "/second"]


async def test_websocket_that_is_refused_gets_its_answer(world: World) -> None:
    """A handshake that is none is a bad request, and not the end of the connection without a word."""
    [port] = await world.servers.listen((0,), speak_http)
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b" 400 " in answer.partition(b"\r\n")[0]


async def test_refusal_of_a_websocket_is_told(world: World) -> None:
    """A client that gets another answer tells its status."""

    async def refuse(connection: Any) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nx-why: policy\r\n\r\n")
        await connection.writer.drain()

    [port] = await world.servers.listen((0,), refuse)
    told = await world.call(CHAT, f"ws://{HOST}:{port}/")
    assert (told["status"], told["body"], told["headers"]["x-why"]) == (403, "", "policy")


def handshake(trusting: ssl.SSLContext, name: str, context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both sides of a TLS connection in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=name)
    server = context.wrap_bio(there, back, server_side=True)
    pending = [client, server]
    while pending:
        for each in list(pending):
            try:
                each.do_handshake()
                pending.remove(each)
            except ssl.SSLWantReadError:
                continue
    return client, server


async def test_steady_load_tells_whom_the_server_saw(world: World) -> None:
    """By HTTP and by bytes, each at its rate; and what is not answered as the error that came instead."""
    [web] = await world.servers.listen((0,), speak_http)
    [bytes_] = await world.servers.listen((0,), echo)
    closed = await _free_port()
    urls = [f"http://{HOST}:{web}/", f"tcp://{HOST}:{bytes_}", f"http://{HOST}:{closed}/"]
    load = await asyncio.create_subprocess_exec(sys.executable, str(LOAD), "20", *urls, stdout=asyncio.subprocess.PIPE)
    assert load.stdout
    lines = [(await load.stdout.readline()).decode().split() for _ in range(12)]
    load.terminate()
    assert await load.wait() == 0
    ways = {url: {(outcome, peer) for _, outcome, peer, _, at in lines if at == url} for url in urls}
    assert ways == {
        urls[0]: {("200", HOST)},
        urls[1]: {("200", HOST)},
        urls[2]: {("ConnectionRefusedError", "-")},
    }
    # Tables of requests do not take these for their own.
    assert {each["event"] for each in world.journal.since() if each["protocol"] == "TCP"} == {"probed"}


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, HOST, 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port
