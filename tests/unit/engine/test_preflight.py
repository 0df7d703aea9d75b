"""What keeps the operator from starting is said in words, and waited out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest

from egressgateway.cluster.client import ApiClient
from egressgateway.engine.process.preflight import Preflight
from egressgateway.refs import GROUP
from unit.cluster.fake_api import FakeApi, refusal

pytestmark = pytest.mark.asyncio

PLURALS = {"egressgateways", "egressgatewayclasses"}


def healing_after(naps: int, heal: Callable[[], None], seen: list[float]) -> Callable[[float], Awaitable[None]]:
    """A sleep that takes no time, notes how long it would have been, and heals the server in the end."""

    async def sleep(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == naps:
            heal()

    return sleep


async def test_server_with_both_kinds_is_asked_once_for_each(api: FakeApi, client: ApiClient) -> None:
    """Nothing is in the way: two lists of one item, and no wait."""
    preflight = Preflight(client)
    assert preflight.obstacle
    await preflight.wait()
    assert preflight.obstacle == ""
    assert [(seen.path.rsplit("/", 1)[1], seen.query) for seen in api.seen] == [
        ("egressgateways", {"limit": "1"}),
        ("egressgatewayclasses", {"limit": "1"}),
    ]


async def test_missing_definitions_are_named_with_the_remedy_until_they_are_there(
    api: FakeApi, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says it, not one for each attempt; waits grow and are bounded."""
    api.unserved = set(PLURALS)
    waits: list[float] = []
    preflight = Preflight(client, sleep=healing_after(8, api.unserved.clear, waits))
    with caplog.at_level(logging.WARNING):
        await preflight.wait()
    told = [record.__dict__["fields"] for record in caplog.records]
    assert told == [{"because": "EgressGateway CRDs are not installed: kubectl apply -f crds/"}]
    assert len(waits) == 8
    assert waits[0] < 1 < max(waits) <= 5


async def test_missing_right_is_told_with_the_servers_words(api: FakeApi, client: ApiClient) -> None:
    """The one who grants rights must know which."""
    told: list[str] = []

    async def forbid(request: object) -> object:
        return refusal(403, "Forbidden", 'User "x" cannot list') if not told else None

    api.intercept = forbid  # type: ignore[assignment]

    async def sleep(_: float) -> None:
        told.append(preflight.obstacle)

    preflight = Preflight(client, sleep=sleep)
    await preflight.wait()
    assert told == [
        'the operator may not list egressgateways: User "x" cannot list; grant it the right; the operator retries'
    ]


async def test_operator_of_one_namespace_lists_there(api: FakeApi, client: ApiClient) -> None:
    """It need not have the right to list everywhere; classes have no namespace."""
    await Preflight(client, ("payments",)).wait()
    paths = [seen.path for seen in api.seen]
    version = f"/apis/{GROUP}/v1alpha1"
    assert paths == [f"{version}/namespaces/payments/egressgateways", f"{version}/egressgatewayclasses"]
