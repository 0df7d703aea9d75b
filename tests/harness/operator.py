"""The operator as a process of its own, as a cluster runs it: to start, stop, kill and ask."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.proxypages import ADDRESS_FILE
from harness.release import GATEWAY_ROLE
from harness.wait import START, eventually

QUICK: Final = ("--lease-seconds", "3", "--push-grace-seconds", "0.3")
"""For tests of the election: another takes over in seconds, and a machine that stalls for two of them ends a lead."""

_LABEL: Final = re.compile(r'[a-zA-Z_]\w*="(?:[^"\\]|\\.)*"')


def _as_it_is(*argv: str) -> list[str]:
    return list(argv)


@dataclass(frozen=True, slots=True)
class Within:
    """A network to run in: the command that enters it, and the address at which its processes are reached."""

    enter: Callable[..., list[str]] = _as_it_is
    host: str = "127.0.0.1"


class OperatorProcess:
    """
    `egressgw run` against one kubeconfig, that of `release.operator_kubeconfig` as a rule, with its log in a file.

    It waits for the mesh shortly, so that tests need not; its lease is that of a cluster.
    """

    def __init__(self, kubeconfig: Path, log: Path, *flags: str, within: Within | None = None) -> None:
        """`within`: another network than this process's."""
        self._within = within or Within()
        self.kubeconfig = kubeconfig
        self.log = log
        self._flags: Sequence[str] = flags or ("--push-grace-seconds", "0.3")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start it; with `wait` return once it has read everything (it need not lead)."""
        argv = [sys.executable, "-m", "egressgateway", "run"]
        argv += ["--metrics-host", self._within.host, "--metrics-port", "0"]
        argv += ["--gateway-cluster-role", GATEWAY_ROLE, *self._through_proxy()]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._within.enter(*argv, *self._flags),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            try:
                eventually(self.is_ready, timeout=START, what="the operator's readiness")
            except BaseException:
                # Whoever could not be started is not there to be stopped.
                self.kill()
                raise
        return self

    def _through_proxy(self) -> list[str]:
        """Fake pods are asked through the proxy of their kubelet; real ones at their addresses."""
        address = self.kubeconfig.with_name(ADDRESS_FILE)
        return ["--pods-proxy", address.read_text()] if address.exists() else []

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """
        Whether /readyz says so.

        Raises:
            RuntimeError: the process has ended.
        """
        if not self.running:
            raise RuntimeError(f"the operator ended:\n{self.tail()}")
        return self.answers("/readyz")

    def answers(self, path: str) -> bool:
        """Whether a probe is answered with 200."""
        try:
            return bool(self.get(path))
        except (OSError, LookupError):
            return False

    def get(self, path: str) -> str:
        """
        What its HTTP server answers.

        Raises:
            LookupError: it has not said its port yet.
            urllib.error.HTTPError: another answer than 200.
        """
        with urllib.request.urlopen(f"http://{self._within.host}:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    @property
    def port(self) -> int:
        """Port of its HTTP server, from its log."""
        found = re.findall(r'"port": ?(\d+)', self.log.read_text(errors="replace"))
        if not found:
            raise LookupError("the operator has not said its port")
        # The last one: when kopf gives up, everything begins anew in the same process.
        return int(found[-1])

    def metric(self, line: str) -> float:
        """Value of one series, named as in the text format, its labels in any order; 0 when it is not there."""
        return self._series().get(_with_sorted_labels(line), 0.0)

    def total(self, name: str) -> float:
        """Sum of all series of one counter."""
        return _sum(self._series(), name)

    @property
    def leads(self) -> bool:
        """Whether this replica is the one that writes."""
        return self.metric("egressgateway_leader") == 1

    def is_idle(self, reconciles: int = 0, *, later: int = 0) -> bool:
        """
        Whether nothing is queued, under way or due later, after at least that many reconciles.

        `later`: how many objects are to be looked at again in days to come, when something of theirs expires.
        """
        series = self._series()
        busy = any(series[f"egressgateway_queue_{name}"] for name in ("depth", "processing"))
        busy = busy or series["egressgateway_queue_delayed"] > later
        return not busy and _sum(series, "egressgateway_reconcile_total") >= reconciles

    def _series(self) -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#"))
        return {_with_sorted_labels(name): float(value) for name, value in lines}

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is given back."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM and wait; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(timeout=30)

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _with_sorted_labels(series: str) -> str:
    name, brace, labels = series.partition("{")
    return name + brace + ",".join(sorted(_LABEL.findall(labels))) + "}" * bool(brace)


def _sum(series: dict[str, float], name: str) -> float:
    return sum(value for key, value in series.items() if key.split("{", 1)[0] == name)
