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
        self._judged: dict[Key, tuple[str, Affected]] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a status of a class may have to change."""

    def put(self, key: Key, class_name: str, findings: Iterable[Finding] | None) -> None:
        """What the trial of the class `class_name` would forbid of `key`; None: there is no trial, or no `key`."""
        known = self._judged.get(key)
        news = None if findings is None else (class_name, Affected(key, tuple(findings)[:MOST_OF_AN_OBJECT]))
        if known == news:
            return
        if news is None:
            del self._judged[key]
        else:
            self._judged[key] = news
        self.on_change()

    def forget(self, key: Key) -> None:
        """`key` does not exist any more."""
        self.put(key, "", None)

    def forget_all(self) -> None:
        """This replica no longer judges."""
        self._judged.clear()

    def of_class(self, class_name: str, users: Iterable[Key]) -> list[Affected] | None:
        """
        The objects among `users` that the trial affects, by namespace and name.

        None until all of them were judged: after a change of the leader, a list that grows anew would look like news.
        """
        found = [self._judged.get(key) for key in users]
        if any(each is None or each[0] != class_name for each in found):
            return None
        affected = (each[1] for each in found if each is not None and each[1].findings)
        return sorted(affected, key=lambda each: each.key)
