"""Names of other things on the pages are those things' own: anchors, metrics, values of the chart, alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from docs.pages import DOCS, ROOT, name_of, pages
from docs.reference import all_sections, fields
from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.cluster.queue import WorkQueue
from egressgateway.engine.process.metrics import Metrics

CHART = ROOT / "deploy" / "helm" / "egressgateway-operator"
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them of its headings."""
    text = _FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_anchors_exist(page: Path) -> None:
    """A link into a page leads to a heading."""
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", _FENCE.sub("", page.read_text()))
    missing = [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor not in headings((page.parent / path).resolve() if path else page)
    ]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in pages() if page != ROOT / "README.md"], ids=name_of)
def test_page_is_in_the_index(page: Path) -> None:
    """A page that no index names is read by nobody."""
    assert page == DOCS / "README.md" or f"({page.relative_to(DOCS)})" in (DOCS / "README.md").read_text()


def exported() -> Iterator[str]:
    """Names of the operator's own metrics, as Prometheus sees them."""
    metrics = Metrics()
    metrics.observe_queue(WorkQueue())
    metrics.observe_memory(int)
    metrics.observe_clock(timedelta)
    for line in metrics.render().decode().splitlines():
        if found := re.match(r"# TYPE (egressgateway_\w+) ", line):
            yield found[1]


async def test_metrics_of_the_page_are_those_that_are_exported() -> None:
    """Each is in the table of docs/operations.md, and none is there that does not exist. A queue needs a loop."""
    section = (DOCS / "operations.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(egressgateway_\w+)`", section))
    assert named == {name for name in exported() if not name.endswith("_created")}


def test_every_alert_has_a_runbook() -> None:
    """The chart's alerts link to sections of docs/runbooks.md by their names."""
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert alerts
    assert {alert.lower() for alert in alerts} == headings(DOCS / "runbooks.md") - {"runbooks"}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_values_of_the_chart_exist(page: Path) -> None:
    """Every value that a page names is one of the chart's."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    tops = "|".join(key for key, value in values.items() if isinstance(value, dict))
    named = set(re.findall(rf"(?:`|--set )((?:{tops})\.[a-zA-Z.]+)", page.read_text()))
    of_the_api = {
        each for crd in (egress_gateway_crd(), egress_gateway_class_crd()) for each in fields(all_sections(crd))
    }
    named = {path for path in named if not path.endswith(".yaml") and f"spec.{path}" not in of_the_api}
    assert [path for path in sorted(named) if not _has(values, path.split("."))] == []


def _has(values: object, path: list[str]) -> bool:
    if not path:
        return True
    return isinstance(values, dict) and path[0] in values and _has(values[path[0]], path[1:])
