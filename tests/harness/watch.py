"""List and watch of one collection, without end: the client side that the fake kubelet lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp

from egressgateway.cluster.documents import parse

Object = dict[str, Any]
RECONNECT_SECONDS = 0.2


class Event(NamedTuple):
    """ADDED, MODIFIED or DELETED; RESET comes before the objects of a new list, without an object."""

    type: str
    object: Object


async def follow(session: aiohttp.ClientSession, path: str) -> AsyncIterator[Event]:
    """Every object of a collection and every change of it, through any number of lost connections."""
    while True:
        try:
            async with session.get(path) as answer:
                answer.raise_for_status()
                listed = await parse(await answer.read())
            yield Event("RESET", {})
            for item in listed["items"]:
                yield Event("ADDED", item)
            async for event in _watch(session, path, listed["metadata"]["resourceVersion"]):
                yield event
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(RECONNECT_SECONDS)


async def _watch(session: aiohttp.ClientSession, path: str, version: str) -> AsyncIterator[Event]:
    """Changes after `version`, until the server says that it is too old for that."""
    while True:
        query = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        no_limit = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with session.get(path, params=query, timeout=no_limit) as answer:
            answer.raise_for_status()
            async for line in lines(answer.content):
                event = await parse(line)
                if event["type"] == "ERROR":
                    return
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield Event(event["type"], event["object"])
        # A server that is going down ends watches at once, again and again.
        await asyncio.sleep(RECONNECT_SECONDS)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of a stream, of any length; `StreamReader.readline` refuses those beyond its buffer."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
