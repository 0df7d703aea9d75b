"""When istiod and its proxies count as in step."""

from __future__ import annotations

import pytest

from harness.mesh.sync import QUIET, STANDSTILL, Sync
from harness.rest import Object


def proxy(sent: str, acked: str) -> Object:
    return {"proxy": "app.shop", "route_sent": sent, "route_acked": acked}


def settled_after(looks: list[tuple[float, Object]]) -> Sync:
    """A `Sync` that looked at these times, each time but for the last in vain."""
    times, states = (iter(part) for part in zip(*looks, strict=True))
    sync = Sync(lambda: [next(states)], lambda: None, lambda: next(times))
    for _ in looks[:-1]:
        with pytest.raises(LookupError):
            sync.is_settled()
    assert sync.is_settled()
    return sync


def test_everything_is_acknowledged_and_nothing_new_comes() -> None:
    sync = settled_after(
        [(0, proxy("a", "")), (1, proxy("a", "a")), (1 + QUIET / 2, proxy("a", "a")), (2, proxy("a", "a"))]
    )
    assert sync.missed == []


def test_each_push_begins_the_wait_anew() -> None:
    moved = QUIET / 2
    settled_after(
        [(0, proxy("a", "a")), (moved, proxy("b", "b")), (QUIET, proxy("b", "b")), (2 * QUIET, proxy("b", "b"))]
    )


def test_missed_acknowledgement_is_asked_for_by_another_push_and_reported() -> None:
    """Only a proxy that acknowledges that push is in step."""
    now, states, pushes = [0.0], [proxy("b", "a")], []
    sync = Sync(lambda: list(states), lambda: pushes.append(now[0]), lambda: now[0])
    for at, pushed in ((0.0, 0), (STANDSTILL - 1, 0), (STANDSTILL, 1), (STANDSTILL + 1, 1), (2 * STANDSTILL, 2)):
        now[0] = at
        with pytest.raises(LookupError, match=r"route of app\.shop"):
            sync.is_settled()
        assert len(pushes) == pushed
    states[:] = [proxy("c", "c")]
    with pytest.raises(LookupError):
        sync.is_settled()
    now[0] += QUIET
    assert sync.is_settled()
    assert set(sync.missed) == {"route of app.shop"}
