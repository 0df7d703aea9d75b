"""What a code or a reason means: the catalogue's entry, and what `docs/troubleshooting.md` says of the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from egressgateway.api.conditions import CATALOGUE, Reason
from egressgateway.tool.codes import BY_REASON, CODES, Code, codes_for
from egressgateway.tool.output.structured import document
from egressgateway.tool.output.style import Style
from egressgateway.tool.output.words import acts, name_of

_PAGE: Final = "troubleshooting.md"


def reasons_for(word: str) -> Iterator[Reason]:
    """Reasons that a user means and that have no code: those of success, and those that sum up others."""
    for reason in Reason:
        if reason.casefold() == word.casefold() and reason not in BY_REASON:
            yield reason


def explained(word: str, style: Style) -> list[str]:
    """What the word means, in lines; none where it is neither a code nor a reason."""
    lines: list[str] = []
    for code in codes_for(word):
        lines += [*_of_code(code, style), ""]
    for reason in reasons_for(word):
        lines += [style.bold(reason), "", *section_of(reason), ""]
    return lines[:-1]


def listed(style: Style) -> Iterator[str]:
    """Every code, one a line."""
    for code in CODES:
        yield f"{style.bold(code.code)}  {code.severity.value:<7}  {name_of(code)}"


def as_document(codes: Iterator[Code] | tuple[Code, ...], now: datetime) -> dict[str, Any]:
    """Codes for programs."""
    return document("Codes", now, map(code_fields, codes), {})


def code_fields(code: Code) -> dict[str, str]:
    """One code; what does not apply is left out."""
    found = {
        "code": code.code,
        "reason": str(code.reason or ""),
        "title": code.title,
        "severity": code.severity.value,
        "acts": code.acts.value,
        "fix": code.fix,
        "url": code.url,
    }
    return {name: value for name, value in found.items() if value}


def section_of(reason: Reason) -> list[str]:
    """The lines that the page has about a reason, without its heading."""
    match = re.search(rf"^### {reason}\n\n(.*?)(?=^##|\Z)", _page(), re.MULTILINE | re.DOTALL)
    return match[1].strip().splitlines() if match else []


def _of_code(code: Code, style: Style) -> Iterator[str]:
    title = f": {code.title}" if code.reason is not None else ""
    yield f"{style.bold(f'{code.code} {name_of(code)}')}{title}"
    yield f"severity: {style.severity(code.severity)}"
    if code.reason is not None and (conditions := CATALOGUE[code.reason].conditions):
        yield f"conditions: {', '.join(conditions)}"
    yield f"acts: {acts(code)}"
    yield f"fix: {code.fix}"
    yield f"see: {code.url}"
    if code.reason is not None and (section := section_of(code.reason)):
        # Its first line says what the lines above say.
        yield from ["", *"\n".join(section[1:]).strip().splitlines()]


@cache
def _page() -> str:
    packaged = files("egressgateway") / "docs" / _PAGE
    found = packaged if packaged.is_file() else Path(__file__).parents[3] / "docs" / _PAGE
    return found.read_text(encoding="utf-8")
