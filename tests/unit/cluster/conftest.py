"""A fake API server and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from egressgateway.cluster.client import ApiClient
from unit.cluster.fake_api import FakeApi, serve, write_kubeconfig


@pytest_asyncio.fixture
async def api() -> AsyncIterator[FakeApi]:
    """An empty API server."""
    fake = FakeApi()
    async with serve(fake.handle) as url:
        fake.url = url
        yield fake
        fake.end_watches()


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> str:
    """The way to it."""
    return write_kubeconfig(tmp_path, api.url, token="first")


@pytest_asyncio.fixture
async def client(kubeconfig: str) -> AsyncIterator[ApiClient]:
    """A client of it."""
    async with await ApiClient.connect(4, kubeconfig=kubeconfig) as opened:
        yield opened
