"""
Watches the CustomResourceDefinitions of our kinds, and reports those that are older than the operator.

Older ones are no reason to stop: what both know works. But the API server drops the rest without a word, from specs as
from statuses, so people must be told. Without the right to look, nothing is known and nothing is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from egressgateway.api import schemas
from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.informer import Informer, OnRestart
from egressgateway.cluster.store import Change, Store
from egressgateway.refs import DEFINITION, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, Manifest

log = logging.getLogger(__name__)

_MOST_SHOWN = 5
_MISSING = "missingFields"


class DefinitionWatch:
    """An informer for each of them: the right is for these two names, and a list by name is of one."""

    def __init__(self, client: ApiClient, *, on_restart: OnRestart, on_missing: Callable[[str, int], None]) -> None:
        """`on_missing`: called with the name of a definition and how many fields it lacks."""
        # Now, and not on the event loop while it fills the caches.
        schemas.own_schemas()
        self._on_missing = on_missing
        self._missing: dict[str, tuple[str, ...]] = {}
        self.informers = tuple(
            Informer(
                client,
                DEFINITION,
                Store(trim=_trimmed),
                field_selector=f"metadata.name={each.plural}.{each.group}",
                on_change=self._changed,
                on_restart=on_restart,
                optional=True,
            )
            for each in (EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS)
        )

    def start(self) -> None:
        """Start the watches."""
        for informer in self.informers:
            informer.start()

    async def stop(self) -> None:
        """End the watches."""
        for informer in self.informers:
            await informer.stop()

    @property
    def outdated(self) -> tuple[str, ...]:
        """A sentence for each definition that is older than the operator."""
        return tuple(_describe(name, fields) for name, fields in sorted(self._missing.items()) if fields)

    def _changed(self, change: Change) -> None:
        name = change.object["metadata"]["name"]
        missing = tuple(change.object[_MISSING]) if change.new is not None else ()
        before = self._missing.get(name, ())
        self._missing[name] = missing
        self._on_missing(name, len(missing))
        if missing and missing != before:
            log.warning(_describe(name, missing), extra={"fields": {"crd": name, "missing": list(missing)}})
        elif before and not missing:
            log.info("The CRD is as new as the operator", extra={"fields": {"crd": name}})


def _trimmed(definition: Manifest) -> Manifest:
    """A definition has 300 KB; kept is what it lacks. Called again with the result."""
    if _MISSING in definition:
        return definition
    kept = {key: definition["metadata"].get(key) for key in ("name", "uid", "resourceVersion")}
    head = {key: definition.get(key) for key in ("apiVersion", "kind")}
    return {**head, "metadata": kept, _MISSING: list(schemas.missing_fields(definition))}


def _describe(name: str, fields: tuple[str, ...]) -> str:
    shown = ", ".join(fields[:_MOST_SHOWN])
    more = f" and {len(fields) - _MOST_SHOWN} more" if len(fields) > _MOST_SHOWN else ""
    return (
        f"CRD {name} is older than the operator: the API server drops {shown}{more}; apply the CRDs of the operator's "
        "version"
    )
