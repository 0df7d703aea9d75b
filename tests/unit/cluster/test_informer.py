"""An informer against a server that ends, cuts, refuses and forgets watches."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.informer import Informer
from egressgateway.cluster.reflector import OBJECTS_AT_ONCE, Timing
from egressgateway.cluster.store import Change, Store
from egressgateway.refs import CHILD_BY_KIND, NAMESPACE
from unit.cluster.fake_api import FakeApi, eventually, refusal, status

pytestmark = pytest.mark.asyncio
SERVICE = CHILD_BY_KIND["Service"]
QUICK = Timing(first_retry=0.004, longest_retry=0.02, longest_refused_retry=0.02, page_size=3)


class Recorded:
    """An informer with everything that it told."""

    def __init__(self, client: ApiClient, timing: Timing, **options: Any) -> None:
        self.changes: list[Change] = []
        self.restarts: list[str] = []
        self.store = Store()
        self.informer = Informer(
            client,
            options.pop("resource", SERVICE),
            self.store,
            on_change=self.changes.append,
            on_restart=lambda _, why: self.restarts.append(why),
            timing=timing,
            **options,
        )

    @property
    def told(self) -> list[str]:
        """Changes in short: `ADDED web`."""
        return [f"{change.event} {change.object['metadata']['name']}" for change in self.changes]

    @property
    def names(self) -> list[str]:
        return sorted(each["metadata"]["name"] for each in self.store)


@asynccontextmanager
async def running(client: ApiClient, timing: Timing = QUICK, **options: Any) -> AsyncIterator[Recorded]:
    """An informer that works, until the end of the block."""
    recorded = Recorded(client, timing, **options)
    recorded.informer.start()
    try:
        yield recorded
    finally:
        await recorded.informer.stop()


def answering(answer: Callable[[], web.Response], *, watch: bool) -> Callable[[web.Request], Awaitable[Any]]:
    """Answer lists, or watches, so; let the others through."""

    async def intercept(request: web.Request) -> web.Response | None:
        return answer() if ("watch" in request.query) == watch else None

    return intercept


async def test_start_lists_by_pages_then_watches(api: FakeApi, client: ApiClient) -> None:
    """Everything is there once `synced` returns, though it took several pages; then changes come by the watch."""
    for number in range(7):
        api.put("services", "shop", f"s{number}")
    async with running(client, label_selector="a=b") as it:
        await it.informer.synced()
        assert it.names == [f"s{number}" for number in range(7)]
        assert all(change.listed for change in it.changes)
        assert api.count("GET") == 3
        await eventually(lambda: api.watches)
        api.put("services", "shop", "s0", spec={})
        api.delete("services", "shop", "s1")
        api.put("services", "shop", "new")
        await eventually(lambda: len(it.changes) == 10)
        assert it.told[7:] == ["MODIFIED s0", "DELETED s1", "ADDED new"]
        assert not any(change.listed for change in it.changes[7:])
        assert {seen.query["labelSelector"] for seen in api.seen} == {"a=b"}


async def test_listed_object_says_its_kind(api: FakeApi, client: ApiClient) -> None:
    """Lists of built-in kinds leave out the kind; the store does not."""
    api.put("services", "shop", "web")
    async with running(client) as it:
        await it.informer.synced()
        found = it.store.get("shop", "web")
        assert found is not None
        assert (found["apiVersion"], found["kind"]) == ("v1", "Service")


async def test_end_of_watch_resumes_from_the_last_version(api: FakeApi, client: ApiClient) -> None:
    """After the server's time-out nothing is listed again, and nothing is lost or told twice."""
    async with running(client) as it:
        for number in range(3):
            await eventually(lambda: api.watches)
            api.put("services", "shop", f"s{number}")
            await eventually(lambda: len(it.changes) > number)  # noqa: B023  (awaited within the round)
            api.bookmark()
            api.end_watches()
            await eventually(lambda: len(it.restarts) > number)  # noqa: B023
        await eventually(lambda: api.watches)
        assert it.told == ["ADDED s0", "ADDED s1", "ADDED s2"]
        assert api.count("GET") == 1
        versions = [int(seen.query["resourceVersion"]) for seen in api.seen if seen.is_watch]
        assert versions == [100, 102, 104, 106], "each watch starts at the bookmark of the one before"
        assert it.restarts == ["ended"] * 3


async def test_reset_of_watch_loses_nothing(api: FakeApi, client: ApiClient) -> None:
    """What happens while the connection is cut comes with the next one."""
    async with running(client) as it:
        await eventually(lambda: api.watches)
        api.end_watches("reset")
        await eventually(lambda: not api.watches)
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])
        assert it.restarts == ["failed"]
        assert api.count("GET") == 1


async def test_expired_version_lists_again_and_tells_what_vanished(api: FakeApi, client: ApiClient) -> None:
    """After a 410 objects deleted in the gap become DELETED changes; kopf misses these (nolar/kopf, measured)."""
    for name in ("stays", "goes", "changes"):
        api.put("services", "shop", name)
    async with running(client) as it:
        await it.informer.synced()
        await eventually(lambda: api.watches)
        api.intercept = answering(lambda: refusal(500), watch=True)
        api.end_watches()
        await eventually(lambda: not api.watches)
        api.delete("services", "shop", "goes")
        api.put("services", "shop", "changes", spec={})
        api.compact()
        api.intercept = None
        await eventually(lambda: "expired" in it.restarts and api.watches)
        assert sorted(it.told[3:]) == ["DELETED goes", "MODIFIED changes"]
        assert it.names == ["changes", "stays"]


@pytest.mark.parametrize(
    "event", [status(410, "Expired"), status(500, "InternalError"), status(429, retryAfterSeconds=0), {}]
)
async def test_error_event_in_the_stream_heals(api: FakeApi, client: ApiClient, event: dict[str, Any]) -> None:
    """Any ERROR event ends that watch only; with a 410 the informer lists again."""
    async with running(client) as it:
        await eventually(lambda: api.watches)
        api.watches[0].send("ERROR", event)
        await eventually(lambda: len(it.restarts) == 1 and api.watches)
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])
        assert api.count("GET") == (2 if event.get("code") == 410 else 1)


async def test_garbage_in_the_stream_heals(api: FakeApi, client: ApiClient) -> None:
    """A line that is no JSON, and one that is no event, are survived."""
    async with running(client) as it:
        for number, line in enumerate((b"\x00\n", b"[]\n", b'{"type": "ADDED", "object": {}}\n')):
            await eventually(lambda: api.opened > number)  # noqa: B023  (awaited within the round)
            api.watches[-1].queue.put_nowait(line)
            await eventually(lambda: len(it.restarts) > number)  # noqa: B023
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])
        assert it.restarts == ["failed", "crashed", "crashed"]


async def test_watch_that_ends_at_once_makes_no_hot_loop(api: FakeApi, client: ApiClient) -> None:
    """A sick load balancer that answers 200 and closes gets few requests: kopf makes 550 a second."""
    slow = Timing(first_retry=0.01, longest_retry=0.04)
    api.intercept = answering(lambda: web.Response(text=""), watch=True)
    async with running(client, slow) as it:
        started = asyncio.get_running_loop().time()
        await eventually(lambda: len(it.restarts) >= 8)
        elapsed = asyncio.get_running_loop().time() - started
        # The waits are 10, 20, 40, 40… ms, each times at least 0.5.
        assert elapsed >= 0.5 * (0.01 + 0.02 + 5 * 0.04)
        assert api.count("GET", watch=True) <= len(it.restarts) + 1


async def test_silent_watch_is_replaced(api: FakeApi, client: ApiClient) -> None:
    """A half-open connection is given up after the time without a byte, and resumed."""
    async with running(client, Timing(first_retry=0.004, longest_retry=0.02, inactivity=0.03)) as it:
        await eventually(lambda: len(api.seen) >= 3)
        assert [seen.is_watch for seen in api.seen[:3]] == [False, True, True], "resumed, not listed again"
        assert it.restarts[0] == "stalled"
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])


async def test_watch_silent_twice_is_listed_again(api: FakeApi, client: ApiClient) -> None:
    """
    A server behind our version gives no byte, and no error (etcd restored; seen with Kubernetes 1.36).

    The list, with lower versions than what is known, is believed.
    """
    api.version = 5000
    api.put("services", "shop", "lost")
    async with running(client, Timing(first_retry=0.004, longest_retry=0.02, inactivity=0.03)) as it:
        await it.informer.synced()
        api.objects.clear()
        api.history.clear()
        api.version = 100
        api.objects["services", "shop", "kept"] = {
            "metadata": {"namespace": "shop", "name": "kept", "resourceVersion": "90"}
        }
        await eventually(lambda: it.names == ["kept"])
        assert it.restarts[:2] == ["stalled", "stalled"]


async def test_kind_that_is_not_served_is_synced_and_heals(api: FakeApi, client: ApiClient) -> None:
    """A missing CRD holds nobody up; once it is installed its objects are there."""
    api.unserved.add("services")
    async with running(client) as it:
        await it.informer.synced()
        assert not it.informer.state.served
        assert "404 page not found" in it.informer.state.error
        api.unserved.clear()
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])
        assert it.informer.state.served
        assert it.informer.state.error == ""


async def test_kind_that_is_uninstalled_takes_its_objects_with_it(api: FakeApi, client: ApiClient) -> None:
    """When the CRD goes, all of its objects count as deleted."""
    api.put("services", "shop", "web")
    async with running(client) as it:
        await it.informer.synced()
        await eventually(lambda: api.watches)
        api.unserved.add("services")
        api.end_watches()
        await eventually(lambda: it.told == ["ADDED web", "DELETED web"])
        assert not it.informer.state.served
        assert it.names == []


async def test_single_404_takes_nothing_away(api: FakeApi, client: ApiClient) -> None:
    """One stray 404, from a load balancer for example, does not empty the store."""
    answers = iter([True])

    async def once(request: web.Request) -> web.Response | None:
        return web.Response(status=404) if "watch" in request.query and next(answers, False) else None

    api.put("services", "shop", "web")
    api.intercept = once
    async with running(client) as it:
        await eventually(lambda: it.restarts == ["notserved"] and api.watches)
        assert it.told == ["ADDED web"]
        assert it.informer.state.served


async def test_missing_right_is_remembered_and_heals(api: FakeApi, client: ApiClient) -> None:
    """Without the right to list, the informer is not synced, says why, and goes on once it is given."""
    api.intercept = answering(lambda: refusal(403, "Forbidden", "cannot list services"), watch=False)
    async with running(client) as it:
        await eventually(lambda: "forbidden" in it.restarts)
        assert not it.informer.state.synced
        assert "cannot list services" in it.informer.state.error
        api.intercept = None
        await it.informer.synced()
        assert it.informer.state.error == ""


async def test_missing_right_to_an_optional_kind_is_no_obstacle(api: FakeApi, client: ApiClient) -> None:
    """The server asks for rights before it looks whether it knows the kind; both heal by themselves."""
    api.intercept = answering(lambda: refusal(403, "Forbidden", "cannot list services"), watch=False)
    async with running(client, optional=True) as it:
        await it.informer.synced()
        assert not it.informer.state.served
        assert "cannot list services" in it.informer.state.error
        api.put("services", "shop", "web")
        api.intercept = None
        await eventually(lambda: it.told == ["ADDED web"])
        assert it.informer.state.served


async def test_right_that_is_taken_away_and_given_back_ends_in_a_list(api: FakeApi, client: ApiClient) -> None:
    """A watch that merely goes on would not tell its owner that the right is back."""
    async with running(client) as it:
        await it.informer.synced()
        await eventually(lambda: api.watches)
        api.intercept = answering(lambda: refusal(403, "Forbidden"), watch=True)
        api.end_watches()
        await eventually(lambda: it.restarts.count("forbidden") > 1)
        assert api.count("GET") > 1
        api.intercept = None
        await eventually(lambda: api.watches)
        assert it.informer.state.error == ""


async def test_refused_credentials_are_no_missing_right(api: FakeApi, client: ApiClient) -> None:
    """They are renewed, and the watch goes on where it was."""
    async with running(client) as it:
        await it.informer.synced()
        await eventually(lambda: api.watches)
        refusals = iter([refusal(401, "Unauthorized")])

        async def once(request: web.Request) -> web.Response | None:
            return next(refusals, None)

        api.intercept = once
        api.end_watches()
        await eventually(lambda: api.opened == 2)
        assert "forbidden" not in it.restarts
        assert api.count("GET") == 1


async def test_one_object_of_many_is_watched(api: FakeApi, client: ApiClient) -> None:
    """By a field selector; the others are neither listed nor told."""
    api.put("services", "shop", "other")
    async with running(client, namespaces=("shop",), field_selector="metadata.name=web") as it:
        await it.informer.synced()
        await eventually(lambda: api.watches)
        api.put("services", "shop", "other", spec={})
        api.put("services", "shop", "web")
        await eventually(lambda: it.told == ["ADDED web"])
        assert it.names == ["web"]


async def test_server_that_fails_for_a_while_is_survived(api: FakeApi, client: ApiClient) -> None:
    """500, 429 with a time, and a reset while listing: the list comes when it can, once."""
    api.put("services", "shop", "web")
    faults = iter([refusal(500), refusal(429, headers={"Retry-After": "0.01"}), None, refusal(503)])

    async def fail(request: web.Request) -> web.Response | None:
        fault = next(faults, "done")
        if fault is None and request.transport is not None:
            request.transport.abort()
            return web.Response()
        return fault if isinstance(fault, web.Response) else None

    api.intercept = fail
    async with running(client) as it:
        await it.informer.synced()
        assert it.told == ["ADDED web"]
        # One of the four may have been repeated by aiohttp itself: a GET on a connection that it had kept.
        assert it.restarts.count("failed") in (3, 4)


async def test_expired_page_is_followed_by_one_list_of_everything(api: FakeApi, client: ApiClient) -> None:
    """When the pages take longer than the server keeps their version, the whole is asked for at once."""
    for number in range(7):
        api.put("services", "shop", f"s{number}")

    async def expire(request: web.Request) -> web.Response | None:
        return refusal(410, "Expired") if "continue" in request.query else None

    api.intercept = expire
    async with running(client) as it:
        await it.informer.synced()
        assert len(it.names) == 7
        assert "limit" not in api.seen[2].query
        assert it.restarts == []


async def test_own_write_is_not_told_again(api: FakeApi, client: ApiClient) -> None:
    """Who puts the answer to a write into the store hears no echo of it."""
    async with running(client) as it:
        await eventually(lambda: api.watches)
        it.store.put(api.put("services", "shop", "web") | {})
        api.put("services", "shop", "other")
        await eventually(lambda: it.told)
        assert it.told == ["ADDED other"]


async def test_failing_handler_does_not_stop_the_informer(
    api: FakeApi, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the consumer of one change costs that change, and is logged; the others are told."""
    told: list[str] = []

    def handler(change: Change) -> None:
        name = change.object["metadata"]["name"]
        if name == "bad":
            raise KeyError("bug")
        told.append(name)

    for name in ("a", "bad", "c"):
        api.put("services", "shop", name)
    informer = Informer(client, SERVICE, Store(), on_change=handler, timing=QUICK)
    informer.start()
    await informer.synced()
    assert told == ["a", "c"]
    assert "Handler of a change failed" in caplog.text
    assert informer.state.restarts == 0
    await informer.stop()


async def test_several_namespaces_are_watched_apart(api: FakeApi, client: ApiClient) -> None:
    """With a list of namespaces only those are asked for; the store holds them together."""
    for namespace in ("one", "two", "three"):
        api.put("services", namespace, "web")
    async with running(client, namespaces=("one", "two")) as it:
        await it.informer.synced()
        await eventually(lambda: len(api.watches) == 2)
        api.delete("services", "one", "web")
        api.put("services", "three", "other")
        await eventually(lambda: len(it.changes) == 3)
        assert [each["metadata"]["namespace"] for each in it.store] == ["two"]


async def test_cluster_scoped_kind_ignores_the_namespaces(api: FakeApi, client: ApiClient) -> None:
    """Namespaces themselves are in no namespace."""
    async with running(client, resource=NAMESPACE, namespaces=("one", "two")) as it:
        await it.informer.synced()
        assert [seen.path for seen in api.seen if not seen.is_watch] == ["/api/v1/namespaces"]


async def test_state_tells_life_and_silence(api: FakeApi, client: ApiClient) -> None:
    """The probes see an informer that has not started, that works, and that was stopped."""
    it = Recorded(client, QUICK)
    assert (it.informer.state.alive, it.informer.state.silent_seconds) == (False, None)
    it.informer.start()
    await it.informer.synced()
    assert it.informer.state.alive
    assert it.informer.state.silent_seconds is not None
    await it.informer.stop()
    assert not it.informer.state.alive
    await eventually(lambda: not api.watches)


async def test_others_have_their_turn_while_a_long_list_is_taken_over(api: FakeApi, client: ApiClient) -> None:
    """Who is told of a change may look at thousands of objects for it: thousands of changes must not come at once."""
    count = 10 * OBJECTS_AT_ONCE
    for number in range(count):
        api.put("services", "shop", f"s{number}")
    async with running(client, Timing(page_size=count)) as it:
        told: list[int] = []

        async def look() -> None:
            while len(it.changes) < count:
                told.append(len(it.changes))
                await asyncio.sleep(0)

        await asyncio.wait_for(look(), 30)
        steps = [after - before for before, after in itertools.pairwise(told)]
        assert max(steps) <= OBJECTS_AT_ONCE
        assert told[-1] >= count - OBJECTS_AT_ONCE
