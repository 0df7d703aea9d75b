"""Words that all forms of text share."""

from __future__ import annotations

import unicodedata
from typing import Final

from egressgateway.api.conditions import Actor
from egressgateway.tool.codes import Code
from egressgateway.tool.diagnostic import Diagnostic, Report
from egressgateway.tool.severity import Severity

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal obeys instead of showing them."""

_ACTORS: Final = {
    Actor.AUTHOR: "the author of the object",
    Actor.ADMIN: "the platform's admins",
    Actor.OPERATOR: "nobody, or the operator's developers",
    Actor.NOBODY: "nobody",
}


def printable(text: str) -> str:
    """`text` in one line, with what a terminal would obey spelled out: names come from files of others."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )


def name_of(code: Code) -> str:
    """What the code is called: the status's reason, if it has one."""
    return str(code.reason) if code.reason is not None else code.title


def acts(code: Code) -> str:
    """Who has to act, in words."""
    return _ACTORS[code.acts]


def full_message(diagnostic: Diagnostic) -> str:
    """The message, and where the other objects are that it is about."""
    others = "".join(
        f" ({each.object.namespace}/{each.object.name}: {each.place.file}:{each.place.line})"
        for each in diagnostic.related
        if str(each.place) not in diagnostic.message
    )
    return printable(diagnostic.message + others)


def summary(report: Report) -> str:
    """How much was looked at, and what was found, in a line."""
    counted = report.count()
    parts = [_plural(report.files, "file"), _plural(len(report.objects), "object")]
    parts += [_plural(counted[each], each.value) for each in (Severity.ERROR, Severity.WARNING)]
    infos = counted[Severity.INFO]
    return ", ".join(parts) + (f", {infos} info" if infos else "")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
