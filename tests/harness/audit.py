"""Known vulnerabilities of the locked packages, by pip-audit, which asks PyPI; and whether it could be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "pip-audit==2.9.0"
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of it."""

    asked: tuple[str, ...]
    """Packages of which it is known whether they have any."""

    unknown: tuple[str, ...]
    """Packages of which nobody could say it."""

    vulnerable: tuple[str, ...]
    """A line for each vulnerability: package, version, its names, and the versions that mend it."""


class AuditError(Exception):
    """pip-audit does not run here."""


def audit(lock: Path) -> Audit:
    """
    Ask about every package of a lock file.

    Raises:
        AuditError: pip-audit cannot be had, or does not answer.
    """
    uv = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", PACKAGE, "pip-audit"]
    # The lock is complete: nothing is resolved, and nothing is installed.
    flags = [
        "--requirement",
        str(lock),
        "--require-hashes",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner=off",
    ]
    try:
        done = subprocess.run([*uv, *flags], capture_output=True, text=True, timeout=_SECONDS, check=False)
        return read(json.loads(done.stdout)["dependencies"])
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError) as error:
        raise AuditError(f"{PACKAGE} does not run: {error}") from error


def read(dependencies: Iterable[dict[str, Any]]) -> Audit:
    """What pip-audit's JSON says."""
    asked, unknown, vulnerable = [], [], []
    for each in dependencies:
        (unknown if "skip_reason" in each else asked).append(str(each["name"]))
        for found in each.get("vulns", ()):
            names = ", ".join([found["id"], *found.get("aliases", ())])
            mended = ", ".join(found.get("fix_versions", ())) or "no version yet"
            vulnerable.append(f"{each['name']} {each['version']}: {names}; mended in {mended}")
    return Audit(tuple(asked), tuple(unknown), tuple(vulnerable))
