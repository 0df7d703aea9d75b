"""A report for pipelines: annotations of GitHub's, and JUnit's XML, which GitLab and others show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree as Xml

from egressgateway.refs import ObjectRef
from egressgateway.tool.diagnostic import Diagnostic, Report
from egressgateway.tool.output.words import full_message, name_of, printable, summary
from egressgateway.tool.severity import Severity

_COMMANDS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_github(report: Report) -> Iterator[str]:
    """Workflow commands (GitHub, "Workflow commands for GitHub Actions")."""
    for each in report.diagnostics:
        place = each.place
        fields = {
            "file": printable(place.file),
            "line": str(place.line),
            "col": str(place.column),
            "title": f"{each.code.code} {name_of(each.code)}",
        }
        shown = ",".join(f"{name}={_property(value)}" for name, value in fields.items())
        yield f"::{_COMMANDS[each.severity]} {shown}::{_escaped(full_message(each))}"
    yield summary(report)


def as_junit(report: Report) -> str:
    """One test case for each object; an error is a failure, and the rest is its output."""
    by_object: dict[str, list[Diagnostic]] = {str(ref): [] for ref in report.objects}
    for each in report.diagnostics:
        by_object.setdefault(_subject(each.object, each), []).append(each)
    failed = sum(any(_fails(each) for each in found) for found in by_object.values())
    counts = {"tests": str(len(by_object)), "failures": str(failed)}
    root = Xml.Element("testsuites", counts)
    suite = Xml.SubElement(root, "testsuite", {"name": "egressgw", **counts})
    for subject, found in by_object.items():
        case = Xml.SubElement(suite, "testcase", {"classname": "egressgw", "name": _xml(subject)})
        if found:
            case.set("file", _xml(found[0].place.file))
        _failure(case, [each for each in found if _fails(each)])
        rest = "\n".join(_line(each) for each in found if not _fails(each))
        if rest:
            Xml.SubElement(case, "system-out").text = rest
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode")


def _failure(case: Xml.Element, found: list[Diagnostic]) -> None:
    """One for each test case: readers show no second one."""
    if found:
        failure = Xml.SubElement(case, "failure", {"type": found[0].code.code, "message": _xml(found[0].message)})
        failure.text = "\n".join(map(_line, found))


def _fails(each: Diagnostic) -> bool:
    return each.severity is Severity.ERROR


def _subject(ref: ObjectRef | None, each: Diagnostic) -> str:
    return str(ref) if ref is not None else each.place.file


def _line(each: Diagnostic) -> str:
    return _xml(f"{each.place}: {each.code.code} {name_of(each.code)}: {full_message(each)}")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
