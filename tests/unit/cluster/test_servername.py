"""A server whose certificate is for another name than its address."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from egressgateway.cluster.servername import ServerName
from harness.pki import Authority, write_pair

NAME = "kubernetes.example.com"


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="ok")


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """A server at 127.0.0.1 that has a certificate for `NAME` only: its address, and the trust of its authority."""
    authority = Authority(directory)
    authority.create()
    write_pair(authority.issue("server", (), (NAME,)), directory, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    app = web.Application()
    app.router.add_get("/", answer)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    try:
        yield f"https://127.0.0.1:{server.port}/", ssl.create_default_context(cafile=authority.certificate_file)
    finally:
        await server.close()


async def test_the_certificate_is_checked_for_the_name_that_was_given(tmp_path: Path) -> None:
    """With the name the server is trusted, without it, or with another, it is not."""
    async with serving(tmp_path) as (url, trust):
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(url, middlewares=(ServerName(NAME),)) as found:
                assert await found.text() == "ok"
            for middlewares in ((), (ServerName("other.example.com"),)):
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.get(url, middlewares=middlewares)
