"""Documents of any depth can be read, and nothing but what is too deep is lost."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kopf._cogs.clients.api import iter_jsonlines

from egressgateway.cluster.documents import DEEPEST, ShallowResponse, parse, shallow, shallow_watches
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.keeping import is_left_out
from egressgateway.refs import Key

LEVELS = (DEEPEST + 50, 1_500, 9_000)


def deep(levels: int) -> bytes:
    """Nested so, beside texts that look like brackets."""
    return (
        b'{"x":"]}\\\\\\"[","deep":' + b'{"a\\"}":[' * (levels // 2) + b"1" + b"]}" * (levels // 2) + b',"y":[{},"]"]}'
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("levels", LEVELS)
async def test_what_is_beside_a_deep_value_is_read(levels: int) -> None:
    """10,000 levels are what the API server takes; each of our parsers gives up at a tenth of it."""
    for text in (deep(levels), b"[" + deep(levels) + b"," + deep(levels) + b"]"):
        found = await parse(text)
        for each in found if isinstance(found, list) else [found]:
            assert (each["x"], each["y"]) == (']}\\"[', [{}, "]"])
        assert json.loads(shallow(text)) is not None


@pytest.mark.asyncio
async def test_what_is_no_document_is_said_to_be_none() -> None:
    """However many brackets it has."""
    for text in (b"", b"{", b"[" * 5_000, b"]" * 5_000):
        with pytest.raises(orjson.JSONDecodeError):
            await parse(text)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, JSON)
def test_only_what_is_too_deep_is_cut_out(inner: Any, beside: Any) -> None:
    """Whatever texts there are, and wherever it stands."""
    levels = DEEPEST + 1
    text = b'{"a":' * levels + orjson.dumps([inner]) + b"}" * levels
    found = orjson.loads(shallow(b'{"deep":' + text + b',"beside":' + orjson.dumps(beside) + b"}"))
    assert found["beside"] == beside
    value = found["deep"]
    for _ in range(DEEPEST - 1):
        value = value["a"]
    assert value is None


@pytest.mark.asyncio
async def test_client_with_a_parser_of_its_own_can_read_all() -> None:
    """As kopf's does: lists by `json`, watches line by line by Python's parser."""
    event = b'{"type":"ADDED","object":' + deep(9_000) + b"}"

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=(event + b"\n") * 2 if "watch" in request.query else deep(9_000))

    app = web.Application()
    app.router.add_get("/", answer)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(response_class=ShallowResponse, middlewares=(shallow_watches,)) as session,
    ):
        async with session.get(server.make_url("/")) as listed:
            assert (await listed.json())["y"] == [{}, "]"]
        async with session.get(server.make_url("/?watch=true")) as watched:
            seen = [json.loads(line) async for line in iter_jsonlines(watched.content)]
    assert [each["object"]["y"] for each in seen] == [[{}, "]"]] * 2


def test_deep_child_is_known_by_its_name() -> None:
    """What cannot be written as JSON again has no cost, and is not kept."""
    caches = Caches()
    nested: Any = 1
    for _ in range(500):
        nested = {"a": nested}
    owner = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", "name": "partners", "uid": "1"}
    metadata = {"namespace": "shop", "name": "a", "uid": "a", "resourceVersion": "1", "ownerReferences": [owner]}
    caches.put_child("EnvoyFilter", {"kind": "EnvoyFilter", "metadata": metadata, "spec": {"value": nested}})
    assert [is_left_out(each) for each in caches.children_of(Key("shop", "partners")).values()] == [True]
