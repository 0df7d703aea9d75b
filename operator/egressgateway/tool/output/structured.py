"""
Answers for programs: one document, whose form `docs/reference/cli.schema.json` publishes.

Fields are added within a version, and none changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml

from egressgateway.api.scalars import format_instant
from egressgateway.refs import ObjectRef
from egressgateway.tool.diagnostic import Diagnostic, NotChecked, Report
from egressgateway.tool.severity import Severity

if TYPE_CHECKING:
    from yaml import CSafeDumper as _SafeDumper
else:
    # libyaml, where PyYAML was built with it: it is ten times faster.
    _SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

API_VERSION: Final = "cli.egressgateway.dev/v1"


def findings(report: Report, now: datetime) -> dict[str, Any]:
    """A report as a document."""
    return document("Findings", now, map(finding, report.diagnostics), report.count(), report.not_checked)


def document(
    kind: str,
    now: datetime,
    items: Iterable[Mapping[str, Any]],
    counted: Mapping[Severity, int],
    not_checked: Iterable[NotChecked] = (),
) -> dict[str, Any]:
    """What every answer has around its items."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "generatedAt": format_instant(now),
        "items": [dict(each) for each in items],
        "summary": {severity.value: counted.get(severity, 0) for severity in Severity},
        "notChecked": [each._asdict() for each in not_checked],
    }


def finding(diagnostic: Diagnostic) -> dict[str, Any]:
    """One diagnostic; what does not apply is left out."""
    code, place = diagnostic.code, diagnostic.place
    found = {
        "code": code.code,
        "reason": str(code.reason) if code.reason is not None else None,
        "title": code.title,
        "severity": code.severity.value,
        "message": diagnostic.message,
        "field": diagnostic.field,
        "section": diagnostic.section,
        "object": object_of(diagnostic.object) if diagnostic.object is not None else None,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "acts": code.acts.value,
        "fix": code.fix,
        "url": code.url,
        "related": [{"object": object_of(each.object), **each.place._asdict()} for each in diagnostic.related],
    }
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def object_of(ref: ObjectRef) -> dict[str, str]:
    """An object's name; a cluster-scoped one has no namespace."""
    return {name: value for name, value in ref._asdict().items() if value}


def as_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def as_yaml(value: Any) -> str:
    """YAML without references to equal values, which are for machines."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True).rstrip()


class _Dumper(_SafeDumper):
    """Writes equal values out each time."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))
_Dumper.add_multi_representer(tuple, lambda dumper, items: dumper.represent_list(list(items)))
_Dumper.add_multi_representer(dict, lambda dumper, items: dumper.represent_dict(items.items()))
