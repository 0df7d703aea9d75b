"""
Names that objects do not want any more, while their clients may still be steered: see `plan.handover`.

Each pass says it of its own object, and others of the namespace may then claim these names. Only a pass can say it:
what a spec leaves out is kept where the object cannot be judged. A replica that no longer leads forgets all of it.
"""

from __future__ import annotations

from egressgateway.refs import Key


class Yields:
    """The yielded names by object."""

    def __init__(self) -> None:
        self._names: dict[Key, frozenset[str]] = {}

    def of(self, key: Key) -> frozenset[str]:
        return self._names.get(key, frozenset())

    def put(self, key: Key, names: frozenset[str]) -> frozenset[str]:
        """From now on `key` yields `names`; returns those of which that was not known, or is not so any more."""
        before = self._names.pop(key, frozenset())
        if names:
            self._names[key] = names
        return before ^ names

    def forget_all(self) -> None:
        self._names.clear()
