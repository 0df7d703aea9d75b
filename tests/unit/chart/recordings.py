"""
What Prometheus stores of replicas of the operator: their own /metrics, read once a minute while a test plays with them.

The names, labels and values are the operator's; only the clock is the test's. `judge` has Prometheus' own promtool
evaluate the alerts over the recorded series.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

from egressgateway.cluster.queue import Timer, WorkQueue
from egressgateway.engine.process.metrics import Metrics
from egressgateway.refs import Key

Labels = Mapping[str, str]
Fired = tuple[str, Labels]
"""An alert that fires, with its labels but the severity."""

JOB: Final = "egressgateway-system/egressgateway-operator"


class _Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        raise AssertionError("nothing is queued for later here")


class Replica:
    """One replica: its figures and its work queue. It does nothing by itself."""

    def __init__(self, pod: str, *, leads: bool = False) -> None:
        self.pod = pod
        self.scraped = True
        self.clock = _Clock()
        self.metrics = Metrics()
        self.queue: WorkQueue[Key] = WorkQueue(clock=self.clock)
        self.metrics.observe_queue(self.queue)
        self.metrics.leads(leads)

    async def reconcile(self, key: Key, result: str = "done") -> None:
        """Queue `key`, take it out, and be done with it."""
        self.queue.add(key)
        assert await self.queue.get() == key
        self.queue.done(key)
        self.metrics.reconciled(result, 0.01)


class Recording:
    """Series of several replicas, a sample a minute."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = replicas
        self.minutes = 0
        self._series: dict[str, list[float | None]] = {}

    def minute(self) -> None:
        """Prometheus reads every replica that can be read; then a minute passes."""
        found: dict[str, float] = {}
        for replica in self.replicas:
            if replica.scraped:
                found |= samples(replica.metrics.render().decode(), replica.pod)
            replica.clock.now += 60
        for name in found.keys() | self._series.keys():
            self._series.setdefault(name, [None] * self.minutes).append(found.get(name))
        self.minutes += 1

    @classmethod
    def going_on(cls, before: Mapping[str, str], after: Mapping[str, str], seconds: float, minutes: int) -> Recording:
        """
        Figures of pods, read twice `seconds` apart, that go on for `minutes` as they went in between.

        So an hour need not be waited for: what stands stands, and what grows (an age, a counter) grows on.
        """
        recording = cls()
        recording.minutes = minutes
        first, last = (
            {name: value for pod, text in pages.items() for name, value in samples(text, pod).items()}
            for pages in (before, after)
        )
        for name, value in last.items():
            step = (value - first.get(name, value)) / seconds * 60
            recording._series[name] = [value + step * minute for minute in range(minutes)]
        return recording

    @property
    def names(self) -> frozenset[str]:
        """Names of the recorded series."""
        return frozenset(name.split("{")[0] for name in self._series)

    def input_series(self, asked: frozenset[str]) -> list[dict[str, str]]:
        """promtool's `input_series`: those of the names that are `asked` for."""
        return [
            {"series": name, "values": _values(values)}
            for name, values in sorted(self._series.items())
            if name.split("{")[0] in asked
        ]


def samples(page: str, pod: str) -> dict[str, float]:
    """The operator's series on a page of metrics, as Prometheus names those of a pod."""
    return {
        _series(sample.name, sample.labels | {"pod": pod, "job": JOB}): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("egressgateway_")
    }


def _series(name: str, labels: Labels) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def _values(values: Sequence[float | None]) -> str:
    """As Prometheus stores it: a series that a scrape does not find has ended (`stale`)."""
    words: list[str] = []
    before: float | None = None
    for value in values:
        words.append(f"{value:g}" if value is not None else "stale" if before is not None else "_")
        before = value
    return " ".join(words)


def judge(
    promtool: Path, directory: Path, groups: Sequence[Any], recording: Recording, fired: Mapping[int, Sequence[Fired]]
) -> str:
    """
    What promtool has against `fired` being all that fires at those minutes, of all alerts; empty when it agrees.

    Annotations are left out: they have tests of their own.
    """
    rules = [rule for group in groups for rule in group["rules"]]
    bare = [{name: value for name, value in rule.items() if name != "annotations"} for rule in rules]
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": bare}]}))
    checks = [
        {
            "eval_time": f"{minute}m",
            "alertname": rule["alert"],
            "exp_alerts": [
                {"exp_labels": {**labels, **rule["labels"]}} for name, labels in those if name == rule["alert"]
            ],
        }
        for minute, those in fired.items()
        for rule in rules
    ]
    asked = frozenset(name for name in recording.names if any(name in rule["expr"] for rule in rules))
    test = {
        "interval": "1m",
        "input_series": recording.input_series(asked),
        "alert_rule_test": checks,
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (directory / "test.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    argv = [str(promtool), "test", "rules", "test.yaml"]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
