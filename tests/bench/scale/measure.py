"""The measurements of one size, in a process that has done nothing else: its memory is what the operator takes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.scale.build import read
from bench.scale.events import Event, events
from bench.scale.internals import Counts, counting
from bench.scale.mix import Kind, Mix
from bench.scale.replica import Cost, Replica

MOST_START_CPU: Final = 120.0
MOST_EVENT_CPU: Final = 10.0
"""CPU seconds after which the passes that still wait are estimated from those that were made."""


@dataclass(frozen=True, slots=True)
class Figures:
    """
    Of one size. Bytes are those of the process: the interpreter, its modules, and all that the operator keeps.

    Attributes:
        filled: from the first list to the lead.
        start: from there until every object is judged; `memory` after it.
        metrics: one scrape.
    """

    filled: Cost
    start: Cost
    memory: int
    metrics: Cost
    events: list[tuple[Event, Cost]]


def measure(mix: Mix, path: Path, say: Callable[[str], None]) -> Figures:
    """Start one replica beside the cluster in `path`, and let everything happen to it."""
    gc.collect()
    base = _resident_bytes()
    counts = Counts()
    replica = Replica(counts)
    for plural, manifest in mix.surroundings():
        replica.server.put(plural, manifest)
    replica.server.load(read(path))
    gc.collect()
    # The operator's collections must not visit what is the API server's.
    gc.freeze()
    of_the_server = _resident_bytes() - base
    with counting(counts):
        say(f"{mix.size}: start")
        filled = replica.fill()
        listed = _resident_bytes()
        start = replica.judge_all(most_cpu=MOST_START_CPU)
        grown = _resident_bytes() - listed
        judged = mix.size.objects - start.left
        memory = listed + grown * mix.size.objects // max(1, judged) - of_the_server
        if start.left:
            # What happens next happens to these; and the one in the crowd is as dear as a thousand others.
            replica.judge(each.key for each in mix.objects if each.kind in _SUBJECTS)
            replica.show_all()
        scrape = replica.cost_of(replica.scrape)
        found = []
        for event, act in events(mix):
            say(f"{mix.size}: {event.name}")
            found.append((event, replica.cost_of(partial(act, replica), most_cpu=MOST_EVENT_CPU)))
    replica.close()
    return Figures(filled, start, memory, scrape, found)


_SUBJECTS: Final = (Kind.SECRET, Kind.CROWD, Kind.RIVAL)


def _resident_bytes() -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) * 1024
