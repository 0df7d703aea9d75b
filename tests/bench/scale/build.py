"""
Children and statuses of every object, made by the operator itself: a cluster in which all has been done.

In parts, because some of what the operator does for one object grows with the number of all of them. Rivals are in one
part, and each part has all namespaces.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from bench.scale.internals import EGRESS_GATEWAY, Counts, counting
from bench.scale.mix import Kind, Mix, Wanted
from bench.scale.replica import Replica

PART: Final = 250
"""Objects."""

PROCESSES: Final = 2


@dataclass(frozen=True, slots=True)
class Built:
    """What the operator made of one part, and what that cost it."""

    objects: int
    ready: int
    children: int
    passes: int
    cpu: float


def build(mix: Mix, path: Path, say: Callable[[str], None]) -> list[Built]:
    """
    Write what the operator makes of every object to `path`, a line each, unless it is there already.

    As long as children stay as they are, what an older operator built will do; else the start writes.
    """
    figures = path.with_suffix(".json")
    if figures.exists():
        return [Built(**each) for each in orjson.loads(figures.read_bytes())]
    parts = list(sections_of(mix))
    done: list[Built] = []
    context = multiprocessing.get_context("spawn")
    with path.open("wb") as file, ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        for built, stored in pool.map(build_part, [mix] * len(parts), parts):
            for plural, body in stored:
                file.write(plural.encode() + b" " + body + b"\n")
            done.append(built)
            say(f"building {mix.size}: {sum(each.objects for each in done):,} objects")
    figures.write_bytes(orjson.dumps(done))
    return done


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """What `build` wrote."""
    with path.open("rb") as file:
        for line in file:
            plural, _, body = line.rstrip(b"\n").partition(b" ")
            yield plural.decode(), body


def sections_of(mix: Mix) -> Iterator[tuple[Wanted, ...]]:
    peaceful = [each for each in mix.objects if each.kind not in (Kind.RIVAL, Kind.CROWD)]
    for begin in range(0, len(peaceful), PART):
        yield tuple(peaceful[begin : begin + PART])
    rivals = tuple(mix.objects[len(peaceful) :])
    if rivals:
        yield rivals


def build_part(mix: Mix, part: tuple[Wanted, ...]) -> tuple[Built, list[tuple[str, bytes]]]:
    """What the operator makes of some objects that are there alone."""
    counts = Counts()
    replica = Replica(counts)
    with counting(counts):
        for plural, manifest in mix.surroundings():
            replica.server.put(plural, manifest)
        replica.fill()
        replica.judge_all()
        cpu, passes = serve(replica, part)
    stored, ready, objects = list(replica.server.dump_written()), len(replica.ready()), len(part)
    replica.close()
    return Built(objects, ready, len(stored) - objects, passes, cpu), stored


def serve(replica: Replica, wanted: Iterable[Wanted]) -> tuple[float, int]:
    """Create objects, late ones last, and wait until they are served; CPU seconds and passes."""
    wanted = tuple(wanted)
    cpu, passes = 0.0, 0
    for late in (False, True):
        now = [each for each in wanted if each.late is late]
        if now:
            cost = replica.cost_of(partial(create, replica, now))
            cpu, passes = cpu + cost.cpu, passes + cost.passes
    return cpu, passes


def create(replica: Replica, wanted: Iterable[Wanted]) -> None:
    """Create objects, all at once."""
    for each in wanted:
        replica.server.put(EGRESS_GATEWAY.plural, each.manifest)
