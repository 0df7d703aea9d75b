"""
A program for a pod: asks for each of some URLs at a steady rate until it is told to end, and notes what came of it.

    load RATE http://host/path https://host/ tcp://host:port tls://host:port

`tcp` and `tls` are bytes without HTTP: a line is sent, and the line of JSON is read that a server of the world answers.

Open loop: a request is sent when its time has come, whatever became of those before, as clients that know nothing of
each other do. Each has a connection of its own. A line of standard output for each request: when it was sent (seconds
since the epoch), what came (a status, 200 for bytes, or the name of an error), the address from which the server was
reached (`-` where no server answered), how long it took (milliseconds), and the URL.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import ssl
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

PATIENCE_SECONDS = 15
"""After which a request counts as lost. Longer than any answer takes on a busy machine: what is slow is not lost."""


ROOTS = "/etc/ssl/certs/ca-certificates.crt"
LINE = b"probe of a steady load\n"
"""The world tells these connections from others by it; see `world.server`."""

PORTS = {"http": 80, "https": 443}


class Load:
    """The requests to one URL."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._url = url
        self._host = parts.hostname
        self._port = parts.port or PORTS[parts.scheme]
        self._authority = parts.netloc
        self._path = parts.path or "/"
        self._tls = tls if parts.scheme in ("https", "tls") else None
        self._speaks_http = parts.scheme in PORTS
        self._address = ""
        self._ended = asyncio.Event()

    async def run(self, rate: float, delay: float) -> None:
        """Send until `end`, from `delay` seconds on, then wait for the last answers."""
        if self._speaks_http:
            # Looked up once: what is measured is the mesh, not DNS. Without HTTP the address alone says the host.
            # Without an answer it is looked up for each request, which is lost then.
            with suppress(OSError):
                self._address = await asyncio.to_thread(self._resolve)
        started = time.time() + delay
        sent = 0
        async with asyncio.TaskGroup() as tasks:
            while not self._ended.is_set():
                delay = started + sent / rate - time.time()
                if delay > 0:
                    await asyncio.sleep(delay)
                tasks.create_task(self._request())
                sent += 1

    def end(self) -> None:
        self._ended.set()

    async def _request(self) -> None:
        at = time.time()
        outcome, peer = "", "-"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                outcome, peer = await self._exchange()
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.IncompleteReadError) as error:
            outcome = type(error).__name__
        print(f"{at:.3f} {outcome} {peer} {(time.time() - at) * 1000:.0f} {self._url}", flush=True)

    async def _exchange(self) -> tuple[str, str]:
        name = self._host if self._tls else None
        address = self._address or await asyncio.to_thread(self._resolve)
        reader, writer = await asyncio.open_connection(address, self._port, ssl=self._tls, server_hostname=name)
        try:
            if self._speaks_http:
                return await self._get(reader, writer)
            writer.write(LINE)
            return "200", _peer(await reader.readuntil(b"\n"))
        finally:
            writer.close()

    async def _get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, str]:
        request = f"GET {self._path} HTTP/1.1\r\nHost: {self._authority}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        # An answer is there when it is there: how soon a proxy closes the connection after it is its affair.
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await (reader.readexactly(int(length[1])) if length else reader.read())
        return head.split(b" ", 2)[1].decode(), _peer(body)

    def _resolve(self) -> str:
        return str(socket.getaddrinfo(self._host, self._port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


def _peer(body: bytes) -> str:
    """Who was seen by the server that answered with this."""
    start = body.find(b'{"peer"')
    seen = json.loads(body[start : body.rindex(b"}") + 1]) if start >= 0 else {}
    return str(seen.get("peer", "-"))


async def main() -> None:
    rate, urls = float(sys.argv[1]), sys.argv[2:]
    secure = any(url.startswith(("https:", "tls:")) for url in urls)
    tls = ssl.create_default_context(cafile=ROOTS) if secure else None
    loads = [Load(url, tls) for url in urls]

    def end() -> None:
        for load in loads:
            load.end()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    async with asyncio.TaskGroup() as tasks:
        for number, load in enumerate(loads):
            # In turns, so that their proxies are not asked for all of them at once.
            tasks.create_task(load.run(rate, number / rate / len(loads)))


if __name__ == "__main__":
    asyncio.run(main())
