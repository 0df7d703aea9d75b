"""
When writes were under way, by the API server's audit log: the same clock for the operator and for the bare loop.

The operator has to wait: clients are steered only once a pod is ready and the mesh has been told. With many objects
those waits overlap with work; what is left of them, at the end, is no slowness. So both sides are measured over the
time in which they were busy: from the first write to the last, without pauses longer than `PAUSE`. Shorter ones
count, as they are what the operator needs to think.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.controlplane import ControlPlane

PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Timeline:
    """Writes of one side: how many, over how long, and for how long of it busy."""

    writes: int
    wall_seconds: float
    busy_seconds: float


def measure(plane: ControlPlane, agents: tuple[str, ...], begin: int) -> Timeline:
    """The timeline of writes by user agents that begin so, from the audit log's line `begin` on."""
    spans = []
    for number, event in enumerate(plane.audit_events()):
        if number >= begin and event.get("stage") == "ResponseComplete" and _counts(event, agents):
            spans.append((_seconds(event["requestReceivedTimestamp"]), _seconds(event["stageTimestamp"])))
    return timeline(spans)


def lines(plane: ControlPlane) -> int:
    """Lines of the audit log so far."""
    return sum(1 for _ in plane.audit_events())


def timeline(spans: Iterable[tuple[float, float]]) -> Timeline:
    """From begin and end of each write."""
    ordered = sorted(spans)
    paused = 0.0
    latest = ordered[0][0]
    for begin, end in ordered:
        if begin - latest > PAUSE_SECONDS:
            paused += begin - latest
        latest = max(latest, end)
    wall = latest - ordered[0][0]
    return Timeline(len(ordered), wall, wall - paused)


def _counts(event: dict[str, Any], agents: tuple[str, ...]) -> bool:
    reference = event.get("objectRef") or {}
    return (
        event["verb"] in ("create", "update", "patch", "delete")
        and str(event.get("userAgent", "")).startswith(agents)
        and reference.get("resource") not in ("leases", "events")
    )


def _seconds(stamp: Any) -> float:
    return datetime.fromisoformat(str(stamp)).timestamp()
