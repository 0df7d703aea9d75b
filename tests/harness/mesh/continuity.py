"""
What an event costs the requests that are under way: a client at a steady rate.

    with Traffic(client, "http://api.example.com/") as traffic:
        …                               the event
    report = traffic.report()           requests, lost, direct

What a status says meanwhile, and whether it is true, is in `detector`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.mesh.clients import Client
from harness.mesh.layout import twin_of
from harness.wait import eventually

LOAD: Final = Path(__file__).with_name("load.py")
RATE: Final = 100.0
"""Requests a second."""


class Way(StrEnum):
    """How a request left, by the address from which the server outside was reached."""

    GATEWAY = "by a gateway"
    DIRECT = "past every gateway"
    REFUSED = "nowhere"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    at: float
    """When it was sent, in seconds since the epoch."""

    outcome: str
    """The status, or the name of the error."""

    peer: str
    milliseconds: float
    url: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == "200"


@dataclass(frozen=True, slots=True)
class Report:
    """All requests of a while. `own` is the client's address: a server that sees it was reached past every gateway."""

    own: str
    samples: tuple[Sample, ...]

    @property
    def lost(self) -> Counter[str]:
        """Failed requests by what came instead."""
        return Counter(each.outcome for each in self.samples if not each.ok)

    def way(self, sample: Sample) -> Way:
        """How a request left. A server that answered has seen it, whatever its answer was."""
        if sample.peer == "-":
            return Way.REFUSED
        return Way.DIRECT if sample.peer in (self.own, twin_of(self.own)) else Way.GATEWAY

    @property
    def direct(self) -> int:
        return sum(self.way(each) is Way.DIRECT for each in self.samples)

    @property
    def through(self) -> int:
        """Requests that were answered, and that the server had from another address than the client's."""
        return sum(self.served(each) for each in self.samples)

    def served(self, sample: Sample) -> bool:
        """Whether a request left through a gateway and was answered with success."""
        return sample.ok and self.way(sample) is Way.GATEWAY

    def cost(self, *, closed: bool) -> Report:
        """
        What an event cost. `closed`: what is not known is refused, so that a request past the gateway is wrong at any
        time, and a failure only between the first and the last that took it; else it is the other way round.
        """
        steered = self.steered().samples
        inner = frozenset(steered)
        wrong = (self.way(each) is Way.DIRECT if closed else not each.ok for each in self.samples)
        kept = (each for each, is_wrong in zip(self.samples, wrong, strict=True) if each in inner or is_wrong)
        return Report(self.own, tuple(kept))

    def steered(self) -> Report:
        """
        From the first to the last request that left through a gateway: what came before and after may rightly be
        otherwise.
        """
        through = [index for index, each in enumerate(self.samples) if self.served(each)]
        kept = self.samples[through[0] : through[-1] + 1] if through else ()
        return Report(self.own, kept)

    def since(self, moment: float) -> Report:
        """What was sent from a moment on."""
        return Report(self.own, tuple(each for each in self.samples if each.at >= moment))

    def moments(self) -> list[str]:
        """Each loss, with the second of this report in which it was sent, and how long it took."""
        if not self.samples:
            return []
        begin, length = self.samples[0].at, self.samples[-1].at - self.samples[0].at
        return [
            f"{each.outcome} at {each.at - begin:.2f} of {length:.2f} s, after {each.milliseconds:.0f} ms"
            for each in self.samples
            if not each.ok
        ]

    def line(self, event: str) -> str:
        """A line of the table."""
        lost = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(self.lost.items())) or "0"
        return f"{event:72} {len(self.samples):6} requests, lost {lost}, direct {self.direct}"


class Traffic:
    """Requests of a client to one URL or several, each at `rate`, for as long as the `with` block lasts."""

    def __init__(self, client: Client, *urls: str, rate: float = RATE) -> None:
        self._client = client
        self._argv = client.netns.inside(sys.executable, "-E", str(LOAD), str(rate), *urls)
        self._directory = tempfile.TemporaryDirectory(prefix="traffic-")
        self._output = Path(self._directory.name) / "samples"
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._output.open("wb") as output, self._output.with_name("errors").open("wb") as errors:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )
        self.wait_for(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            code = self._process.wait(timeout=30)
            self._samples = tuple(self.samples())
            said = self._errors()
        finally:
            self._directory.cleanup()
        assert code == 0 or kind, f"the load ended with {code}: {said}"

    def samples(self) -> Iterator[Sample]:
        """What was noted so far, in the order of sending."""
        lines = (line.split() for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n"))
        found = (Sample(float(at), outcome, peer, float(took), url) for at, outcome, peer, took, url in lines)
        return iter(sorted(found, key=lambda each: each.at))

    def _errors(self) -> str:
        return self._output.with_name("errors").read_text(errors="replace")

    def wait_for(self, count: int, *, ok: bool | None = None) -> None:
        """Return once that many more requests have been noted; with `ok`, of those that succeeded or did not."""
        since = time.time()

        def enough() -> bool:
            assert self._process.poll() is None, f"the load has ended: {self._errors()}"
            return sum(each.at >= since and ok in (None, each.ok) for each in self.samples()) >= count

        eventually(enough, what=f"{count} more requests")

    def report(self, url: str = "") -> Report:
        """What came of the requests, or of those to one URL; to be asked for after the block."""
        kept = (each for each in self._samples if url in ("", each.url))
        return Report(self._client.address, tuple(kept))
