"""
One hostile tenant at his worst beside others: what it costs them, and whether the operator stays within its limits.

The tenant has the role `edit` and Istio's kinds in a namespace of his own. His attacks pile up: none of them is taken
back before the next one, and at the end the operator starts anew with all of them there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from urllib3.exceptions import HTTPError

from egressgateway.refs import CHILD_BY_KIND, EGRESS_GATEWAY
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination, egress_gateway, in_parallel
from harness.objects import apply_all, namespace
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.rest import ApiError, Object, Rest
from harness.tenants import tenant
from harness.wait import eventually

LIMIT_MIB: Final = 512
"""The chart's limit of the operator's memory."""

NEIGHBOURS: Final = 4
EDITS: Final = 8
CROWD: Final = 1000
"""Namespaces that a hostile object selects: more than it may serve."""

LAYING_SECONDS: Final = 15.0
"""How long one attack is being laid; what an API server does not take in that time is left out."""

PATIENCE_SECONDS: Final = 30.0
INTRUDER: Final = "intruder"
_HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]
_FAT: Final = {"x": "y" * 250_000}
_VICTIM: Final = {
    "app.kubernetes.io/managed-by": "egressgateway-operator",
    "egressgateway.dev/gateway": "g",
    "egressgateway.dev/namespace": "neighbour-0",
    "egressgateway.dev/stage": "clients",
}


@dataclass(slots=True)
class Row:
    """What the neighbours met while an attack lay there: seconds, at most `PATIENCE_SECONDS`, and MiB."""

    attack: str
    waits: list[float] = field(default_factory=list)
    memory_mib: float = 0.0
    peak_mib: float = 0.0
    lost: int = 0
    """How often the leadership was lost, or the process ended."""


class HostileTenant:
    """The story, on a control plane that is empty at the start."""

    def __init__(self, plane: ControlPlane, directory: Path, say: Callable[[str], None]) -> None:
        self._plane = plane
        self._say = say
        self._directory = directory
        self._operator = OperatorProcess(
            operator_kubeconfig(plane), directory / "operator.log", "--lease-seconds", "15"
        )
        self._edits = 0
        self.rows: list[Row] = []

    def run(self) -> list[Row]:
        """Measure quiet, under each attack, and after a restart under all of them."""
        names = [f"neighbour-{number}" for number in range(NEIGHBOURS)]
        apply_all(self._plane, [namespace(name) for name in (*names, INTRUDER)])
        crowd = [namespace(f"crowd-{number}", **{"egress.example.com/crowd": "yes"}) for number in range(CROWD)]
        apply_all(self._plane, crowd)
        self._intruder = tenant(self._plane, self._directory, INTRUDER)
        self._neighbours = [Gateways(self._plane, name) for name in names]
        self._operator.start()
        try:
            eventually(lambda: self._operator.leads, what="a leader")
            for gateways in self._neighbours:
                gateways.apply("g")
                gateways.wait_ready("g")
            self._measure("quiet")
            for attack, lay in self._attacks():
                self._say(attack)
                laid = lay()
                self._measure(f"{laid} {attack}")
            self._say("100 of his objects flap")
            with self._flapping(self._small):
                self._measure("100 objects edited without end")
            self._say("100 of his largest objects flap")
            with self._flapping(self._wide):
                self._measure(f"100 objects of 512 ways for {CROWD} namespaces edited without end")
            self._say("restarting under all of it")
            self._operator.kill()
            self._operator.start(wait=False)
            self._measure("a restart with all of it there")
        finally:
            self._operator.stop()
        return self.rows

    def _attacks(self) -> Iterator[tuple[str, Callable[[], int]]]:
        yield "objects of 512 ways", lambda: self._each(12, self._largest)
        yield "objects that name 64 others each", lambda: self._each(10, self._referring)
        yield "objects with a fat annotation", lambda: self._each(200, self._fat_gateway)
        yield "forged accounts with a fat annotation", lambda: self._each(300, self._fat_account)
        yield "forged routes of 1 MB", lambda: self._each(150, self._fat_route)
        yield "routes of 60,000 hosts", lambda: self._each(30, self._wide_route)
        yield "objects that want the same 512 names", lambda: self._each(10, self._same_names)

    def _measure(self, attack: str) -> None:
        row = Row(attack)
        Path(f"/proc/{self._operator.pid}/clear_refs").write_text("5", encoding="ascii")
        lost = self._lost()
        for turn in range(EDITS):
            gateways = self._neighbours[turn % NEIGHBOURS]
            row.waits.append(self._edit_to_ready(gateways))
        row.memory_mib, row.peak_mib = self._status("VmRSS"), self._status("VmHWM")
        row.lost = self._lost() - lost
        self.rows.append(row)
        self._say(f"{attack}: {max(row.waits):.1f} s at most, peak {row.peak_mib:.0f} MiB")

    def _edit_to_ready(self, gateways: Gateways) -> float:
        self._edits += 1
        wanted = destination("api", f"e{self._edits}.{gateways.namespace}.example.com", ports=_HTTP)
        gateways.apply("g", wanted)
        # From here on it is the operator's: how long the API server took for the edit is not.
        began = time.monotonic()
        try:
            gateways.wait_ready("g", timeout=PATIENCE_SECONDS)
        except TimeoutError:
            return PATIENCE_SECONDS
        return time.monotonic() - began

    def _status(self, name: str) -> float:
        """A figure of the process's memory, in MiB."""
        text = Path(f"/proc/{self._operator.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) / 1024

    def _lost(self) -> int:
        ended = 0 if self._operator.running else 1
        return self._operator.log.read_text(errors="replace").count("Leadership lost") + ended

    def _each(self, count: int, make: Callable[[int], tuple[str, Object]]) -> int:
        """Create so many, as far as the time allows; returns how many there are."""
        end = time.monotonic() + LAYING_SECONDS
        laid: list[int] = []

        def create(number: int) -> None:
            if time.monotonic() < end:
                path, body = make(number)
                if is_created(self._intruder, path, body):
                    laid.append(number)

        in_parallel(create, range(count), at_once=4)
        return len(laid)

    def _largest(self, number: int) -> tuple[str, Object]:
        wanted = [
            destination(f"d{d}", *(f"h{h}.d{d}.l{number}.example.com" for h in range(8)), ports=_HTTP)
            for d in range(64)
        ]
        return _gateways(), egress_gateway(INTRUDER, f"largest-{number}", *wanted)

    def _same_names(self, number: int) -> tuple[str, Object]:
        wanted = [destination(f"d{d}", *(f"h{h}.d{d}.s.example.com" for h in range(8)), ports=_HTTP) for d in range(64)]
        return _gateways(), egress_gateway(INTRUDER, f"same-{number}", *wanted)

    def _referring(self, number: int) -> tuple[str, Object]:
        exposed = [
            {
                "name": f"x{each}",
                "hosts": [f"x{each}.r{number}.example.com"],
                "gatewayRef": {"name": f"gw-{number}-{each}"},
                "backend": {"service": {"name": f"s-{number}-{each}", "port": 80}},
            }
            for each in range(32)
        ]
        body = egress_gateway(INTRUDER, f"referring-{number}")
        return _gateways(), {**body, "spec": {"expose": exposed}}

    def _fat_gateway(self, number: int) -> tuple[str, Object]:
        body = egress_gateway(INTRUDER, f"fat-{number}", suspend=True)
        return _gateways(), {**body, "metadata": {**body["metadata"], "annotations": _FAT}}

    def _fat_account(self, number: int) -> tuple[str, Object]:
        metadata = {"name": f"forged-{number}", "labels": _VICTIM, "annotations": _FAT}
        return f"/api/v1/namespaces/{INTRUDER}/serviceaccounts", {"metadata": metadata}

    def _fat_route(self, number: int) -> tuple[str, Object]:
        route = [{"match": [{"uri": {"prefix": f"/{'x' * 100}{n}"}}], **_TO_SOMEWHERE} for n in range(6_000)]
        return _route(f"forged-{number}", {"hosts": [f"h{number}.example.com"], "http": route}, _VICTIM)

    def _wide_route(self, number: int) -> tuple[str, Object]:
        hosts = [f"{n}.w{number}.example.com" for n in range(60_000)]
        return _route(f"wide-{number}", {"hosts": hosts, "http": [_TO_SOMEWHERE]}, {})

    def _small(self, turn: int) -> tuple[str, Object]:
        name, host = f"flap-{turn % 100}", f"h{turn // 100 % 2}.f{turn % 100}.example.com"
        return name, egress_gateway(INTRUDER, name, destination("api", host, ports=_HTTP))

    def _wide(self, turn: int) -> tuple[str, Object]:
        """As much as one object can ask for, and for whom: each edit changes a host of every destination."""
        name, mark = f"wide-{turn % 100}", turn // 100 % 2
        wanted = [
            destination(f"d{d}", *(f"h{h}-{mark}.d{d}.{name}.example.com" for h in range(8)), ports=_HTTP)
            for d in range(64)
        ]
        selector = {"matchLabels": {"egress.example.com/crowd": "yes"}}
        return name, egress_gateway(INTRUDER, name, *wanted, access={"from": [{"namespaceSelector": selector}]})

    @contextmanager
    def _flapping(self, make: Callable[[int], tuple[str, Object]]) -> Iterator[None]:
        """Edit without end, as fast as the API server takes it."""
        ended = threading.Event()

        def flap() -> None:
            turn = 0
            while not ended.is_set():
                turn += 1
                name, body = make(turn)
                try:
                    self._intruder.apply(f"{_gateways()}/{name}", body)
                except (ApiError, HTTPError):
                    continue

        thread = threading.Thread(target=flap, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(30)


_TO_SOMEWHERE: Final[dict[str, Any]] = {"route": [{"destination": {"host": "somewhere.example.com"}}]}


def is_created(rest: Rest, path: str, body: Object) -> bool:
    """Create it, unless the API server refuses or is too busy, which is an answer to an attack, too."""
    try:
        rest.create(path, body)
    except (ApiError, HTTPError):
        return False
    return True


def _gateways() -> str:
    return EGRESS_GATEWAY.path(INTRUDER)


def _route(name: str, spec: Object, labels: dict[str, str]) -> tuple[str, Object]:
    resource = CHILD_BY_KIND["VirtualService"]
    metadata = {"name": name, "namespace": INTRUDER, "labels": labels}
    return resource.path(INTRUDER), {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": spec,
    }


def held(rows: list[Row]) -> bool:
    """Whether memory, leadership and every edit of the others held; how long edits took depends on the machine."""
    return all(
        row.peak_mib < LIMIT_MIB and not row.lost and max(row.waits, default=0.0) < PATIENCE_SECONDS for row in rows
    )


def show(rows: list[Row], console: Console) -> None:
    """Print what the neighbours met."""
    table = Table(title="one hostile tenant: what the others meet")
    for name in (
        "attack (they pile up)",
        "others' edits to Ready: median",
        "to quiet",
        "longest",
        "memory",
        "peak",
        "leader lost",
    ):
        table.add_column(name, justify="left" if name.startswith("attack") else "right")
    for row in rows:
        peak = f"[{'green' if row.peak_mib < LIMIT_MIB else 'red'}]{row.peak_mib:.0f} MiB[/]"
        ratio = f"{median(row.waits) / median(rows[0].waits):.1f}" if row.waits and rows[0].waits else ""
        waits = (f"{median(row.waits):.2f} s", ratio, f"{max(row.waits):.2f} s") if row.waits else ("", "", "")
        table.add_row(row.attack, *waits, f"{row.memory_mib:.0f} MiB", peak, str(row.lost))
    console.print(table)
