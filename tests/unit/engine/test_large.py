"""The largest object that may be: a pass over it must not keep the event loop from everybody else."""

from __future__ import annotations

import asyncio

from egressgateway.cluster.request import Request
from egressgateway.engine.reconcile.state import WRITES_AT_ONCE
from egressgateway.refs import Manifest
from unit.engine.simulation import KEY, World

MOST_BETWEEN_TURNS = 64


def test_a_pass_over_many_children_gives_others_their_turn() -> None:
    """The Lease is renewed, probes are answered and other objects are served on the same loop."""
    hosts = [[f"h{host}.d{number}.example.com" for host in range(16)] for number in range(16)]
    ports = [{"port": 443, "protocol": "TLS"}]
    world = World({"destinations": [{"name": f"d{n}", "hosts": each, "ports": ports} for n, each in enumerate(hosts)]})
    turns, before_writes = 0, list[int]()
    world.server.before = lambda ref: before_writes.append(turns)

    async def counted() -> None:
        nonlocal turns

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        await world.reconciler.reconcile(KEY)
        task.cancel()

    world.loop.run_until_complete(counted())
    children = len(world.live)
    world.close()
    assert children > 4 * MOST_BETWEEN_TURNS
    assert before_writes[0] >= children // MOST_BETWEEN_TURNS


def test_a_pass_makes_only_so_many_writes_at_once() -> None:
    """All calls share one line to the API server: a thousand writes of one object stood before everybody else's."""
    hosts = [f"h{number}.example.com" for number in range(16)]
    world = World({"destinations": [{"name": "d", "hosts": hosts, "ports": [{"port": 443, "protocol": "TLS"}]}]})
    send, under_way, most = world.server.send, 0, 0

    async def slow(request: Request, *, urgent: bool = False) -> Manifest | None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await send(request, urgent=urgent)

    world.server.send = slow  # type: ignore[method-assign]  # the same, seen while it runs
    world.settle()
    children = len(world.live)
    world.close()
    assert children > 2 * WRITES_AT_ONCE
    assert most == WRITES_AT_ONCE
