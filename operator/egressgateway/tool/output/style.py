"""Colours, and how much is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from egressgateway.tool.severity import Severity

_COLOURS: Final = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.INFO: "36"}
_BOLD: Final = "1"


@dataclass(frozen=True, slots=True)
class Style:
    """How text is shown."""

    colour: bool = False
    wide: bool = False
    quiet: bool = False

    def severity(self, severity: Severity) -> str:
        return self._shown(severity.value, _COLOURS[severity])

    def bold(self, text: str) -> str:
        return self._shown(text, _BOLD)

    def _shown(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text
