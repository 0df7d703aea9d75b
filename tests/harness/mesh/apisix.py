"""
What runs in a pod for a container with APISIX's image: a plain HTTP/1.1 proxy to wherever `Host` says.

Of APISIX it does what the clients' half can be judged by: a request without a mark finds no route and gets APISIX's own
404; one with a mark goes to the host that it asks for, without the mark. It reads no routes.
"""

from __future__ import annotations

import asyncio
from typing import Final

PORT: Final = 9080
MARK: Final = "x-egressgateway-way"
NO_ROUTE: Final = b'{"error_msg":"404 Route Not Found"}\n'
_DEFAULT_PORT: Final = 80


async def run_proxy() -> None:
    """Serve until cancelled, on every address of the pod."""
    server = await asyncio.start_server(_serve, "0.0.0.0", PORT)
    await server.serve_forever()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request a connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        pairs = (each.partition(":") for each in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if not line.endswith("HTTP/1.1"):
            _answer(writer, "505 HTTP Version Not Supported", b"")
        elif not headers.pop(MARK, ""):
            _answer(writer, "404 Not Found", NO_ROUTE)
        else:
            await _pass_on(line, headers, writer)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _pass_on(line: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    host, _, port = headers["host"].partition(":")
    reader, upstream = await asyncio.open_connection(host, int(port or _DEFAULT_PORT))
    sent = {**headers, "connection": "close"}
    upstream.write("\r\n".join([line, *(f"{name}: {value}" for name, value in sent.items()), "", ""]).encode("latin-1"))
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    finally:
        upstream.close()


def _answer(writer: asyncio.StreamWriter, status: str, content: bytes) -> None:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + content)
