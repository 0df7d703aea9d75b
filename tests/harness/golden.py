"""Golden files: text compared with what was committed, or written anew when the person at the keyboard says so."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True, slots=True)
class Golden:
    """Compares with files under `tests/golden`; with `update` it writes them instead."""

    update: bool
    root: Path = ROOT

    def __call__(self, name: str | Path, text: str) -> None:
        """
        The text is that of the file `name`.

        Raises:
            AssertionError: it is not; shows the difference and how to accept it.
        """
        file = self.root / name
        if self.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        known = file.read_text() if file.exists() else ""
        if known != text:
            lines = difflib.unified_diff(known.splitlines(), text.splitlines(), str(name), "now", lineterm="")
            raise AssertionError("\n".join([*lines, "", "If this is meant: pytest --update-golden, and review."]))
