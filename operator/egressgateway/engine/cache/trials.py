"""
What the trials of classes would forbid, by object: each pass says it of its own, the statuses of classes list it.

Of one object only some findings are kept. A replica that no longer leads forgets all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from egressgateway.plan.findings import Finding
from egressgateway.refs import Key

MOST_OF_AN_OBJECT: Final = 4
"""Findings of one object that are kept: the class's status names many objects rather than all of one."""


@dataclass(frozen=True, slots=True)
class Affected:
    """An object of which a class would forbid something, and some of the findings."""

    key: Key
    findings: tuple[Finding, ...]


class Trials:
    """By class, the objects that its trial affects."""

    def __init__(self) -> None:
        self._affected: dict[Key, tuple[str, Affected]] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a status of a class may have to change."""

    def put(self, key: Key, class_name: str, findings: Iterable[Finding]) -> None:
        """What the trial of the class `class_name` would forbid of `key`; nothing: it is not affected."""
        found = tuple(findings)[:MOST_OF_AN_OBJECT]
        news = (class_name, Affected(key, found)) if found else None
        if self._affected.get(key) == news:
            return
        if news is None:
            del self._affected[key]
        else:
            self._affected[key] = news
        self.on_change()

    def forget(self, key: Key) -> None:
        """`key` does not exist any more."""
        self.put(key, "", ())

    def forget_all(self) -> None:
        """This replica no longer judges."""
        self._affected.clear()

    def of_class(self, class_name: str) -> list[Affected]:
        """Objects that the trial affects, by namespace and name."""
        found = (affected for name, affected in self._affected.values() if name == class_name)
        return sorted(found, key=lambda each: each.key)
