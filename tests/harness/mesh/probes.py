"""Startup, readiness and liveness probes, asked from the node as a kubelet does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

LONGEST_PERIOD = 1.0
"""Seconds between two probes at most, whatever the specification says: tests wait for what real pods have time for."""

STARTING_PERIOD = 0.1


@dataclass(frozen=True, slots=True)
class Probe:
    """
    A probe of a container. What is neither `httpGet` nor `tcpSocket` always passes: there is nothing to run it in.
    """

    spec: Object
    ports: dict[str, int]
    """Numbers of named ports."""

    @property
    def period(self) -> float:
        return min(float(self.spec.get("periodSeconds", 10)), LONGEST_PERIOD)

    @property
    def failures(self) -> int:
        """How many failures in a row make it fail."""
        return int(self.spec.get("failureThreshold", 3))

    async def passes(self, address: str) -> bool:
        """One try."""
        try:
            async with asyncio.timeout(float(self.spec.get("timeoutSeconds", 1))):
                if http := self.spec.get("httpGet"):
                    return await _http(http.get("host") or address, self._port(http), http.get("path", "/"))
                if tcp := self.spec.get("tcpSocket"):
                    _, writer = await asyncio.open_connection(tcp.get("host") or address, self._port(tcp))
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, LookupError, ValueError):
            return False
        return True

    async def wait(self, address: str) -> None:
        """Return once it has passed."""
        while True:
            if await self.passes(address):
                return
            await asyncio.sleep(STARTING_PERIOD)

    def _port(self, action: Object) -> int:
        given = action["port"]
        return given if isinstance(given, int) else self.ports[given]


def probe_of(container: Object, kind: str) -> Probe | None:
    """The container's `startupProbe`, `readinessProbe` or `livenessProbe`."""
    spec = container.get(kind)
    ports = {each["name"]: each["containerPort"] for each in container.get("ports") or () if "name" in each}
    return Probe(spec, ports) if spec else None


async def _http(host: str, port: int, path: str) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: kube-probe\r\n".encode()
            + b"Connection: close\r\n\r\n"
        )
        status = (await reader.readuntil(b"\r\n")).split(b" ", 2)[1]
        return 200 <= int(status) < 400
    finally:
        writer.close()
