"""Which port of the world speaks what. Every address of the world is this one process's."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
from harness.mesh.world.names import HTTP1, Names

HTTP_PORTS: Final = (80, 3000, 8000, 8080, 8888, 50051)
TLS_PORTS: Final = (443, 9443, 50052)
MUTUAL_TLS_PORTS: Final = (8443,)
ECHO_PORTS: Final = (3306, 6379, 9000)
TLS_ECHO_PORTS: Final = (6380, 8883)
"""As a cache or a broker that speaks TLS from the first byte on, and no HTTP within."""

GREETING_PORTS: Final = (5432,)
"""Here the server speaks first, as databases do."""

STEADY: Final = b"probe of a steady load"
"""With this begin connections that are made all the time beside those that a test looks for; see `mesh.load`."""

Handler = Callable[[Connection], Awaitable[None]]
Secure = Callable[[str | None], ssl.SSLContext]
"""The TLS of a server, by the name whose address was dialled."""

EVERYWHERE: Final = ("0.0.0.0", "::") if socket.has_dualstack_ipv6() else ("0.0.0.0",)


class Servers:
    """Opens ports, and tells each handler of the connections that come."""

    def __init__(self, names: Names, journal: Journal, hosts: Sequence[str] = EVERYWHERE) -> None:
        self._names = names
        self._journal = journal
        self._hosts = hosts
        self._opened: list[asyncio.Server] = []

    async def listen(self, ports: Iterable[int], handler: Handler, secure: Secure | None = None) -> list[int]:
        """Answer on these ports from now on, 0 for any that is free; which they are."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Clients that go away, or that speak something else, are the client's affair.
            with suppress(OSError, EOFError, ValueError, h2.exceptions.ProtocolError):
                if secure:
                    # Not by the listener: which certificate it is depends on the address that was dialled.
                    address = writer.get_extra_info("sockname")[0]
                    await writer.start_tls(secure(self._names.name_of(address)))
                await handler(Connection(reader, writer, self._names, self._journal))
            writer.close()

        opened = [await asyncio.start_server(connected, self._hosts, port, backlog=1024) for port in ports]
        self._opened += opened
        return [each.sockets[0].getsockname()[1] for each in opened]

    def close(self) -> None:
        """Close the ports; who is connected stays so."""
        for each in self._opened:
            each.close()


async def run_world(directory: Path) -> None:
    """Be the world until cancelled; keys and the journal lie in `directory`."""
    certificates, names, journal = Certificates(directory), Names(directory), Journal(directory)
    journal.open()
    servers = Servers(names, journal)
    anybody = certificates.contexts(client_required=False)
    await servers.listen(HTTP_PORTS, speak_http)
    await servers.listen(TLS_PORTS, speak_http, anybody)
    await servers.listen(MUTUAL_TLS_PORTS, speak_http, certificates.contexts(client_required=True))
    await servers.listen(ECHO_PORTS, echo)
    await servers.listen(TLS_ECHO_PORTS, echo, anybody)
    await servers.listen(GREETING_PORTS, greet)
    await dns.serve(WORLD_DNS_IP, names.resolve)


async def speak_http(connection: Connection) -> None:
    """HTTP/1.1 or HTTP/2, as the client begins; nothing to one that begins what this server does not speak."""
    begun = await connection.reader.read(len(PREFACE))
    if PREFACE.startswith(begun) and connection.facts()["dialled"].startswith(HTTP1):
        return
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
    connection.journal.add({**facts, "event": "probed" if first.startswith(STEADY) else "echoed"})
    connection.writer.write(json.dumps(facts).encode() + b"\n" + first)
    await _echo(connection)


async def _echo(connection: Connection) -> None:
    while data := await connection.reader.read(65536):
        connection.writer.write(data)
        await connection.writer.drain()
