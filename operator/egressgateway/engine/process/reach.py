"""
Which of the namespaces that the operator was told to serve it may read.

One of them may be gone, with the RoleBinding in it, or lack one right. Its objects are not served then, as what lives
there is not known; those of the others are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Reach:
    """Told by whoever lists in a namespace what came of it."""

    def __init__(self, namespaces: tuple[str, ...]) -> None:
        """`namespaces`: those that were named; empty means all at once, of which nothing is told here."""
        self._namespaces = namespaces
        self._refused: dict[str, dict[str, str]] = {}
        self._listed: set[tuple[str, str]] = set()
        self.on_change: Callable[[], None] = lambda: None
        """Called when a namespace comes within reach, or turns out to be beyond it."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Namespaces that cannot be served, and why in words."""
        return {
            name: _describe(name, self._refused[name])
            for name in dict.fromkeys((*self._namespaces, *sorted(self._refused)))
            if self._refused.get(name)
        }

    def serves(self, namespace: str) -> bool:
        """Whether objects in the namespace may be reconciled: all that they are compared with can be known."""
        return not self._refused.get(namespace)

    def tell(self, kind: str, namespace: str | None, error: str) -> None:
        """
        `kind` was listed in the namespace, or refused with `error`.

        Refused after it was listed once, it counts as within reach: what is known of it is served on, and the writes
        say what is amiss.
        """
        if namespace is None or (error and (kind, namespace) in self._listed):
            return
        known = self._refused.setdefault(namespace, {})
        before = bool(known)
        if error:
            known[kind] = error
        else:
            self._listed.add((kind, namespace))
            known.pop(kind, None)
        if bool(known) != before:
            self._log(namespace)
            self.on_change()

    def _log(self, namespace: str) -> None:
        fields = {"namespace": namespace}
        if self.serves(namespace):
            log.info("Namespace is served", extra={"fields": fields})
        else:
            because = _describe(namespace, self._refused[namespace])
            log.warning("Namespace is not served", extra={"fields": fields | {"because": because}})


def _describe(namespace: str, refused: Mapping[str, str]) -> str:
    kind, error = next(iter(refused.items()))
    more = f" (and {len(refused) - 1} more kinds)" if len(refused) > 1 else ""
    return (
        f"namespace {namespace} is not served: the operator may not list {kind} there{more}: {error}; grant the "
        f"operator its rights in {namespace}, or remove --namespace {namespace}; the operator retries"
    )
