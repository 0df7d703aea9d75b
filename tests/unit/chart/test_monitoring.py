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
    for dashboard in dashboards():
        yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def dashboards() -> list[dict[str, Any]]:
    """The operator's, and that for teams."""
    found = [json.loads(path.read_text()) for path in sorted((CHART / "files").glob("dashboard*.json"))]
    assert len(found) == 2
    return found


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


def test_other_metrics_of_dashboards_are_istios_standard_ones() -> None:
    """Those that every proxy of the mesh has; docs/operations.md says which labels they bear."""
    asked = {name for expression in expressions() for name in re.findall(r"\bistio_[a-z_]+\b", expression)}
    assert asked == {
        "istio_requests_total",
        "istio_request_duration_milliseconds_bucket",
        "istio_tcp_connections_opened_total",
        "istio_tcp_sent_bytes_total",
        "istio_tcp_received_bytes_total",
    }


def test_panels_of_a_dashboard_have_their_own_numbers_and_places() -> None:
    """Grafana draws two panels of one number, or of one place, as one."""
    for dashboard in dashboards():
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24
    assert len({dashboard["uid"] for dashboard in dashboards()}) == 2


def test_chart_installs_both_dashboards(newest: Helm) -> None:
    """In one ConfigMap, by which Grafana's sidecar finds them."""
    rendered = newest.template({"metrics": {"dashboard": {"enabled": True}}})
    [found] = [each for each in rendered if each["metadata"]["name"].endswith("-dashboard")]
    titles = {json.loads(text)["uid"] for text in found["data"].values()}
    assert titles == {dashboard["uid"] for dashboard in dashboards()}


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
    # Grafana puts the chosen namespaces and hosts in; `.+` stands for all of them.
    filled = [re.sub(r"\$\w+", ".+", each) for each in expressions()]
    recorded = [{"record": f"test:{index}", "expr": each} for index, each in enumerate(filled)]
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
