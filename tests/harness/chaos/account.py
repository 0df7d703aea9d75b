"""What an operator asked of the API server, by the audit log, and what it complained of, by its own log."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.controlplane import ControlPlane
from harness.traffic import USER_AGENT
from harness.wait import eventually

QUIET_SECONDS: Final = 3.0
"""Length of an interval that is compared with the next: the operator's own waits of a change are shorter."""

_WRITES: Final = ("create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests of all operators, answered or refused; those of the Lease left out."""

    writes: Counter[tuple[str, str, str]]
    """By namespace, resource and name."""

    reads: Counter[str]
    """Lists and gets by resource."""

    watches: Counter[str]

    @property
    def written(self) -> int:
        return self.writes.total()


@dataclass(slots=True)
class Account:
    """Requests from the moment at which it is made, or of the last `restart`."""

    plane: ControlPlane
    _from: int = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._from = self.plane.audit_log.stat().st_size

    def read(self) -> Asked:
        """Requests since then."""
        asked = Asked(Counter(), Counter(), Counter())
        for event in self._events():
            reference: Any = event.get("objectRef") or {}
            resource = str(reference.get("resource", ""))
            if resource == "leases" or not str(event.get("userAgent", "")).startswith(USER_AGENT):
                continue
            if event["verb"] in _WRITES and event["stage"] == "ResponseComplete":
                asked.writes[reference.get("namespace", ""), resource, reference.get("name", "")] += 1
            elif event["verb"] == "watch" and event["stage"] == "ResponseStarted":
                asked.watches[resource] += 1
            elif event["verb"] in ("get", "list") and event["stage"] == "ResponseComplete":
                asked.reads[resource] += 1
        return asked

    def _events(self) -> Iterator[dict[str, Any]]:
        with self.plane.audit_log.open("rb") as file:
            file.seek(self._from)
            # The last line may be half written.
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))


def writes_stop(plane: ControlPlane, timeout: float) -> None:
    """
    Wait for two intervals in a row in which no operator writes anything.

    Raises:
        TimeoutError: somebody goes on writing; says what.
    """
    account = Account(plane)

    def interval() -> Asked:
        account.restart()
        passed(QUIET_SECONDS)
        return account.read()

    def quiet() -> bool:
        for _ in range(2):
            asked = interval()
            assert not asked.writes, asked.writes.most_common(5)
        return True

    eventually(quiet, timeout=timeout, what="an end of writes")


def complaints(log: Path, expected: Collection[str] = ()) -> list[str]:
    """Lines of a log that are errors, or hold a trace; `expected` are how messages begin that belong to it."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            # Nothing but a trace of something that does not log, or the half line of a killed process.
            if "Traceback" in line:
                found.append(line)
            continue
        bad = record.get("level") in ("error", "critical") or "exception" in record
        if bad and not record["message"].startswith(tuple(expected)):
            found.append(line)
    return found


def passed(seconds: float) -> None:
    """Let so many seconds pass: for what nothing but time ends."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end, timeout=2 * seconds + 10)
