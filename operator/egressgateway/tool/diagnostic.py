"""What the tool says of an object, and where: data that every form of output is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from egressgateway.refs import ObjectRef
from egressgateway.tool.codes import Code
from egressgateway.tool.severity import SEVERITIES, Severity, is_at_least


class Place(NamedTuple):
    """Where something stands. `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Related(NamedTuple):
    """Another object that a diagnostic is about, as the one that has the host."""

    object: ObjectRef
    place: Place


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """
    One thing that somebody should know or change.

    `message` is the status's, word for word; where it is about a field it begins with it. `object` is absent where the
    file could not be read.
    """

    code: Code
    message: str
    place: Place
    object: ObjectRef | None = None
    field: str = ""
    section: str = ""
    related: tuple[Related, ...] = ()

    @property
    def severity(self) -> Severity:
        return self.code.severity

    @property
    def identity(self) -> tuple[str, ...]:
        """What it is about, whatever its words and its line: the same again after an unrelated edit."""
        ref = self.object
        return (self.code.code, *(ref if ref is not None else (self.place.file,)), self.section or self.field)


class NotChecked(NamedTuple):
    """What was not looked at, and why."""

    subject: str
    why: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}"


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to "is this right?"; `files` and `objects` were looked at."""

    diagnostics: tuple[Diagnostic, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    files: int = 0
    objects: tuple[ObjectRef, ...] = field(default_factory=tuple)

    def count(self) -> dict[Severity, int]:
        """How many there are of each severity."""
        counted = Counter(each.severity for each in self.diagnostics)
        return {severity: counted[severity] for severity in SEVERITIES}

    def reaches(self, threshold: Severity | None) -> bool:
        """Whether something is at least so bad; nothing is for None."""
        return threshold is not None and any(is_at_least(each.severity, threshold) for each in self.diagnostics)

    def without(self, codes: Iterable[str]) -> Report:
        """The same without the diagnostics of some codes."""
        left_out = frozenset(codes)
        kept = tuple(each for each in self.diagnostics if each.code.code not in left_out)
        return Report(kept, self.not_checked, self.files, self.objects)
