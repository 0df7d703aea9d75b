"""
The measure of speed: a loop that sends writes that are ready, 32 at once, and neither reads, watches nor decides.

No operator can be faster on the same server, as each of its objects costs the same writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
import uvloop
from yarl import URL

from bench.recording import Recording, Write
from egressgateway.refs import EGRESS_GATEWAY, Key
from harness.gateways import egress_gateway
from harness.kubeconfig import Access
from harness.rest import Object

USER_AGENT = "bare-loop"
AT_ONCE = 32
TRIES = 5
PATIENCE_SECONDS = 1.0
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


def run_bare_loop(access: Access, recording: Recording, keys: list[Key]) -> None:
    """
    Create an object for each key, then make the recorded writes for each of them.

    Raises:
        RuntimeError: the server refused a write.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Loop(access).run(recording, keys))


def apply_objects(access: Access, objects: Iterable[Object]) -> None:
    """Create EgressGateways, 32 at once: what both sides are given to do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Loop(access).create(list(objects)))


class _Loop:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._uids: dict[Key, str] = {}
        self._session: aiohttp.ClientSession

    async def run(self, recording: Recording, keys: list[Key]) -> None:
        async with self._open():
            await self._create_all([egress_gateway(*key) for key in keys])
            writes = (write for key in keys for write in recording.for_object(*key, self._uids[key]))
            await self._at_once(self._send(write) for write in writes)

    async def create(self, objects: list[Object]) -> None:
        async with self._open():
            await self._create_all(objects)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._access.ssl_context() or True)
        headers = {**self._access.headers(), "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self._session

    async def _create_all(self, objects: list[Object]) -> None:
        await self._at_once(self._create(each) for each in objects)

    async def _create(self, manifest: Object) -> None:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        write = Write("POST", EGRESS_GATEWAY.path(namespace), orjson.dumps(manifest), "application/json", False)
        created = await self._send(write)
        self._uids[Key(namespace, name)] = created["metadata"]["uid"]

    async def _send(self, write: Write) -> Object:
        """Make one write; where a busy server gives up on it, again."""
        for tried in range(TRIES):
            status, body = await self._try(write)
            if status == HTTPStatus.CONFLICT and tried:
                # The server had stored it, and only did not say so in time.
                return {}
            if status < HTTPStatus.MULTIPLE_CHOICES:
                found: Object = orjson.loads(body)
                return found
            if status not in _BUSY:
                break
            await asyncio.sleep(PATIENCE_SECONDS)
        raise RuntimeError(f"{write.method} {write.target}: {status} {body[:500]!r}")

    async def _try(self, write: Write) -> tuple[int, bytes]:
        url = URL(self._access.server + write.target, encoded=True)
        headers = {"Content-Type": write.content_type}
        async with self._session.request(write.method, url, data=write.body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def _at_once(self, calls: Iterable[Coroutine[Any, Any, Any]]) -> None:
        """Make the calls in their order, always 32 of them under way."""
        waiting = iter(calls)

        async def work() -> None:
            for call in waiting:
                await call

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
