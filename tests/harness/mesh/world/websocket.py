"""
WebSocket as a server (RFC 6455), on every port that speaks HTTP/1.1: the first message tells what was seen, then each
message comes back as it was sent. aiohttp speaks the protocol; the connection, and what is known of it, is ours.
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus

from aiohttp import WSMsgType, web

from harness.mesh.world.exchange import Connection, Request
from harness.mesh.world.journal import Seen

GOODBYE_SECONDS = 2.0
"""For the answer to a request that is refused, and the last frames of others."""


def is_asked_for(head: bytes) -> bool:
    """Whether a request of HTTP/1.1 wants to go on as WebSocket."""
    return re.search(rb"\r\nupgrade: *websocket *\r\n", head, re.IGNORECASE) is not None


async def serve(connection: Connection, head: bytes) -> None:
    """Go on with a connection whose request has been read, until the WebSocket ends."""
    ended = asyncio.Event()

    async def talk(asked: web.BaseRequest) -> web.StreamResponse:
        try:
            return await _talk(connection, asked)
        finally:
            ended.set()

    server = web.Server(talk)
    protocol = server()
    transport = connection.writer.transport
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    protocol.data_received(head)
    await ended.wait()
    await server.shutdown(GOODBYE_SECONDS)


async def _talk(connection: Connection, asked: web.BaseRequest) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(asked)
    seen = _seen(connection, asked)
    connection.journal.add({**seen, "status": HTTPStatus.SWITCHING_PROTOCOLS.value})
    await socket.send_str(json.dumps(seen))
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


def _seen(connection: Connection, asked: web.BaseRequest) -> Seen:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in asked.raw_headers]
    request = Request("HTTP/1.1", asked.method, asked.raw_path, asked.headers.get("Host", ""), headers, 0)
    return request.seen(connection)
