"""
What an event costs the requests that are under way: a client at a steady rate, and a watch over what the status says
meanwhile.

    with Traffic(client, "http://api.example.com/") as traffic:
        …                               the event
    report = traffic.report()           requests, lost, direct
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import urllib3

from egressgateway.refs import EGRESS_GATEWAY
from harness.background import Background
from harness.mesh.clients import Client
from harness.rest import ApiError, Object, Rest
from harness.wait import eventually

LOAD: Final = Path(__file__).with_name("load.py")
RATE: Final = 100.0
"""Requests a second."""

LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    at: float
    """When it was sent, in seconds since the epoch."""

    outcome: str
    """The status, or the name of the error."""

    peer: str
    milliseconds: float

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

    @property
    def direct(self) -> int:
        return sum(each.peer == self.own for each in self.samples)

    @property
    def through(self) -> int:
        """Requests that were answered, and that the server had from another address than the client's."""
        return sum(each.ok and each.peer not in (self.own, "-") for each in self.samples)

    def cost(self, *, closed: bool) -> Report:
        """
        What an event cost. `closed`: what is not known is refused, so that a request past the gateway is wrong at any
        time, and a failure only between the first and the last that took it; else it is the other way round.
        """
        steered = self.steered().samples
        inner = frozenset(steered)
        kept = (each for each in self.samples if each in inner or (each.peer == self.own if closed else not each.ok))
        return Report(self.own, tuple(kept))

    def steered(self) -> Report:
        """
        From the first to the last request that left through a gateway: what came before and after may rightly be
        otherwise.
        """
        through = [index for index, each in enumerate(self.samples) if each.ok and each.peer not in (self.own, "-")]
        kept = self.samples[through[0] : through[-1] + 1] if through else ()
        return Report(self.own, kept)

    def since(self, moment: float) -> Report:
        """What was sent from a moment on."""
        return Report(self.own, tuple(each for each in self.samples if each.at >= moment))

    @property
    def lag(self) -> float:
        """The longest time, in seconds, that this machine did not even send: how late anything here may be."""
        times = [each.at for each in self.samples]
        return max((after - before for before, after in pairwise(times)), default=0.0)

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
    """Requests of a client to one URL for as long as the `with` block lasts."""

    def __init__(self, client: Client, url: str, rate: float = RATE) -> None:
        self._client = client
        self._argv = client.netns.inside(sys.executable, "-E", str(LOAD), url, str(rate))
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
            self._report = Report(self._client.address, tuple(self.samples()))
            said = self._output.with_name("errors").read_text(errors="replace")
        finally:
            self._directory.cleanup()
        assert code == 0 or kind, f"the load ended with {code}: {said}"

    def samples(self) -> Iterator[Sample]:
        """What was noted so far, in the order of sending."""
        lines = (line.split() for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n"))
        found = (Sample(float(at), outcome, peer, float(took)) for at, outcome, peer, took in lines)
        return iter(sorted(found, key=lambda each: each.at))

    def wait_for(self, count: int, *, ok: bool | None = None) -> None:
        """Return once that many more requests have been noted; with `ok`, of those that succeeded or did not."""
        since = time.time()

        def enough() -> bool:
            assert self._process.poll() is None, "the load has ended"
            return sum(each.at >= since and ok in (None, each.ok) for each in self.samples()) >= count

        eventually(enough, what=f"{count} more requests")

    def report(self) -> Report:
        """What came of the requests; to be asked for after the block."""
        return self._report


@dataclass(frozen=True, slots=True)
class Stand:
    """
    What the status of an object said from a moment on; conditions of the object by type, of its destinations by
    `name/type`.
    """

    at: float
    conditions: dict[str, str]


class StatusWatch(Background):
    """
    Notes what the status of one EgressGateway says for as long as the `with` block lasts, with the time of this
    machine.
    """

    def __init__(self, kubeconfig: Path, namespace: str, name: str) -> None:
        super().__init__("status watch")
        self._rest = Rest(kubeconfig)
        self._path = EGRESS_GATEWAY.path(namespace, name)
        self.stands: list[Stand] = []

    def finish(self) -> None:
        self._rest.close()

    def work(self) -> None:
        """Look again and again."""
        # Asked again and again, not watched: what was true for less than that nobody could have acted on.
        while not self.ended.wait(LOOK_SECONDS):
            found: dict[str, str] = {}
            at = time.time()
            try:
                found = _conditions(self._rest.get(self._path).get("status") or {})
            except ApiError as error:
                if error.code != 404:
                    continue
            except urllib3.exceptions.HTTPError:
                continue
            if not self.stands or self.stands[-1].conditions != found:
                self.stands.append(Stand(at, found))


def lies(report: Report, stands: Iterable[Stand], condition: str, tolerance_seconds: float) -> list[str]:
    """
    Moments at which a condition was True while requests failed or went past the gateway for longer than
    `tolerance_seconds`, or False while they were answered through it as long. Unknown is no claim.

    What the machine itself was late by, as the gaps between requests show, is nobody's fault. Only stretches within one
    stand count: what the status said after the change has as long to be true.
    """
    found = []
    listed = list(stands)
    for stand, following in zip(listed, [*listed[1:], None], strict=True):
        end = following.at if following else float("inf")
        claim = stand.conditions.get(condition, "False")
        if claim == "Unknown":
            continue
        says = claim == "True"
        during = [each for each in report.samples if stand.at <= each.at < end]
        right = [each.ok and each.peer != report.own for each in during]
        wrong = _longest_stretch([each.at for each in during], [each is not says for each in right])
        if wrong > tolerance_seconds + report.lag:
            did = "did not take the gateway" if says else "took the gateway"
            found.append(f"{condition}={says} for {wrong:.2f} s while requests {did}")
    return found


def _longest_stretch(times: list[float], flags: list[bool]) -> float:
    """Seconds between the first and the last of the longest run of true flags."""
    longest, start = 0.0, None
    for at, flag in zip(times, flags, strict=True):
        start = (at if start is None else start) if flag else None
        if start is not None:
            longest = max(longest, at - start)
    return longest


def _conditions(status: Object) -> dict[str, str]:
    found = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    for part in status.get("destinations") or ():
        found |= {f"{part['name']}/{each['type']}": each["status"] for each in part["conditions"]}
    return found
