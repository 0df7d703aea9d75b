"""The largest object that may be: a pass over it must not keep the event loop from everybody else."""

from __future__ import annotations

import asyncio

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
