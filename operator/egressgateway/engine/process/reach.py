"""
Which of the namespaces in the operator's settings it may read.

One of them may be deleted, with the RoleBinding in it, or one right may be missing. Its objects are not served then, as
their children are not known; those of the other namespaces are served.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Reach:
    """Each list in a namespace reports its result here."""

    def __init__(self, namespaces: tuple[str, ...]) -> None:
        """`namespaces`: those in the settings; empty means all at once, about which nothing is reported here."""
        self._namespaces = namespaces
        self._refused: dict[str, dict[str, str]] = {}
        self._listed: set[tuple[str, str]] = set()
        self.on_change: Callable[[], None] = lambda: None
        """Called when a namespace becomes readable, or turns out not to be."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Namespaces that cannot be served, with the reason as text."""
        return {
            name: _describe(name, self._refused[name])
            for name in dict.fromkeys((*self._namespaces, *sorted(self._refused)))
            if self._refused.get(name)
        }

    def serves(self, namespace: str) -> bool:
        """Whether objects in the namespace may be reconciled: all that they are compared with can be known."""
        return not self._refused.get(namespace)

    def record_result(self, kind: str, namespace: str | None, error: str) -> None:
        """
        `kind` was listed in the namespace, or refused with `error`.

        A namespace that is refused after it was listed once still counts as readable: the operator keeps serving what
        it knows of it, and the writes report the problem.
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
