"""HTTP/2 as a server, gRPC among it: a gRPC call gets the same JSON as its one message, and a trailer."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from contextlib import suppress

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from harness.mesh.world.exchange import Connection, Headers, Request, answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Http2:
    """One connection. Streams are answered side by side."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._state = h2.connection.H2Connection(config)
        self._headers: dict[int, Headers] = {}
        self._sizes: defaultdict[int, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, begun: bytes) -> None:
        """Answer every request of a connection whose first bytes were read already."""
        self._state.initiate_connection()
        data = begun
        while data:
            for event in self._state.receive_data(data):
                self._receive(event)
            await self._flush()
            data = await self._connection.reader.read(65536)

    def _receive(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._headers[event.stream_id] = [(str(name), str(value)) for name, value in event.headers]
            case h2.events.DataReceived():
                self._sizes[event.stream_id] += len(event.data)
                self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                task = asyncio.get_running_loop().create_task(self._answer(event.stream_id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, stream: int) -> None:
        headers = self._headers.pop(stream)
        own = dict(headers)
        rest = [(name, value) for name, value in headers if not name.startswith(":")]
        request = Request(
            "HTTP/2", own[":method"], own[":path"], own.get(":authority", ""), rest, self._sizes.pop(stream, 0)
        )
        status, content = await answer(self._connection, request)
        # The other side may have given up meanwhile.
        with suppress(h2.exceptions.ProtocolError):
            if own.get("content-type", "").startswith("application/grpc"):
                self._respond_grpc(stream, status, content)
            else:
                self._state.send_headers(
                    stream, [(":status", str(status)), ("content-type", "application/json"), ("server", "world")]
                )
                self._state.send_data(stream, content, end_stream=True)
        await self._flush()

    def _respond_grpc(self, stream: int, status: int, content: bytes) -> None:
        self._state.send_headers(
            stream, [(":status", str(status)), ("content-type", "application/grpc"), ("server", "world")]
        )
        self._state.send_data(stream, struct.pack("!BI", 0, len(content)) + content)
        self._state.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    async def _flush(self) -> None:
        if data := self._state.data_to_send():
            self._connection.writer.write(data)
            await self._connection.writer.drain()
