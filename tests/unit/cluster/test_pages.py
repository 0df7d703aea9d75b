"""Lists in pages that fit into memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.pages import FIRST_PAGE, LARGEST_OBJECT_BYTES, LARGEST_PAGE_BYTES, list_all
from egressgateway.cluster.store import Store
from egressgateway.errors import TooLarge
from egressgateway.refs import CHILD_BY_KIND
from unit.cluster.fake_api import FakeApi

pytestmark = pytest.mark.asyncio
SERVICE = CHILD_BY_KIND["Service"]


async def listed(client: ApiClient) -> list[str]:
    found, _ = await list_all(client, SERVICE, None, Store().gathering)
    return [each["metadata"]["name"] for each in found]


def limits(api: FakeApi) -> list[int]:
    return [int(seen.query["limit"]) for seen in api.seen]


async def test_pages_begin_small_and_grow(api: FakeApi, client: ApiClient) -> None:
    """What the objects weigh, only the first page tells."""
    for number in range(300):
        api.put("services", "shop", f"s{number:03}")
    assert await listed(client) == [f"s{number:03}" for number in range(300)]
    assert limits(api) == [FIRST_PAGE, FIRST_PAGE * 2, FIRST_PAGE * 4, FIRST_PAGE * 8]


async def test_other_tasks_run_while_a_page_is_taken_over(api: FakeApi, client: ApiClient) -> None:
    """A Lease is renewed, and probes are answered, between a few objects of a page."""
    for number in range(FIRST_PAGE * 7):
        api.put("services", "shop", f"s{number:03}")
    kept, longest, since = 0, 0, 0

    def gathering() -> Any:
        def held(manifest: Any) -> Any:
            nonlocal kept
            kept += 1
            return manifest

        return held

    async def watch() -> None:
        nonlocal longest, since
        while True:
            longest, since = max(longest, kept - since), kept
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    await list_all(client, SERVICE, None, gathering)
    watcher.cancel()
    assert kept == FIRST_PAGE * 7
    assert 0 < longest <= FIRST_PAGE


async def test_page_that_is_too_large_is_asked_for_with_fewer_objects(api: FakeApi, client: ApiClient) -> None:
    """Objects of a megabyte come a few at a time, and none is lost."""
    for number in range(FIRST_PAGE):
        api.put("services", "shop", f"s{number:02}", spec={"text": "x" * (1 << 20)})
    assert await listed(client) == [f"s{number:02}" for number in range(FIRST_PAGE)]
    assert limits(api)[:2] == [FIRST_PAGE, FIRST_PAGE // 4]
    assert max(limits(api)[1:]) <= LARGEST_PAGE_BYTES >> 19


async def test_object_may_be_larger_than_a_page(api: FakeApi, client: ApiClient) -> None:
    """JSON may have six bytes for each that is stored: whoever wrote such an object must not end the list for all."""
    api.put("services", "shop", "s", spec={"text": "x" * (LARGEST_PAGE_BYTES + 1)})
    api.put("services", "shop", "t")
    assert await listed(client) == ["s", "t"]


async def test_one_object_that_is_too_large_ends_the_list(api: FakeApi, client: ApiClient) -> None:
    """No API server stores one; whatever answers so, is not read."""
    api.put("services", "shop", "s", spec={"text": "x" * (LARGEST_OBJECT_BYTES + 1)})
    with pytest.raises(TooLarge):
        await listed(client)
    assert limits(api)[-1] == 1


async def test_what_is_held_is_decided_page_by_page(api: FakeApi, client: ApiClient) -> None:
    """Nothing of a page is held but what its list keeps."""
    for number in range(100):
        api.put("services", "shop", f"s{number}")
    seen: list[int] = []

    def gathering() -> Any:
        def held(manifest: Any) -> Any:
            seen.append(len(api.seen))
            return {"metadata": manifest["metadata"]}

        return held

    found, version = await list_all(client, SERVICE, "shop", gathering)
    assert len(found) == 100
    assert version == str(api.version)
    assert sorted(set(seen)) == [1, 2, 3]
