"""
What runs in a pod for a container with OPA's image: an external authorizer that denies requests with the header
`x-deny: true`.

It speaks Envoy's `envoy.service.auth.v3.Authorization` over gRPC, as OPA's plugin does, and knows just enough of its
messages: headers stand in the request as text, and an answer is a status and its code.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

import h2.config
import h2.connection
import h2.events

PORT: Final = 9191
DENIAL: Final = b"x-deny\x12\x04true"
"""An entry of the request's map of headers: key and value are fields 1 and 2."""

ALLOWED: Final = b""
DENIED: Final = b"\x0a\x02\x08\x07"
"""`status {code: PERMISSION_DENIED}`."""


async def run_authorizer() -> None:
    """Serve until cancelled, on loopback: the proxy is in the same pod."""
    server = await asyncio.start_server(_serve, "127.0.0.1", PORT)
    await server.serve_forever()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    state.initiate_connection()
    asked: dict[int, bytes] = {}
    try:
        while data := await reader.read(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    asked[event.stream_id] = asked.get(event.stream_id, b"") + event.data
                elif isinstance(event, h2.events.StreamEnded):
                    _answer(state, event.stream_id, asked.pop(event.stream_id, b""))
            writer.write(state.data_to_send())
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _answer(state: h2.connection.H2Connection, stream: int, asked: bytes) -> None:
    message = DENIED if DENIAL in asked else ALLOWED
    state.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    state.send_data(stream, struct.pack("!BI", 0, len(message)) + message)
    state.send_headers(stream, [("grpc-status", "0")], end_stream=True)
