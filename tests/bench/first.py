"""
From `kubectl apply` to the first request through the gateway, in a mesh with real Envoys: how long it takes, whether a
request is lost afterwards, and whether the status is ever ahead of the requests.

A client asks for some of an object's hosts all the time. An object is applied, and deleted again once its hosts have
been served for a while; the times count from before `kubectl` starts. Other objects are in place all the time, on a
gateway that they share: each of them is a route that istiod pushes to the same proxies.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from egressgateway.settings import MeshSettings
from harness.gateways import Gateways, destination, egress_gateway, in_parallel
from harness.mesh.clients import Client, Clients, ensure_namespace
from harness.mesh.continuity import Report, Traffic, Way
from harness.mesh.detector import StatusWatch, claims_of
from harness.mesh.mesh import Mesh
from harness.mesh.scene import Scene
from harness.operator import OperatorProcess, Within
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.wait import eventually

NAME: Final = "first"
SIZES: Final = (1, 80)
"""Hosts of the object that is measured."""

PER_DESTINATION: Final = 16
RATE: Final = 50.0
"""Requests a second, for all hosts that are asked for together: times are known to the time between two of one host."""

STEADY_REQUESTS: Final = 50
"""For each host, after all of them are served and the object is Ready: none of them may be lost."""

PATIENCE_SECONDS: Final = 300.0
_HTTP: Final[list[Object]] = [{"port": 80, "protocol": "HTTP"}]


@dataclass(slots=True)
class Row:
    """What was measured with so many hosts beside so many other objects; times in seconds since the command."""

    hosts: int
    others: int
    first: list[float] = field(default_factory=list)
    """The first request of any host by the gateway."""

    all_: list[float] = field(default_factory=list)
    """The last of the hosts that are asked for is served."""

    steered: list[float] = field(default_factory=list)
    """The last destination says so."""

    lost: int = 0
    """Requests of a host that were not served after the first one that was."""

    ahead: int = 0
    """Requests that were not served although the destination of their host said `Steered=True` when they were sent."""


class First:
    """The story, on a mesh that is empty at the start."""

    def __init__(self, mesh: Mesh, directory: Path, say: Callable[[str], None]) -> None:
        self._mesh = mesh
        self._say = say
        grace = MeshSettings().push_grace.total_seconds()
        self._operator = OperatorProcess(
            operator_kubeconfig(mesh.cluster),
            directory / "operator.log",
            *("--push-grace-seconds", f"{grace:g}"),
            within=Within(mesh.node.enter, mesh.node_address),
        )

    def run(self, others: Sequence[int], repetitions: int) -> list[Row]:
        """Measure each size beside each number of other objects, in growing order."""
        rows: list[Row] = []
        with self._operator:
            scene = Scene(self._mesh, Clients(self._mesh))
            scene.add_shared_gateway()
            there = 0
            for count in sorted(others):
                self._say(f"{count} other objects")
                self._add(scene, range(there, count))
                there = count
                for hosts in SIZES:
                    row = Row(hosts, count)
                    for turn in range(repetitions):
                        self._say(f"{hosts} hosts beside {count} objects, {turn + 1} of {repetitions}")
                        self._measure(scene, row)
                    rows.append(row)
        return rows

    def _add(self, scene: Scene, numbers: range) -> None:
        """Other objects for the same clients, each with a host of its own."""
        gateways = Gateways(self._mesh.cluster, f"others-{scene.namespace}")
        ensure_namespace(self._mesh, gateways.namespace)

        def add(number: int) -> None:
            served = destination("api", f"other-{number}.example.com", ports=_HTTP)
            gateways.apply(f"other-{number}", served, **scene.spec(className=scene.shared))

        in_parallel(add, numbers)
        for number in numbers:
            gateways.wait_ready(f"other-{number}", timeout=PATIENCE_SECONDS)
        self._mesh.settle()

    def _measure(self, scene: Scene, row: Row) -> None:
        hosts = [f"host-{number}.example.com" for number in range(row.hosts)]
        parts = [hosts[start : start + PER_DESTINATION] for start in range(0, len(hosts), PER_DESTINATION)]
        listed = [destination(f"part-{index}", *part, ports=_HTTP) for index, part in enumerate(parts)]
        gateways = Gateways(self._mesh.cluster, scene.namespace)
        manifest = egress_gateway(scene.namespace, NAME, *listed, **scene.spec(gateway={"replicas": 1}))
        asked = {f"part-{index}": f"http://{part[-1]}/" for index, part in enumerate(parts)}
        with _asking(self._mesh, scene, list(asked.values())) as (watch, traffic):
            began = time.time()
            self._mesh.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
            gateways.wait_ready(NAME, timeout=PATIENCE_SECONDS)
            for url in asked.values():
                eventually(lambda url=url: _is_served(traffic, url), timeout=PATIENCE_SECONDS, what=f"{url} served")
            traffic.wait_for(STEADY_REQUESTS * len(asked))
        note(row, began, {part: traffic.report(url) for part, url in asked.items()}, watch, scene.namespace)
        gateways.delete(NAME)
        gateways.wait_gone(NAME, timeout=PATIENCE_SECONDS)
        self._mesh.settle()


@contextmanager
def _asking(mesh: Mesh, scene: Scene, urls: Sequence[str]) -> Iterator[tuple[StatusWatch, Traffic]]:
    client: Client = next(iter(scene.clients.values()))
    with ExitStack() as stack:
        watch = stack.enter_context(StatusWatch(mesh.kubeconfig))
        yield watch, stack.enter_context(Traffic(client, *urls, rate=RATE / len(urls)))


def _is_served(traffic: Traffic, url: str) -> bool:
    return any(each.ok for each in traffic.samples() if each.url == url)


def note(row: Row, began: float, reports: dict[str, Report], watch: StatusWatch, namespace: str) -> None:
    """Add what came of one object's requests, by destination, since the moment `began`."""
    firsts, saying = [], []
    for part, report in reports.items():
        first = next(each.at for each in report.samples if report.way(each) is Way.GATEWAY)
        said = next(
            each.at for each in claims_of(watch.seen, namespace, NAME, f"{part}/Steered") if each.says == "True"
        )
        firsts.append(first - began)
        saying.append(said - began)
        row.lost += sum(not report.served(each) for each in report.samples if each.at > first)
        row.ahead += sum(not report.served(each) for each in report.samples if each.at > said)
    row.first.append(min(firsts))
    row.all_.append(max(firsts))
    row.steered.append(max(saying))


def held(rows: Sequence[Row]) -> bool:
    """Whether nothing was lost and no status was ahead; how long it takes depends on the machine."""
    return all(row.lost == row.ahead == 0 for row in rows)


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(title="from `kubectl apply` to requests through the gateway: p50 / p99")
    for name in ("hosts", "other objects", "times", "first request", "all hosts", "Steered", "lost", "status ahead"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = [f"[{'red' if count else 'green'}]{count}[/]" for count in (row.lost, row.ahead)]
        times = [_told(each) for each in (row.first, row.all_, row.steered)]
        table.add_row(str(row.hosts), str(row.others), str(len(row.first)), *times, *counts)
    console.print(table)
    console.print(
        "A pod of the gateway's own is started each time. Before clients are sent there the operator gives istiod "
        f"{MeshSettings().push_grace.total_seconds():g} s to push to every proxy, and as long again before it says "
        "Steered. Lost: requests after the first one of their host. Ahead: requests that were not served although "
        "Steered was True.",
        style="dim",
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that is not exceeded by `share` of all; of few values the 99th is the longest."""
    listed = sorted(values)
    return listed[max(0, -int(-share * len(listed) // 1) - 1)]


def _told(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} s"
