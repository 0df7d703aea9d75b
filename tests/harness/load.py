"""
Requests of a real pod at a steady rate, from its own network: what came of each is what the program `pod load`
(tests/tools/pod) says.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.cluster import Cluster
from harness.wait import eventually

RATE: Final = 20.0
"""Requests a second."""

_END_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """One request."""

    at: float
    """When it was sent, in seconds since the epoch."""

    outcome: str
    """The status, or the error."""

    peer: str
    """From where the server was reached, by its word; `-` where it was not."""

    milliseconds: float
    tries: int


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all requests."""

    samples: tuple[Sample, ...]

    @property
    def lost(self) -> Counter[str]:
        """Requests without a proper answer, by what came instead."""
        return Counter(each.outcome for each in self.samples if each.outcome != "200")

    @property
    def retried(self) -> int:
        """Requests that were answered only when they were made once more."""
        return sum(each.tries > 1 and each.outcome == "200" for each in self.samples)

    def peers(self) -> set[str]:
        """Addresses from which the server was reached."""
        return {each.peer for each in self.samples if each.outcome == "200"}

    def __str__(self) -> str:
        lost = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(self.lost.items())) or "0"
        slowest = max((each.milliseconds for each in self.samples), default=0)
        return f"{len(self.samples)} requests, lost {lost}, retried {self.retried}, slowest {slowest:.0f} ms"


class Load:
    """Requests of a container to one URL for as long as the `with` block lasts."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        pod: str,
        url: str,
        *,
        rate: float = RATE,
        keep: bool = False,
        retries: int = 0,
    ) -> None:
        """`keep`: connections are used again. `retries`: how often a failed request is made once more."""
        kubectl = [str(cluster.kubectl_binary), "--kubeconfig", str(cluster.kubeconfig)]
        target = ["exec", "--stdin", "--namespace", namespace, pod, "--container", "client", "--"]
        flags = ["-rate", str(rate), "-retries", str(retries), *(["-keep"] if keep else [])]
        self._argv = [*kubectl, *target, "/pod", "load", *flags, url]
        self._directory = tempfile.TemporaryDirectory(prefix="load-")
        self._output = Path(self._directory.name) / "samples"
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._output.open("wb") as output, self._output.with_name("errors").open("wb") as errors:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=output, stderr=errors)
        self.wait_for(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The program ends with its input, once the last answers are there.
        assert self._process.stdin
        self._process.stdin.close()
        try:
            code = self._process.wait(timeout=_END_SECONDS)
            self.report = Report(tuple(self.samples()))
            said = self._output.with_name("errors").read_text(errors="replace")
        finally:
            self._process.kill()
            self._process.wait()
            self._directory.cleanup()
        assert code == 0 or kind, f"the load ended with {code}: {said}"

    def samples(self) -> Iterable[Sample]:
        """What was noted so far, in the order of sending."""
        lines = (line.split() for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n"))
        found = [Sample(float(at), what, peer, float(took), int(tries)) for at, what, peer, took, tries in lines]
        return sorted(found, key=lambda each: each.at)

    def wait_for(self, count: int) -> None:
        """Return once that many more requests have been answered."""
        before = self._answered()

        def enough() -> bool:
            if self._process.poll() is not None:
                raise RuntimeError(f"the load ended: {self._output.with_name('errors').read_text(errors='replace')}")
            return self._answered() >= before + count

        eventually(enough, what=f"{count} more answers")

    def _answered(self) -> int:
        return sum(each.outcome == "200" for each in self.samples())
