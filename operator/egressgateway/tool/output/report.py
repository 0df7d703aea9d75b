"""Chooses the form of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from egressgateway.tool.diagnostic import Report
from egressgateway.tool.output.ci import as_github, as_junit
from egressgateway.tool.output.forms import Form
from egressgateway.tool.output.sarif import as_sarif
from egressgateway.tool.output.structured import as_json, as_yaml, findings
from egressgateway.tool.output.style import Style
from egressgateway.tool.output.text import as_markdown, as_names, as_table


def shown(report: Report, form: Form, style: Style, now: datetime) -> str:
    """The report in one of its forms."""
    return _FORMS[form](report, style, now)


_Shown = Callable[[Report, Style, datetime], str]
_FORMS: Final[Mapping[Form, _Shown]] = {
    Form.TABLE: lambda report, style, _: "\n".join(as_table(report, style)),
    Form.WIDE: lambda report, style, _: "\n".join(as_table(report, replace(style, wide=True))),
    Form.JSON: lambda report, _, now: as_json(findings(report, now)),
    Form.YAML: lambda report, _, now: as_yaml(findings(report, now)),
    Form.NAME: lambda report, _, __: "\n".join(as_names(report)),
    Form.MARKDOWN: lambda report, _, __: "\n".join(as_markdown(report)),
    Form.SARIF: lambda report, _, __: as_json(as_sarif(report)),
    Form.GITHUB: lambda report, _, __: "\n".join(as_github(report)),
    Form.JUNIT: lambda report, _, __: as_junit(report),
}
