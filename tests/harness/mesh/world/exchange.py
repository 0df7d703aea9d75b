"""A connection to one of the world's servers, and what a request on it is answered with."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.mesh.world.certificates import NamedContext
from harness.mesh.world.journal import Journal, Seen
from harness.mesh.world.names import Names

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection: its bytes, and what its server knows beside them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    names: Names
    journal: Journal

    def facts(self) -> Seen:
        """Who is connected to whom, as this side sees it."""
        address, port = self.writer.get_extra_info("sockname")[:2]
        return {
            "peer": self.writer.get_extra_info("peername")[0],
            "port": port,
            # The name whose address was dialled: whoever dials, this cannot be pretended.
            "dialled": self.names.name_of(address) or address,
            "tls": self._tls(),
        }

    def _tls(self) -> Seen | None:
        secure = self.writer.get_extra_info("ssl_object")
        if secure is None:
            return None
        certificate = secure.getpeercert() or {}
        subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
        return {
            "sni": secure.context.name if isinstance(secure.context, NamedContext) else None,
            "alpn": secure.selected_alpn_protocol(),
            "version": secure.version(),
            "client": subject.get("commonName"),
            "client_sans": [value for _, value in certificate.get("subjectAltName", ())],
        }


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request, whichever version it came in."""

    version: str
    method: str
    path: str
    authority: str
    headers: Headers
    """In their order, names as they came; HTTP/2's own (`:path`) left out."""

    size: int
    """Bytes of the body."""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def seen(self, connection: Connection) -> Seen:
        """All of it, for the answer and the journal."""
        return {
            **connection.facts(),
            "protocol": self.version,
            "method": self.method,
            "path": self.path,
            "authority": self.authority,
            "headers": {name.lower(): value for name, value in self.headers},
            "bytes": self.size,
        }

    def status(self, of_host: int | None) -> int:
        """What is answered: the host's own status, else that of `/status/503` or `?status=503`, else 200."""
        asked = re.match(r"/status/(\d{3})", self.path)
        given = [int(asked[1])] if asked else [int(each) for each in self.query.get("status", ())]
        return of_host or (given[0] if given else 200)

    def delay_seconds(self) -> float:
        """How long the answer takes: `/delay/500` or `?delay=500`, in milliseconds."""
        asked = re.match(r"/delay/(\d+)", self.path)
        return int(asked[1] if asked else self.query.get("delay", ["0"])[0]) / 1000


async def answer(connection: Connection, request: Request) -> tuple[int, bytes]:
    """Status and body for a request, which is noted first."""
    seen: dict[str, Any] = request.seen(connection)
    status = request.status(connection.names.status_of(seen["dialled"]))
    connection.journal.add({**seen, "status": status})
    if delay := request.delay_seconds():
        await asyncio.sleep(delay)
    return status, json.dumps(seen).encode()
