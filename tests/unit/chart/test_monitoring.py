"""Alerts and dashboard: judged by Prometheus' own tool, and about metrics that the operator has."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from egressgateway.cluster.queue import WorkQueue
from egressgateway.engine.process.metrics import Metrics
from harness.helm import CHART, Helm

ALERTS = CHART / "files" / "alerts.yaml"
TESTS = Path(__file__).parent / "alerts_test.yaml"
NAME = re.compile(r"\begressgateway_[a-z_]+\b")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """All that alerts and dashboard ask Prometheus."""
    yield from (rule["expr"] for rule in rules())
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def figures() -> bytes:
    """What /metrics answers at first."""

    async def render() -> bytes:
        metrics = Metrics()
        metrics.observe_queue(WorkQueue())
        return metrics.render()

    return asyncio.run(render())


def exported() -> set[str]:
    """Names of every series that the operator can have."""
    described = re.findall(r"^# TYPE (\S+) (\S+)$", figures().decode(), re.MULTILINE)
    return {
        f"{name}{suffix}"
        for name, type_ in described
        for suffix in (("_bucket", "_sum", "_count") if type_ == "histogram" else ("",))
    }


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    """A renamed metric would make an alert silent for ever."""
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 8
    assert asked - exported() == set()


def test_every_alert_is_tested() -> None:
    """Below, by promtool."""
    tested = {
        each["alertname"]
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for each in case["alert_rule_test"]
        if each["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in rules()}


def test_alerts_fire_when_they_should(promtool: Path, tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path / "alerts.yaml")
    shutil.copy(TESTS, tmp_path / "alerts_test.yaml")
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_expressions_of_the_dashboard_are_valid(promtool: Path, tmp_path: Path) -> None:
    recorded = [{"record": f"test:{index}", "expr": each} for index, each in enumerate(expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_figures_have_the_form_that_prometheus_likes(promtool: Path) -> None:
    """Names, units and help texts of /metrics."""
    done = subprocess.run([promtool, "check", "metrics"], input=figures(), capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_runbooks_are_linked_when_there_are_any(newest: Helm) -> None:
    for url, wanted in (("", None), ("https://wiki.example/runbooks#", "https://wiki.example/runbooks#")):
        values = {"metrics": {"prometheusRule": {"enabled": True, "runbookUrl": url}}}
        rendered = newest.template(values, "--api-versions", "monitoring.coreos.com/v1")
        [rule] = [each for each in rendered if each["kind"] == "PrometheusRule"]
        for alert in rule["spec"]["groups"][0]["rules"]:
            expected = None if wanted is None else f"{wanted}{alert['alert'].lower()}"
            assert alert["annotations"].get("runbook_url") == expected
