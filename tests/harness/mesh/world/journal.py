"""What the world's servers saw, request by request: written as it happens, read by tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Seen = dict[str, Any]

FILE: Final = "journal.jsonl"


class Journal:
    """A file of lines of JSON."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE

    def open(self) -> None:
        """Begin to write."""
        # Unbuffered, so that a line is there before the client has its answer.
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()

    def add(self, seen: Seen) -> None:
        self._file.write(json.dumps(seen).encode() + b"\n")

    def mark(self) -> int:
        """The end as of now, from which `since` reads on."""
        return self.path.stat().st_size

    def since(self, mark: int = 0) -> Iterator[Seen]:
        """What was seen after a mark."""
        with self.path.open("rb") as file:
            file.seek(mark)
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))
