"""
Names to addresses over UDP and TCP: as much of RFC 1035 as resolvers of proxies and programs ask for. A and AAAA
records only.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

A: Final = 1
AAAA: Final = 28
VERSIONS: Final = {A: 4, AAAA: 6}
"""Of the addresses that a type of records holds."""

NO_ERROR: Final = 0
SERVER_FAILURE: Final = 2
NAME_ERROR: Final = 3
TTL_SECONDS: Final = 5
PATIENCE_SECONDS: Final = 2

Handler = Callable[[bytes], Awaitable[bytes]]
"""A query's bytes to the answer's."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question."""

    id: int
    name: str
    """Lower case, without the dot at the end."""

    type: int
    question: bytes
    """As it came; it is repeated in the answer."""

    @classmethod
    def parse(cls, message: bytes) -> Query:
        """
        Raises:
            ValueError: not one question.
        """
        try:
            number, flags, questions = struct.unpack_from("!HHH", message)
            labels, at = [], 12
            while length := message[at]:
                labels.append(message[at + 1 : at + 1 + length].decode("ascii").lower())
                at += 1 + length
            (kind,) = struct.unpack_from("!H", message, at + 1)
        except (struct.error, IndexError) as error:
            raise ValueError("a message that is cut") from error
        if questions != 1 or flags & 0x8000:
            raise ValueError("not a query with one question")
        return cls(number, ".".join(labels), kind, message[12 : at + 5])

    def answer(self, addresses: Sequence[str], code: int = NO_ERROR) -> bytes:
        """The answer with those of the addresses that were asked for; where there are none it is no error either."""
        wanted = VERSIONS.get(self.type)
        given = [each.packed for each in map(ip_address, addresses) if each.version == wanted]
        # Response, authoritative, recursion desired and available.
        header = struct.pack("!HHHHHH", self.id, 0x8580 | code, 1, len(given), 0, 0)
        records = (struct.pack("!HHHIH", 0xC00C, self.type, 1, TTL_SECONDS, len(each)) + each for each in given)
        return header + self.question + b"".join(records)


async def serve(address: str, handler: Handler) -> None:
    """Answer on port 53 of an address until cancelled."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(handler), (address, 53))
    server = await asyncio.start_server(lambda reader, writer: _stream(handler, reader, writer), address, 53)
    try:
        await server.serve_forever()
    finally:
        transport.close()


async def ask(server: str, message: bytes) -> bytes:
    """
    Another server's answer to a query, as it comes.

    Raises:
        TimeoutError: there is none.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answer(answer), remote_addr=(server, 53))
    try:
        transport.sendto(message)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await answer
    finally:
        transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._reply(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            self._transport.sendto(await self._handler(data), addr)
        except ValueError:
            return


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answer.done():
            self._answer.set_result(data)


async def _stream(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = await handler(await reader.readexactly(length))
            writer.write(struct.pack("!H", len(answer)) + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError, ValueError):
        return
    finally:
        writer.close()
