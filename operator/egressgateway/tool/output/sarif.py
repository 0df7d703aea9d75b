"""
A report as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"), for code scanning.

A fingerprint is made of object and field, so that an alert stays the same when lines move or a message is reworded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from egressgateway import __version__
from egressgateway.tool.codes import Code
from egressgateway.tool.diagnostic import Diagnostic, Place, Report
from egressgateway.tool.output.words import name_of
from egressgateway.tool.severity import Severity

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_FINGERPRINT: Final = "egressgateway/v1"


def as_sarif(report: Report) -> dict[str, Any]:
    """One run."""
    codes = sorted({each.code.code: each.code for each in report.diagnostics}.values(), key=lambda code: code.code)
    index = {code.code: number for number, code in enumerate(codes)}
    seen: Counter[tuple[str, ...]] = Counter()
    results = []
    for each in report.diagnostics:
        results.append(_result(each, index[each.code.code], seen[each.identity]))
        seen[each.identity] += 1
    driver = {
        "name": "egressgw",
        "version": __version__,
        "informationUri": "https://egressgateway.dev",
        "rules": [_rule(code) for code in codes],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "name": name_of(code).title().replace(" ", "") if code.reason is None else str(code.reason),
        "shortDescription": {"text": code.title},
        "help": {"text": code.fix or code.title},
        "helpUri": code.url,
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }


def _result(each: Diagnostic, rule: int, number: int) -> dict[str, Any]:
    location: dict[str, Any] = _location(each.place)
    if each.object is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": f"{each.object}", "kind": "resource"}]
    found: dict[str, Any] = {
        "ruleId": each.code.code,
        "ruleIndex": rule,
        "level": _LEVELS[each.severity],
        "message": {"text": each.message},
        "locations": [location],
        "partialFingerprints": {_FINGERPRINT: _digest(*each.identity, str(number))},
    }
    if each.related:
        found["relatedLocations"] = [
            {"id": number, "message": {"text": str(other.object)}, **_location(other.place)}
            for number, other in enumerate(each.related)
        ]
    return found


def _location(place: Place) -> dict[str, Any]:
    region = {"startLine": place.line, "startColumn": place.column}
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(place.file)}, "region": region}}


def _uri(file: str) -> str:
    """Relative to where the command runs, which is a repository's root in a pipeline."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
