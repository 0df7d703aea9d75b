"""
The measurements, one after the other: many objects at once beside the bare loop, then a restart, a thousand changes of
status, an edit and a deletion by hand, and the end of all objects.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.bareloop import USER_AGENT as BARE_LOOP
from bench.bareloop import apply_objects, run_bare_loop
from bench.recording import Recording, record
from bench.samples import PLAIN, sample
from bench.timeline import Timeline, lines, measure
from egressgateway.refs import EGRESS_GATEWAY, Key
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, ChildName, Gateways, children, in_parallel
from harness.kubeconfig import Access
from harness.metrics import Request
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.traffic import USER_AGENT, WriteCounter, Writes
from harness.wait import eventually

PER_NAMESPACE = 10
STATUS_CHANGES = 1000
PATIENCE_SECONDS_PER_OBJECT = 3.0
LOOK_SECONDS = 1.0
PASSES = "egressgateway_reconcile_total"
MANAGED = {"app.kubernetes.io/managed-by": "egressgateway-operator"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time of the operator, in seconds, user and system together, and its memory in bytes."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(slots=True)
class Figures:
    """Everything that the table tells. Usages are differences over their phase."""

    objects: int
    kind: str = PLAIN
    children_per_object: int = 0
    bare: list[Timeline] = field(default_factory=list)
    bare_cpu_seconds: float = 0.0
    created: Timeline | None = None
    creation: Writes = field(default_factory=Writes)
    by_kind: Counter[str] = field(default_factory=Counter)
    passes: float = 0
    """Over all objects together, until nothing more is to be done."""

    creation_usage: Usage = Usage(0, 0)
    restart: Writes = field(default_factory=Writes)
    restart_usage: Usage = Usage(0, 0)
    status_changes: Writes = field(default_factory=Writes)
    status_usage: Usage = Usage(0, 0)
    edited: int = 0
    deleted: int = 0
    orphans: int = 0


class Story:
    """One run of everything, on a control plane that is empty at the start."""

    def __init__(self, plane: ControlPlane, directory: Path, figures: Figures, say: Say) -> None:
        """`figures` say what is to be measured, and take what comes of it."""
        self._plane = plane
        self._directory = directory
        self._say = say
        self._access = Access.read(plane.kubeconfig)
        self._operator = OperatorProcess(
            operator_kubeconfig(plane), directory / "operator.log", "--lease-seconds", "15"
        )
        self.figures = figures

    def run(self) -> Figures:
        """
        Measure everything.

        Raises:
            TimeoutError: something does not converge.
        """
        self._say("recording what the operator writes for one object")
        recording = record(self._plane, self._directory, self.figures.kind)
        self._run_bare_loop(recording, "before")
        self._say("starting the operator")
        self._operator.start()
        try:
            eventually(lambda: self._operator.leads and self._operator.is_idle(), what="an idle leader")
            gateways = self._create_all()
            self._restart()
            self._change_status(gateways)
            self._repair(gateways[0])
            self._delete_all(gateways)
        finally:
            self._operator.stop()
        self._run_bare_loop(recording, "after")
        return self.figures

    def _run_bare_loop(self, recording: Recording, when: str) -> None:
        self._say(f"the bare loop, {when} the operator")
        keys = self._keys(f"bare-{when}")
        begin = lines(self._plane)
        before = time.process_time()
        run_bare_loop(self._access, recording, keys)
        self.figures.bare_cpu_seconds += time.process_time() - before
        self.figures.bare.append(measure(self._plane, (BARE_LOOP,), begin))
        self._say("deleting what it made")
        in_parallel(self._let_go, keys)
        self._wait_until_nothing_is_left(f"bare-{when}")

    def _create_all(self) -> list[Gateways]:
        figures = self.figures
        self._say(f"applying {figures.objects} objects at once")
        keys = self._keys("served")
        counter, begin = WriteCounter(self._plane), lines(self._plane)
        before, passes = self._plane.metrics().writes(), self._operator.total(PASSES)
        with self._usage() as usage:
            apply_objects(self._access, [self._sized_as_recorded(key) for key in keys])
            gateways = [Gateways(self._plane, namespace) for namespace in sorted({key.namespace for key in keys})]
            self._wait_until_ready(gateways, len(keys))
            self._wait_until_idle(len(keys))
        figures.creation_usage = usage[0]
        figures.passes = self._operator.total(PASSES) - passes
        figures.creation = counter.read()
        after = self._plane.metrics().writes()
        after.subtract(before)
        figures.by_kind = by_kind(+after)
        figures.created = measure(self._plane, (USER_AGENT, BARE_LOOP), begin)
        figures.children_per_object = len(gateways[0].children(keys[0].name))
        return gateways

    def _restart(self) -> None:
        self._say("restarting the operator")
        self._operator.stop()
        counter = WriteCounter(self._plane)
        self._operator.start()
        self._wait_until_idle(self.figures.objects)
        self.figures.restart = counter.read()
        process = psutil.Process(self._operator.pid)
        self.figures.restart_usage = Usage(sum(process.cpu_times()[:2]), process.memory_info().rss)

    def _change_status(self, gateways: list[Gateways]) -> None:
        self._say(f"changing the status of children {STATUS_CHANGES} times")
        entries = [each.child_path(child) for each in gateways for child in each_entry(each)]
        counter = WriteCounter(self._plane)
        with self._usage() as usage:
            in_parallel(lambda number: self._change(entries[number % len(entries)], number), range(STATUS_CHANGES))
            self.figures.status_changes = counter.read()
            self._wait_until_idle()
        self.figures.status_usage = usage[0]

    def _repair(self, gateways: Gateways) -> None:
        self._say("editing a child, deleting another")
        child = ("NetworkPolicy", "gateway-0-egress")
        before = gateways.children("gateway-0")[child]["spec"]
        counter = WriteCounter(self._plane)
        self._plane.rest.merge(gateways.child_path(child), {"spec": {"egress": [{}]}})
        eventually(lambda: gateways.children("gateway-0")[child]["spec"] == before)
        eventually(self._operator.is_idle)
        # The edit itself is one of them.
        self.figures.edited = counter.read().total - 1

        counter.restart()
        self._plane.rest.delete(gateways.child_path(child))
        eventually(lambda: child in gateways.children("gateway-0"))
        eventually(self._operator.is_idle)
        self.figures.deleted = counter.read().total - 1

    def _delete_all(self, gateways: list[Gateways]) -> None:
        self._say("deleting all objects")
        in_parallel(lambda each: each.cluster.rest.delete(each.path()), gateways)
        self._wait_until_nothing_is_left("served")
        self.figures.orphans = len(children(self._plane, None, MANAGED))

    def _keys(self, prefix: str) -> list[Key]:
        """Names for all objects; their namespaces are made."""
        count = self.figures.objects
        names = [f"{prefix}-{number:03}" for number in range(-(-count // PER_NAMESPACE))]
        in_parallel(lambda name: self._plane.rest.create(NAMESPACES, {"metadata": {"name": name}}), names)
        return [Key(names[number // PER_NAMESPACE], f"gateway-{number % PER_NAMESPACE}") for number in range(count)]

    def _sized_as_recorded(self, key: Key) -> Object:
        return sample(self.figures.kind, key)

    def _let_go(self, key: Key) -> None:
        path = EGRESS_GATEWAY.path(*key)
        self._plane.rest.merge(path, {"metadata": {"finalizers": None}})
        self._plane.rest.delete(path)

    def _change(self, path: str, number: int) -> None:
        address = {"value": f"240.240.{number // 250}.{number % 250}"}
        self._plane.rest.merge(f"{path}/status", {"status": {"addresses": [address]}})

    def _wait_until_idle(self, reconciles: int = 0) -> None:
        def idle() -> bool:
            return self._operator.is_idle(reconciles)

        eventually(idle, timeout=self._patience, interval=LOOK_SECONDS, what="an idle operator")

    def _wait_until_ready(self, gateways: list[Gateways], count: int) -> None:
        namespaces = {each.namespace for each in gateways}

        def ready() -> bool:
            listed = self._plane.rest.items(EGRESS_GATEWAY.path())
            return sum(is_ready(each) for each in listed if each["metadata"]["namespace"] in namespaces) == count

        # Looked at seldom: each look costs the server, or the operator, some of the time that is measured.
        eventually(ready, timeout=self._patience, interval=LOOK_SECONDS, what=f"{count} Ready objects")

    def _wait_until_nothing_is_left(self, prefix: str) -> None:
        def nothing() -> bool:
            left = self._plane.rest.items(EGRESS_GATEWAY.path())
            if any(each["metadata"]["namespace"].startswith(prefix) for each in left):
                return False
            found = children(self._plane, None, MANAGED).values()
            return not any(each["metadata"]["namespace"].startswith(prefix) for each in found)

        eventually(nothing, timeout=self._patience, interval=LOOK_SECONDS, what="the end of all children")

    @property
    def _patience(self) -> float:
        """Seconds for one phase, on the busiest of machines."""
        return max(600.0, PATIENCE_SECONDS_PER_OBJECT * self.figures.objects)

    @contextmanager
    def _usage(self) -> Iterator[list[Usage]]:
        """What the operator uses within the block."""
        process = psutil.Process(self._operator.pid)
        before = sum(process.cpu_times()[:2])
        found: list[Usage] = []
        yield found
        found.append(Usage(sum(process.cpu_times()[:2]) - before, process.memory_info().rss))


def is_ready(gateway: Object) -> bool:
    conditions = (gateway.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def each_entry(gateways: Gateways) -> list[ChildName]:
    return [child for child in children(gateways.cluster, gateways.namespace, MANAGED) if child[0] == "ServiceEntry"]


def by_kind(counted: Counter[Request]) -> Counter[str]:
    """The operator's writes by resource, as the server counts them."""
    sums: Counter[str] = Counter()
    for request, count in counted.items():
        if request.verb == "APPLY":
            sums[request.resource] += count
    return sums
