"""
JSON from the API server, whatever its depth.

Users who may write an object may nest it: `metadata.managedFields` of any object, and fields without a schema, accept
as many levels as Go's decoder does (10,000). The parsers here fail at about 1,000, and one such object would end every
list and every watch of its kind. So levels deeper than any that is read are cut out first.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import orjson

from egressgateway.cluster.framing import LineFramer

DEEPEST: Final = 200
"""Levels. An object of ours has about 30, one in a list two more; a parser accepts five times as many."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"


async def parse(text: bytes) -> Any:
    """
    The document `text`; a value that is nested too deep in it is None.

    For a hostile document the search takes seconds. It runs beside the event loop, so that the Lease is renewed
    meanwhile.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        cut = await asyncio.to_thread(shallow, text)
        if cut is text:
            raise
        return orjson.loads(cut)


def shallow(text: bytes) -> bytes:
    """`text` with null in place of each value below `DEEPEST` levels; `text` itself when there is none."""
    if text.count(b"{") + text.count(b"[") <= DEEPEST:
        return text
    kept, depth, start = list[bytes](), 0, 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPENING:
            depth += 1
            if depth == DEEPEST + 1:
                kept += (text[start : token.start()], b"null")
        elif first in _CLOSING:
            if depth == DEEPEST + 1:
                start = token.end()
            depth -= 1
    return b"".join((*kept, text[start:])) if kept else text


class ShallowResponse(aiohttp.ClientResponse):
    """An answer for a client that parses it itself, as kopf does."""

    async def json(self, **_: Any) -> Any:
        """As aiohttp's, of whatever depth."""
        return await parse(await self.read() or b"null")


class _Lines:
    """A body with one document in each line, each of them shallow. All else is delegated to the original body."""

    def __init__(self, body: aiohttp.StreamReader) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        framer = LineFramer()
        async for chunk in self._body.iter_chunked(size):
            for line in framer.feed(chunk):
                yield (line if _can_be_parsed(line) else await asyncio.to_thread(shallow, line)) + b"\n"


def _can_be_parsed(line: bytes) -> bool:
    """By Python's own parser, whose depth is that of its stack: nearly all lines have too few brackets to matter."""
    if line.count(b"{") + line.count(b"[") <= DEEPEST:
        return True
    try:
        json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        return True
    return True


async def shallow_watches(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp's protocol for middlewares: events of a watch can be parsed, whatever an object holds."""
    answer = await handler(request)
    if request.url.query.get("watch") in ("true", "1"):
        answer.content = _Lines(answer.content)  # type: ignore[assignment]  # in all that is asked of it
    return answer
