"""Files of the chart that are made from others, and those that must agree with the program."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from egressgateway import __version__
from egressgateway.api.objects import parse_class, parse_gateway
from egressgateway.api.validation import SpecError
from egressgateway.cli.main import app
from harness import chartfiles
from harness.helm import CHART, Helm
from harness.session import ROOT


def chart() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return loaded


@pytest.mark.parametrize("path", chartfiles.files(), ids=lambda path: str(path.name))
def test_made_files_are_up_to_date(path: Any) -> None:
    """CRDs are those of the models, the README has every value: else run `make chart`."""
    assert path.read_text() == chartfiles.files()[path]


def test_the_chart_holds_no_other_definitions() -> None:
    """One that is gone from crds/ is gone from the chart."""
    copied = {path.name for path in (CHART / "files" / "crds").iterdir()}
    assert copied == {path.name for path in (ROOT / "crds").glob("*.yaml")}


def test_every_value_is_documented() -> None:
    """A value without a comment would be found by nobody."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known = [path for path, _ in chartfiles.documented()]

    def leaves(node: Any, path: tuple[str, ...] = ()) -> Any:
        if path in known or path == ("global",):
            return
        if not isinstance(node, dict) or not node:
            yield path
            return
        for name, value in node.items():
            yield from leaves(value, (*path, name))

    assert list(leaves(values)) == []


def test_versions_agree() -> None:
    """The chart installs the program that it comes with."""
    assert chart()["appVersion"] == __version__


def test_examples_of_artifact_hub_are_valid() -> None:
    """Whoever copies them from there has valid objects, of each kind that is listed."""
    annotations = chart()["annotations"]
    examples = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    listed = yaml.safe_load(annotations["artifacthub.io/crds"])
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")}
    assert {each["kind"] for each in examples} == {each["kind"] for each in listed}
    assert {each["name"] for each in listed} == {each["metadata"]["name"] for each in files.values()}
    for each in examples:
        metadata = {"uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1, **each["metadata"]}
        parse = parse_gateway if each["kind"] == "EgressGateway" else parse_class
        errors: tuple[SpecError, ...] = parse({**each, "metadata": metadata}).errors
        assert errors == (), each


def test_flags_of_the_deployment_exist(newest: Helm) -> None:
    """Every flag that the chart can give is one of `egressgw run`."""
    values = {
        "watchNamespaces": ["a"],
        "gatewayNamespaces": ["b"],
        "builtInClass": False,
        "mesh": {"trustDomain": "example.org"},
    }
    [deployment] = [each for each in newest.template(values) if each["kind"] == "Deployment"]
    [job] = [each for each in newest.template(values) if each["kind"] == "Job"]
    for workload in (deployment, job):
        command, *flags = workload["spec"]["template"]["spec"]["containers"][0]["args"]
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        assert len(flags) >= 4
        for flag in flags:
            assert re.search(rf"{re.escape(flag.split('=')[0])}\b", shown), flag
