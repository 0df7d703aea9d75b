"""Every form says the same, is what its readers expect, and obeys no text of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
import yaml

from egressgateway.api.conditions import CATALOGUE, Reason
from egressgateway.tool.diagnostic import Report
from egressgateway.tool.documents import read_text
from egressgateway.tool.output.forms import Form
from egressgateway.tool.output.report import shown
from egressgateway.tool.output.style import Style
from egressgateway.tool.validate import validate
from egressgateway.tool.world import Scope
from unit.tool.files import MUTUAL, NOW, gateway, report_of

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs" / "reference" / "cli.schema.json").read_text())
SARIF = json.loads(Path(__file__).with_name("sarif.schema.json").read_text())
HOSTILE = "a\n::error::x\x1b[31m%0A,b:c]]>&\x00\u202e"


def report() -> Report:
    """Two files that conflict, one that is no YAML, a warning, and something that is not checked."""
    return report_of(a=gateway("first"), b=gateway("second"), c=gateway("third", "web", "c.example", MUTUAL), d="a: [")


def text_of(form: Form, of: Report | None = None, **style: bool) -> str:
    return shown(of or report(), form, Style(**style), NOW)


def validator(schema: dict[str, Any]) -> jsonschema.protocols.Validator:
    cls = jsonschema.validators.validator_for(schema)
    cls.check_schema(schema)
    return cls(schema, format_checker=cls.FORMAT_CHECKER)


def test_a_table_has_place_code_message_and_fix() -> None:
    assert text_of(Form.TABLE).splitlines()[:2] == [
        (
            "b.yaml:7:13: error EGW3001 HostConflict: spec.destinations[0].hosts: api.example.com belongs to "
            "EgressGateway shop/first in namespace shop, which claimed it first; remove it from one of the two "
            "(shop/first: a.yaml:3)"
        ),
        f"    fix: {CATALOGUE[Reason.HOST_CONFLICT].remedy}",
    ]
    assert text_of(Form.TABLE).splitlines()[-1] == "4 files, 3 objects, 2 errors, 0 warnings"
    assert "not checked: Secret web/bank-client: not among the files" in text_of(Form.TABLE).splitlines()


def test_a_wide_table_says_who_acts_and_where_to_read_on() -> None:
    wide = text_of(Form.WIDE).splitlines()
    assert "    acts: the platform's admins" in wide
    assert "    see: https://egressgateway.dev/e/EGW3001" in wide


def test_quiet_says_the_findings_alone() -> None:
    assert len(text_of(Form.TABLE, quiet=True).splitlines()) == len(report().diagnostics)


def test_colours_are_only_where_they_are_asked_for() -> None:
    assert "\x1b[31merror\x1b[0m" in text_of(Form.TABLE, colour=True)
    assert "\x1b" not in text_of(Form.TABLE)


@pytest.mark.parametrize("of", [report(), report_of(a=gateway()), report_of(complete=True, a=gateway(port=MUTUAL))])
def test_json_keeps_the_published_schema(of: Report) -> None:
    """And YAML is the same document."""
    answer = json.loads(text_of(Form.JSON, of))
    validator(SCHEMA).validate(answer)
    assert yaml.safe_load(text_of(Form.YAML, of)) == answer
    assert len(answer["items"]) == len(of.diagnostics) == sum(answer["summary"].values())


def test_the_schema_refuses_what_it_does_not_know() -> None:
    answer = json.loads(text_of(Form.JSON))
    answer["items"][0]["colour"] = "red"
    assert not validator(SCHEMA).is_valid(answer)


def test_a_finding_in_json_has_all_that_a_program_needs() -> None:
    found = json.loads(text_of(Form.JSON))["items"][0]
    assert (found["code"], found["reason"], found["severity"], found["acts"]) == (
        "EGW3001",
        "HostConflict",
        "error",
        "admin",
    )
    assert (found["file"], found["line"], found["column"], found["field"]) == (
        "b.yaml",
        7,
        13,
        "spec.destinations[0].hosts",
    )
    assert found["object"] == {"kind": "EgressGateway", "namespace": "shop", "name": "second"}
    assert found["related"] == [
        {
            "object": {"kind": "EgressGateway", "namespace": "shop", "name": "first"},
            "file": "a.yaml",
            "line": 3,
            "column": 18,
        }
    ]


@pytest.mark.parametrize("of", [report(), report_of(a=gateway())])
def test_sarif_is_valid(of: Report) -> None:
    answer = json.loads(text_of(Form.SARIF, of))
    validator(SARIF).validate(answer)
    [run] = answer["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def fingerprints(of: Report) -> list[str]:
    results = json.loads(text_of(Form.SARIF, of))["runs"][0]["results"]
    return [next(iter(each["partialFingerprints"].values())) for each in results]


def test_an_alert_is_the_same_when_lines_move_and_another_when_it_is_about_something_else() -> None:
    before = report_of(a=gateway("first"), b=gateway("second"))
    moved = report_of(a=gateway("first"), b="# a comment\n\n" + gateway("second"))
    other = report_of(a=gateway("first"), b=gateway("third"))
    assert fingerprints(before) == fingerprints(moved)
    assert fingerprints(before) != fingerprints(other)
    assert len(set(fingerprints(report()))) == len(report().diagnostics)


def test_github_shows_each_finding_at_its_line() -> None:
    first = text_of(Form.GITHUB).splitlines()[0]
    assert first.startswith(
        "::error file=b.yaml,line=7,col=13,title=EGW3001 HostConflict::spec.destinations[0].hosts: "
    )


def test_junit_has_a_case_for_each_object_and_one_failure_for_its_errors() -> None:
    root = Xml.fromstring(text_of(Form.JUNIT))
    cases = {each.get("name"): each.findall("failure") for each in root.iter("testcase")}
    assert [name for name, failures in cases.items() if failures] == ["EgressGateway shop/second", "d.yaml"]
    assert root.get("tests") == "4"
    assert root.get("failures") == "2"


def test_markdown_is_a_table() -> None:
    lines = text_of(Form.MARKDOWN).splitlines()
    assert lines[1] == "|---|---|---|"
    assert lines[2].startswith("| error | `b.yaml:7` | [EGW3001](https://egressgateway.dev/e/EGW3001) HostConflict: ")


def test_names_are_kubectls() -> None:
    assert text_of(Form.NAME) == "egressgateway.egressgateway.dev/second"


def test_no_text_of_a_file_is_obeyed() -> None:
    """Names of files and hosts come from others: no colour, no line, no annotation, no element of theirs."""
    reading = read_text(gateway(host=json.dumps(HOSTILE)), f"{HOSTILE}.yaml")
    hostile = validate(reading, Scope(), NOW)
    assert hostile.diagnostics
    for form in (Form.TABLE, Form.WIDE, Form.MARKDOWN, Form.GITHUB, Form.NAME):
        shown_text = text_of(form, hostile)
        assert not set(shown_text) & {"\x1b", "\x00", "\u202e", "\r"}, form
        assert not any(line.startswith("::error::") for line in shown_text.splitlines())
    assert Xml.fromstring(text_of(Form.JUNIT, hostile)).get("failures") == "1"
    assert json.loads(text_of(Form.SARIF, hostile))["runs"][0]["results"]
