"""Which port of the world speaks what. Every address of the world is this one process's."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import h2.exceptions

from harness.mesh import dns
from harness.mesh.layout import WORLD_DNS_IP
from harness.mesh.world import http1
from harness.mesh.world.certificates import Certificates
from harness.mesh.world.exchange import Connection
from harness.mesh.world.http2 import PREFACE, Http2
from harness.mesh.world.journal import Journal
from harness.mesh.world.names import Names

HTTP_PORTS: Final = (80, 3000, 8000, 8080, 8888, 50051)
TLS_PORTS: Final = (443, 9443, 50052)
MUTUAL_TLS_PORTS: Final = (8443,)
ECHO_PORTS: Final = (3306, 6379, 9000)
GREETING_PORTS: Final = (5432,)
"""Here the server speaks first, as databases do."""

Handler = Callable[[Connection], Awaitable[None]]


async def run_world(directory: Path) -> None:
    """Be the world until cancelled; keys and the journal lie in `directory`."""
    certificates, names, journal = Certificates(directory), Names(directory), Journal(directory)
    journal.open()

    async def listen(ports: tuple[int, ...], handler: Handler, context: ssl.SSLContext | None = None) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Clients that go away, or that speak something else, are the client's affair.
            with suppress(OSError, EOFError, ValueError, h2.exceptions.ProtocolError):
                await handler(Connection(reader, writer, names, journal))
            writer.close()

        for port in ports:
            await asyncio.start_server(connected, "0.0.0.0", port, ssl=context, backlog=1024)

    await listen(HTTP_PORTS, speak_http)
    await listen(TLS_PORTS, speak_http, certificates.context(client_required=False))
    await listen(MUTUAL_TLS_PORTS, speak_http, certificates.context(client_required=True))
    await listen(ECHO_PORTS, echo)
    await listen(GREETING_PORTS, greet)
    await dns.serve(WORLD_DNS_IP, names.resolve)


async def speak_http(connection: Connection) -> None:
    """HTTP/1.1 or HTTP/2, as the client begins."""
    begun = await connection.reader.read(len(PREFACE))
    if PREFACE.startswith(begun) and begun:
        rest = await connection.reader.readexactly(len(PREFACE) - len(begun))
        await Http2(connection).serve(begun + rest)
    elif begun:
        await http1.serve(connection, begun)


async def greet(connection: Connection) -> None:
    """A line of JSON about the connection, then an echo."""
    facts = {**connection.facts(), "protocol": "TCP"}
    connection.journal.add({**facts, "event": "greeted"})
    connection.writer.write(json.dumps(facts).encode() + b"\n")
    await _echo(connection)


async def echo(connection: Connection) -> None:
    """The line of JSON comes after the client's first bytes, then an echo."""
    first = await connection.reader.read(65536)
    if not first:
        return
    facts = {**connection.facts(), "protocol": "TCP", "bytes": len(first)}
    connection.journal.add({**facts, "event": "echoed"})
    connection.writer.write(json.dumps(facts).encode() + b"\n" + first)
    await _echo(connection)


async def _echo(connection: Connection) -> None:
    while data := await connection.reader.read(65536):
        connection.writer.write(data)
        await connection.writer.drain()
