"""
What the engine remembers of each EgressGateway between two reconciles: times of writes, and what was written.

Nothing here is needed for correctness: after a restart the times count from the start, and everything else is read
from the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from egressgateway.diff.changeset import Compared, Written
from egressgateway.refs import Key, ObjectRef


@dataclass(slots=True)
class Progress:
    """Memory of one EgressGateway. Times are seconds of the event loop's clock."""

    gateway_written_at: float
    clients_written_at: float
    first_ready_at: float | None = None
    written: dict[ObjectRef, Written] = field(default_factory=dict)
    compared: Compared = field(default_factory=dict)


class Memory:
    """Progress by key. `now` is read when a key is first seen: for all we know, everything was written just then."""

    def __init__(self) -> None:
        self._progress: dict[Key, Progress] = {}

    def of(self, key: Key, now: float) -> Progress:
        progress = self._progress.get(key)
        if progress is None:
            progress = self._progress[key] = Progress(now, now)
        return progress

    def forget(self, key: Key) -> None:
        self._progress.pop(key, None)
