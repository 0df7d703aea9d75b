"""Work beside a test: a thread that runs for as long as a `with` block lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """A subclass says in `work` what is done until `ended` is set, and in `finish` what is left to do then."""

    def __init__(self, name: str) -> None:
        """`name`: of the thread, for whoever looks at a stack."""
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.work, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Runs in the thread, and returns soon after `ended` was set."""

    def finish(self) -> None:
        """Runs in the test's own thread at the end; gives back what was taken, or raises what was found."""
        return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._thread.join()
        self.finish()
