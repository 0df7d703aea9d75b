"""
Backs off from drift corrections of a child that another controller keeps changing, so that there is no hot loop.

A drift correction writes again what was written before. A changed plan is not one: what the author asks for is written
at once, even if another controller keeps changing the child.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from egressgateway.diff.changeset import ChangeSet, Memo, Write
from egressgateway.refs import Manifest, ObjectRef

FREE_REPAIRS: Final = 5
"""Corrections of one child within `WINDOW_SECONDS` that count as accidents: people edit, controllers settle."""

WINDOW_SECONDS: Final = 60.0
FIRST_WAIT_SECONDS: Final = 10.0
LONGEST_WAIT_SECONDS: Final = 300.0
OVER_AFTER_SECONDS: Final = 2 * LONGEST_WAIT_SECONDS
"""
After so long without a correction the conflict with the other controller is over, and the next one starts from zero.
"""


@dataclass(slots=True)
class _History:
    """Drift corrections of one child. Times in seconds of the event loop's clock."""

    recent: list[float] = field(default_factory=list)
    waits: int = 0
    not_before: float = 0.0
    other_manager: str | None = None
    """Field manager of the other side, empty when it is not known; None until it was looked up."""


class DriftBackoff:
    """Drift corrections of one EgressGateway's children, as far back as they matter."""

    def __init__(self) -> None:
        self._histories: dict[ObjectRef, _History] = {}

    def count(self, ref: ObjectRef, now: float) -> bool:
        """
        Count a correction of `ref`. Returns whether another controller keeps changing it: then the next one has to
        wait.
        """
        history = self._histories.setdefault(ref, _History())
        if history.recent and now - history.recent[-1] > OVER_AFTER_SECONDS:
            history = self._histories[ref] = _History()
        history.recent = [*(at for at in history.recent if now - at <= WINDOW_SECONDS), now]
        if not history.waits and len(history.recent) < FREE_REPAIRS:
            return False
        history.not_before = now + min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**history.waits)
        history.waits += 1
        return True

    def wait_seconds(self, ref: ObjectRef, now: float) -> float:
        """How long a correction of `ref` has to wait; 0 when it need not."""
        history = self._histories.get(ref)
        return 0.0 if history is None else max(0.0, history.not_before - now)

    def is_reported(self, ref: ObjectRef) -> bool:
        """Whether the conflict over `ref` was reported."""
        return self._histories[ref].other_manager is not None

    def record(self, ref: ObjectRef, other_manager: str) -> str:
        """
        Remember that `other_manager` (a field manager; empty when not known) keeps changing `ref`. Returns the message.
        """
        self._histories[ref].other_manager = other_manager
        return self.words(ref)

    def words(self, ref: ObjectRef) -> str:
        """What goes on, for people; the same words for as long as it goes on."""
        other_manager = self._histories[ref].other_manager
        who = f"field manager {other_manager!r}" if other_manager else "another client"
        return (
            f"{who} changes or deletes {ref} after each correction; corrections are backing off to one every "
            f"{LONGEST_WAIT_SECONDS / 60:.0f} minutes; stop that controller from managing this object"
        )


@dataclass(frozen=True, slots=True)
class Deferred:
    """A change set without the deferred corrections, and for how long (seconds) each of them is deferred."""

    changes: ChangeSet
    waits: Mapping[ObjectRef, float] = field(default_factory=dict)


def split_deferred(changes: ChangeSet, written: Memo, drift_backoff: DriftBackoff, now: float) -> Deferred:
    """Take out of `changes` the corrections that have to wait."""
    waits = {
        write.ref: wait
        for write in changes.writes
        if is_correction(write, written) and (wait := drift_backoff.wait_seconds(write.ref, now))
    }
    if not waits:
        return Deferred(changes)
    return Deferred(replace(changes, writes=tuple(w for w in changes.writes if w.ref not in waits)), waits)


def is_correction(write: Write, written: Memo) -> bool:
    """Whether `write` only repeats what was written before: the plan did not change, the child did."""
    last = written.get(write.ref)
    return write.drift or (last is not None and last.digest == write.desired.digest)


def last_foreign_manager(manifest: Manifest, own: str) -> str:
    """Field manager other than `own` that changed the object last, except for its status; empty when there is none."""
    entries = [
        entry
        for entry in manifest["metadata"].get("managedFields") or ()
        if entry.get("manager") != own and not entry.get("subresource")
    ]
    newest = max(entries, key=lambda entry: str(entry.get("time", "")), default=None)
    return "" if newest is None else str(newest.get("manager", ""))
