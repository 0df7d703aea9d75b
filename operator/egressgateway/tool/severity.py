"""How bad a finding is."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How bad it is, the worst first."""

    ERROR = "error"
    """It does not work, or will not."""

    WARNING = "warning"
    """It works, and may not do what its author expects."""

    INFO = "info"
    """Good to know."""


SEVERITIES: Final = tuple(Severity)


def is_at_least(severity: Severity, threshold: Severity) -> bool:
    """Whether `severity` is as bad as `threshold`, or worse."""
    return SEVERITIES.index(severity) <= SEVERITIES.index(threshold)
