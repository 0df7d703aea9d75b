"""
What a certificate of the API server must have, and what not, whatever Python's default contexts ask for.

Python 3.13 adds VERIFY_X509_STRICT to them: on every version these tests run with it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ClientSession, TCPConnector, web
from aiohttp.test_utils import TestServer

from egressgateway.cluster import request
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.credentials import Credentials
from egressgateway.errors import ClusterError
from egressgateway.handlers import _session
from egressgateway.refs import EGRESS_GATEWAY
from harness.pki import Authority, write_pair
from unit.cluster.fake_api import write_kubeconfig

LIST = request.list_objects(EGRESS_GATEWAY, None, limit=None)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default contexts as those of Python 3.13."""
    made = ssl.create_default_context

    def create(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = made(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


async def answer(_: web.Request) -> web.Response:
    return web.json_response({"items": []})


@asynccontextmanager
async def serving(directory: Path, *, name: str = "127.0.0.1", **issued: Any) -> AsyncIterator[str]:
    """A server with a certificate for `name`, made as `issued` says; gives the path of its kubeconfig."""
    authority = Authority(directory)
    authority.create()
    write_pair(authority.issue("server", (), (name,), **issued), directory, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    trust = {"certificate-authority": str(authority.certificate_file)}
    try:
        yield write_kubeconfig(directory, f"https://127.0.0.1:{server.port}", trust)
    finally:
        await server.close()


async def test_certificate_without_key_identifiers_is_taken(tmp_path: Path) -> None:
    """By the engine's client, which the commands share, and by the session that kopf watches with."""
    async with serving(tmp_path, key_identifiers=False) as kubeconfig:
        async with await ApiClient.connect(kubeconfig=kubeconfig) as client:
            assert await client.send(LIST) == {"items": []}
        found = await _session(await Credentials.load(kubeconfig))
        async with found.aiohttp_session as session, session.get(f"{found.server}/api") as answered:
            assert answered.status == 200


async def test_python_itself_refuses_that_certificate(tmp_path: Path) -> None:
    """The test above can fail: a default context does not take what ours takes."""
    async with serving(tmp_path, key_identifiers=False) as kubeconfig:
        server = (await Credentials.load(kubeconfig)).endpoint.server
        trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        async with ClientSession(connector=TCPConnector(ssl=trust)) as session:
            with pytest.raises(ClientConnectorError, match="Missing Authority Key Identifier"):
                await session.get(f"{server}/api")


async def test_certificates_of_the_harness_stand_the_strict_verification(tmp_path: Path) -> None:
    """A control plane of the tests serves strict clients, too, as clusters by kubeadm do."""
    async with serving(tmp_path) as kubeconfig:
        server = (await Credentials.load(kubeconfig)).endpoint.server
        trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        async with (
            ClientSession(connector=TCPConnector(ssl=trust)) as session,
            session.get(f"{server}/api") as answered,
        ):
            assert answered.status == 200


@pytest.mark.parametrize(
    ("issued", "words"),
    [
        ({"name": "192.0.2.1"}, "IP address mismatch"),
        ({"lifetime": timedelta(minutes=-1)}, "certificate has expired"),
    ],
    ids=["another name", "expired"],
)
async def test_everything_else_is_verified(tmp_path: Path, issued: dict[str, Any], words: str) -> None:
    """Only the one flag is gone: a wrong name and a certificate that has ended are refused."""
    async with (
        serving(tmp_path, **issued, key_identifiers=False) as kubeconfig,
        await ApiClient.connect(kubeconfig=kubeconfig) as client,
    ):
        with pytest.raises(ClusterError, match=words):
            await client.send(LIST)


async def test_another_authority_is_refused(tmp_path: Path) -> None:
    """A server that somebody else vouches for is not the cluster's."""
    async with serving(tmp_path, key_identifiers=False) as kubeconfig:
        Authority(tmp_path).create("another")
        async with await ApiClient.connect(kubeconfig=kubeconfig) as client:
            with pytest.raises(ClusterError, match="verify failed"):
                await client.send(LIST)
