"""
Lists a collection page by page, in pages that fit into memory whatever the size of their objects.

A page is requested by number of objects, and one object may have 1.5 MiB. Pages start small and grow; one that is
larger than `LARGEST_PAGE_BYTES` is not read to its end and requested again with fewer objects. Until the last page is
there, objects are held as text: a fifth of the memory, of which CPython would give back little.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import orjson

from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.errors import Expired, TooLarge
from egressgateway.refs import Manifest, Resource

LARGEST_PAGE_BYTES: Final = 8 << 20
"""Several objects at least, each with all that etcd stores of one (1.5 MiB, `--max-request-bytes`)."""

LARGEST_OBJECT_BYTES: Final = 16 << 20
"""
One object. A stored protobuf may have 1.5 MiB of `<`, or of control characters, and JSON has six bytes for each of them
(Go's encoding/json escapes them so): if such an object could not be read, every list of its kind would fail.
"""

FIRST_PAGE: Final = 32
LARGEST_PAGE: Final = 256
"""One page is parsed at once, which nothing else on the event loop can interrupt: ten milliseconds a megabyte."""

_KEPT_AT_ONCE: Final = 32
"""Objects that are trimmed before other tasks run."""

_SHRINK: Final = 4
_GROW: Final = 2


class Listed:
    """Objects of a list. Each reader parses its own copies, one at a time."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Manifest]:
        return map(orjson.loads, self._texts)

    def append(self, manifest: Manifest) -> None:
        # A copy: the buffer that orjson returns is up to twice as long as its content.
        self._texts.append(bytes(memoryview(orjson.dumps(manifest))))


async def list_all(  # noqa: PLR0913  (the options of a list)
    client: ApiCaller,
    resource: Resource,
    namespace: str | None,
    keep: Callable[[], Callable[[Manifest], Manifest]],
    *,
    label_selector: str | None = None,
    field_selector: str | None = None,
    largest: int = LARGEST_PAGE,
) -> tuple[Listed, str]:
    """
    What is kept of each object of the collection, and the version of the list.

    Args:
        keep: returns the function that trims each object of one list, before the next page is requested.
        largest: objects of a page.

    Raises:
        ClusterError: a call failed, or one object alone is larger than a page may be.
    """
    options = {"label_selector": label_selector, "field_selector": field_selector}
    found = Listed()
    version = "0"
    try:
        held = keep()
        async for items, version in _pages(client, resource, namespace, largest, **options):  # noqa: B007
            await _take(found, held, items)
            items.clear()
    except Expired:
        if not len(found):
            raise
        # The pages took longer than etcd keeps their version: a list without pages cannot expire.
        call = list_objects(resource, namespace, limit=None, **options)
        page = await client.send(replace(call, largest_answer=LARGEST_PAGE_BYTES)) or {}
        found, held = Listed(), keep()
        await _take(found, held, page.get("items") or ())
        version = str((page.get("metadata") or {}).get("resourceVersion") or "0")
    return found, version


async def _take(found: Listed, held: Callable[[Manifest], Manifest], items: Iterable[Manifest]) -> None:
    for number, each in enumerate(items):
        if number % _KEPT_AT_ONCE == 0:
            await asyncio.sleep(0)
        found.append(held(each))


async def _pages(
    client: ApiCaller, resource: Resource, namespace: str | None, largest: int, **options: str | None
) -> AsyncIterator[tuple[list[Manifest], str]]:
    limit, token = min(FIRST_PAGE, largest), ""
    while True:
        call = list_objects(resource, namespace, limit=limit, continue_=token or None, **options)
        try:
            most = LARGEST_PAGE_BYTES if limit > 1 else LARGEST_OBJECT_BYTES
            page = await client.send(replace(call, largest_answer=most)) or {}
        except TooLarge:
            if limit == 1:
                raise
            limit = max(1, limit // _SHRINK)
            continue
        metadata = page.get("metadata") or {}
        token = metadata.get("continue") or ""
        yield page.get("items") or [], str(metadata.get("resourceVersion") or "0")
        if not token:
            return
        limit = min(largest, limit * _GROW)
