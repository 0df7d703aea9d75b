"""The client against a server that misbehaves on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from egressgateway.cluster import client as client_module
from egressgateway.cluster import request
from egressgateway.cluster.client import ApiClient
from egressgateway.errors import ClusterError, Conflict, Forbidden, NotFound, Throttled, Unavailable
from egressgateway.refs import CHILD_BY_KIND
from harness.pki import Authority, write_pair
from unit.cluster.fake_api import FakeApi, eventually, refusal, write_kubeconfig

pytestmark = pytest.mark.asyncio
SERVICE = CHILD_BY_KIND["Service"]
GET = request.get_object(SERVICE, "shop", "web")
WATCH = request.watch_objects(SERVICE, resource_version="100")


async def test_send_returns_the_object_and_carries_the_token(api: FakeApi, client: ApiClient) -> None:
    """A call brings the object back, sends the credentials and names itself."""
    api.put("services", "shop", "web", spec={"a": "ü"})
    found = await client.send(GET)
    assert found is not None
    assert found["spec"] == {"a": "ü"}
    headers = api.seen[0].headers
    assert headers["Authorization"] == "Bearer first"
    assert headers["User-Agent"].startswith("egressgateway-operator/")


async def test_send_transmits_bytes_and_type_unchanged(api: FakeApi, client: ApiClient) -> None:
    """The body that was rendered once goes out as it is."""
    api.put("services", "shop", "web")
    body = b'{ "spec" : {} }'
    await client.send(request.apply_object(SERVICE, "shop", "web", body, "m"))
    assert api.seen[0].body == body
    assert api.seen[0].headers["Content-Type"] == "application/apply-patch+yaml"
    assert api.seen[0].query == {"fieldManager": "m", "force": "true"}


async def test_send_of_quoted_names_arrives_as_written(api: FakeApi, client: ApiClient) -> None:
    """The URL is not normalised on the way: a name with dots stays a name."""
    with pytest.raises(NotFound):
        await client.send(request.get_object(SERVICE, "shop", "..%2f"))
    assert api.seen[0].path.startswith("/api/v1/namespaces/shop/services/")


async def test_send_refused_raises_with_the_words_of_the_server(api: FakeApi, client: ApiClient) -> None:
    """Errors come as the tree of errors."""
    with pytest.raises(NotFound, match="get Service shop/web: web not found"):
        await client.send(GET)
    api.put("services", "shop", "web")
    with pytest.raises(Conflict) as caught:
        await client.send(request.create_object(SERVICE, "shop", {"metadata": {"name": "web"}}))
    assert caught.value.reason == "AlreadyExists"


async def test_send_does_not_retry(api: FakeApi, client: ApiClient) -> None:
    """One call is one request, also when the server fails: the queue decides about another."""

    async def fail(_: web.Request) -> web.Response:
        return refusal(500, "InternalError", "boom")

    api.intercept = fail
    with pytest.raises(Unavailable, match="boom"):
        await client.send(request.merge_patch(SERVICE, "shop", "web", {}))
    assert len(api.seen) == 1


async def test_send_on_reset_connection_is_unavailable(api: FakeApi, client: ApiClient) -> None:
    """A lost answer means that nothing is known."""

    async def reset(received: web.Request) -> web.Response:
        assert received.transport is not None
        received.transport.abort()
        return web.Response()

    api.intercept = reset
    with pytest.raises(Unavailable) as caught:
        await client.send(request.merge_patch(SERVICE, "shop", "web", {}))
    assert caught.value.reason == "ConnectionFailed"


async def test_send_to_no_server_is_unavailable(tmp_path: Path, unused_tcp_port: int) -> None:
    """Nobody listens: the same error as for a lost connection."""
    config = write_kubeconfig(tmp_path, f"http://127.0.0.1:{unused_tcp_port}")
    async with await ApiClient.connect(kubeconfig=config) as alone:
        with pytest.raises(Unavailable, match="get Service shop/web"):
            await alone.send(GET)


async def test_send_of_an_answer_that_is_not_json_is_unavailable(api: FakeApi, client: ApiClient) -> None:
    """A proxy that answers 200 with a page is a failure of the way, not an object."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>login</html>")

    api.intercept = page
    with pytest.raises(Unavailable, match="not JSON"):
        await client.send(GET)


async def test_send_bounds_the_calls_in_flight(api: FakeApi, client: ApiClient) -> None:
    """Never more than `max_in_flight` requests at once; an urgent one passes by."""
    running, most = 0, 0
    go_on = asyncio.Event()

    async def hold(_: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return web.json_response({})

    api.intercept = hold
    calls = [asyncio.create_task(client.send(GET)) for _ in range(20)]
    await eventually(lambda: running == 4)
    urgent = asyncio.create_task(client.send(GET, urgent=True))
    await eventually(lambda: running == 5)
    go_on.set()
    await asyncio.gather(*calls, urgent)
    assert most == 5
    assert len(api.seen) == 21


async def test_throttled_call_makes_all_callers_wait(api: FakeApi, client: ApiClient) -> None:
    """After a 429 nobody calls before the time that the server named, but for urgent calls."""
    loop = asyncio.get_running_loop()
    arrived: list[float] = []

    async def once(_: web.Request) -> web.Response:
        arrived.append(loop.time())
        if len(arrived) == 1:
            return refusal(429, "TooManyRequests", headers={"Retry-After": "0.04"})
        return web.json_response({})

    api.intercept = once
    with pytest.raises(Throttled):
        await client.send(GET)
    refused_at = loop.time()
    await client.send(GET, urgent=True)
    assert len(arrived) == 2
    await asyncio.gather(client.send(GET), client.send(GET))
    assert all(at >= refused_at + 0.04 - 0.002 for at in arrived[2:])


async def test_refused_credentials_are_read_again_once(api: FakeApi, client: ApiClient, tmp_path: Path) -> None:
    """A rotated token costs one refused request; a token that stays wrong is an error, not a loop."""
    valid = "second"

    async def check(received: web.Request) -> web.Response:
        if received.headers["Authorization"] != f"Bearer {valid}":
            return refusal(401, "Unauthorized", "no")
        return web.json_response({"ok": True})

    api.intercept = check
    write_kubeconfig(tmp_path, api.url, token="second")
    assert list(await asyncio.gather(client.send(GET), client.send(GET))) == [{"ok": True}, {"ok": True}]
    valid = "third"
    before = len(api.seen)
    with pytest.raises(Forbidden):
        await client.send(GET)
    assert len(api.seen) == before + 1, "reads credentials at most every few seconds"


async def test_every_call_is_reported(api: FakeApi, kubeconfig: str) -> None:
    """Verb, resource and code of each request reach the metrics; `error` when no answer came."""
    reported: list[tuple[str, str, str]] = []

    def note(verb: str, resource: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        reported.append((verb, resource, code))

    async with await ApiClient.connect(kubeconfig=kubeconfig, on_request=note) as client:
        api.put("services", "shop", "web")
        await client.send(request.merge_patch(SERVICE, "shop", "web", {}, subresource="status"))
        with pytest.raises(NotFound):
            await client.send(request.get_object(SERVICE, "shop", "none"))

        async def reset(received: web.Request) -> web.Response:
            assert received.transport is not None
            received.transport.abort()
            return web.Response()

        api.intercept = reset
        with pytest.raises(Unavailable):
            await client.send(request.delete_object(SERVICE, "shop", "web"))
    assert reported == [
        ("patch", "services/status", "200"),
        ("get", "services", "404"),
        ("delete", "services", "error"),
    ]


async def test_stream_gives_events_of_any_size(api: FakeApi, client: ApiClient) -> None:
    """An event of several MiB, beyond every buffer, arrives whole."""
    api.put("services", "shop", "big", data="x" * 3_000_000)
    api.put("services", "shop", "small")
    names = []
    async with aclosing(client.stream(WATCH)) as events:
        async for event in events:
            names.append((event["type"], event["object"]["metadata"]["name"], len(orjson.dumps(event)) > 3_000_000))
            if len(names) == 2:
                break
    assert names == [("ADDED", "big", True), ("ADDED", "small", False)]


async def test_stream_ends_with_the_server(api: FakeApi, client: ApiClient) -> None:
    """A watch that the server ends is no error."""

    async def read() -> list[str]:
        return [event["type"] async for event in client.stream(WATCH)]

    reading = asyncio.create_task(read())
    await eventually(lambda: api.watches)
    api.bookmark()
    api.end_watches()
    assert await reading == ["BOOKMARK"]


async def test_stream_left_early_leaves_no_socket_behind(tmp_path: Path) -> None:
    """Even when the server never answers TLS's goodbye: whoever closes a client must not find its sockets later."""
    async with busy_tls_server(tmp_path) as kubeconfig:
        client = await ApiClient.connect(kubeconfig=kubeconfig)
        at_first = sockets()
        async with aclosing(client.stream(WATCH)) as events:
            assert (await anext(events))["type"] == "BOOKMARK"
            assert sockets() == at_first + 2, "the client's end and the server's"
        await client.close()
        await asyncio.sleep(0)
        assert sockets() == at_first + 1, "the server's end alone"


async def test_stream_silent_for_too_long_is_a_timeout(api: FakeApi, client: ApiClient) -> None:
    """A half-open connection is noticed by its silence."""
    with pytest.raises(Unavailable) as caught:
        await anext(client.stream(WATCH, inactivity_seconds=0.03))
    assert caught.value.reason == "Timeout"
    assert api.count("GET", watch=True) == 1


async def test_stream_reset_is_a_lost_connection(api: FakeApi, client: ApiClient) -> None:
    """A cut watch is told from one that has ended."""

    async def read() -> None:
        async for _ in client.stream(WATCH):
            api.end_watches("reset")

    reading = asyncio.create_task(read())
    await eventually(lambda: api.watches)
    api.bookmark()
    with pytest.raises(Unavailable) as caught:
        await reading
    assert caught.value.reason == "ConnectionFailed"


async def test_connect_without_configuration_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig and no pod: the message names the file and the remedy."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"cannot read .*none: no such file; set KUBECONFIG"):
        await ApiClient.connect()


async def test_connect_with_a_broken_kubeconfig_names_it(tmp_path: Path) -> None:
    """A file that is no kubeconfig is an error of the tree, whatever the parser raised."""
    broken = tmp_path / "broken"
    for text in ("a: [", "[]", "kind: Config", "clusters: {}"):
        broken.write_text(text)
        with pytest.raises(ClusterError, match="broken"):
            await ApiClient.connect(kubeconfig=str(broken))


async def test_pause_is_bounded(api: FakeApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that asks for a day does not stop the operator for a day."""
    monkeypatch.setattr(client_module, "LONGEST_PAUSE_SECONDS", 0.01)

    async def once(_: web.Request) -> web.Response:
        headers = {"Retry-After": "86400"}
        return refusal(503, headers=headers) if len(api.seen) == 1 else web.json_response({})

    api.intercept = once
    with pytest.raises(Unavailable):
        await client.send(GET)
    async with asyncio.timeout(5):
        assert await client.send(GET) == {}


@asynccontextmanager
async def busy_tls_server(directory: Path) -> AsyncIterator[str]:
    """A server that answers each request by one event, and reads nothing from then on; gives its kubeconfig."""
    authority = Authority(directory)
    authority.create()
    write_pair(authority.issue("server", alternatives=["127.0.0.1"]), directory, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a transport that only writes
        event = orjson.dumps({"type": "BOOKMARK", "object": {}}) + b"\n"
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event))

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trust = {"certificate-authority": str(authority.certificate_file)}
    try:
        yield write_kubeconfig(directory, f"https://127.0.0.1:{port}", trust)
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the directory
            count += str(descriptor.readlink()).startswith("socket:")
    return count


async def test_answers_tell_the_time(api: FakeApi, client: ApiClient) -> None:
    """Refusals, too; but not what something in between says for a server that is away."""

    async def answer(request: web.Request) -> web.Response:
        hour = int(request.query["fieldManager"])
        date = f"Thu, 01 Jan 2026 {hour:02}:00:00 GMT"
        return web.json_response({}, status=502 if hour == 3 else 404, headers={"Date": date})

    api.intercept = answer
    for hour, expected in ((1, 1), (2, 2), (3, 2)):
        with pytest.raises(ClusterError):
            await client.send(request.apply_object(SERVICE, "shop", "web", b"{}", str(hour)))
        assert client.clock.now().hour == expected
