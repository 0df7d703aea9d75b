"""
A program for a pod: GETs a URL at a steady rate until it is told to end, and notes what came of each request.

Open loop: a request is sent when its time has come, whatever became of those before, as clients that know nothing of
each other do. Each has a connection of its own. A line of standard output for each request: when it was sent (seconds
since the epoch), what came (a status, or the name of an error), the address from which the server was reached (`-`
where no server answered), and how long it took (milliseconds).
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
from urllib.parse import urlsplit

PATIENCE_SECONDS = 15
"""After which a request counts as lost. Longer than any answer takes on a busy machine: what is slow is not lost."""


class Load:
    """The requests to one URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc
        self._path = parts.path or "/"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = ""
        self._ended = asyncio.Event()

    async def run(self, rate: float) -> None:
        """Send until `end`, then wait for the last answers."""
        # Looked up once: what is measured is the mesh, not DNS.
        self._address = await asyncio.to_thread(self._resolve)
        started = time.time()
        sent = 0
        async with asyncio.TaskGroup() as tasks:
            while not self._ended.is_set():
                tasks.create_task(self._request())
                sent += 1
                delay = started + sent / rate - time.time()
                if delay > 0:
                    await asyncio.sleep(delay)

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
        print(f"{at:.3f} {outcome} {peer} {(time.time() - at) * 1000:.0f}", flush=True)

    async def _exchange(self) -> tuple[str, str]:
        name = self._host if self._tls else None
        reader, writer = await asyncio.open_connection(self._address, self._port, ssl=self._tls, server_hostname=name)
        try:
            request = f"GET {self._path} HTTP/1.1\r\nHost: {self._authority}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            # An answer is there when it is there: how soon a proxy closes the connection after it is its affair.
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await (reader.readexactly(int(length[1])) if length else reader.read())
        finally:
            writer.close()
        status = head.split(b" ", 2)[1].decode()
        start = body.find(b'{"peer"')
        seen = json.loads(body[start : body.rindex(b"}") + 1]) if start >= 0 else {}
        return status, seen.get("peer", "-")

    def _resolve(self) -> str:
        return str(socket.getaddrinfo(self._host, self._port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


async def main() -> None:
    load = Load(sys.argv[1])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.end)
    await load.run(float(sys.argv[2]))


if __name__ == "__main__":
    asyncio.run(main())
