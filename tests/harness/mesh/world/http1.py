"""HTTP/1.1 as a server, by hand: what came is told as it came, which a library would tidy up."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from harness.mesh.world import websocket
from harness.mesh.world.exchange import Connection, Headers, Request, answer


async def serve(connection: Connection, begun: bytes) -> None:
    """Answer every request of a connection whose first bytes were read already."""
    while whole := await _head(connection.reader, begun):
        head = whole.removesuffix(b"\r\n\r\n")
        begun = b""
        if websocket.is_asked_for(whole):
            await websocket.serve(connection, whole)
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = request_line.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        request = Request(
            "HTTP/1.1", method, path, _value(headers, "host"), headers, await _body(connection.reader, headers)
        )
        status, content = await answer(connection, request)
        closing = _value(headers, "connection").lower() == "close"
        connection.writer.write(_response(status, content if method != "HEAD" else b"", closing=closing))
        await connection.writer.drain()
        if closing:
            return


async def _head(reader: asyncio.StreamReader, begun: bytes) -> bytes:
    """A request's head; empty at the end of the connection."""
    try:
        rest = b"" if begun.endswith(b"\r\n\r\n") else await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    return begun + rest


async def _body(reader: asyncio.StreamReader, headers: Headers) -> int:
    if "chunked" in _value(headers, "transfer-encoding").lower():
        return await _chunks(reader)
    length = int(_value(headers, "content-length") or 0)
    await reader.readexactly(length)
    return length


async def _chunks(reader: asyncio.StreamReader) -> int:
    total = 0
    while True:
        length = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        await reader.readexactly(length + 2)
        total += length
        if not length:
            return total


def _response(status: int, content: bytes, *, closing: bool) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "content-type: application/json",
        "server: world",
        f"content-length: {len(content)}",
    ]
    lines += ["connection: close"] if closing else []
    return "\r\n".join([*lines, "", ""]).encode() + content


def _value(headers: Headers, name: str) -> str:
    return next((value for key, value in headers if key.lower() == name), "")
