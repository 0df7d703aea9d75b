"""
The status of EgressGatewayClasses: whether a class can be used, and how many objects use it.

Written by the leader alone, in the background: no object's reconcile depends on it. Changes are collected for a second,
so that many objects at once cost few writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.objects import EgressGatewayClass, parse_class
from egressgateway.cluster.background import background
from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import merge_patch
from egressgateway.cluster.store import Change, Store
from egressgateway.contention.raw import key_of
from egressgateway.engine.cache.trials import Trials
from egressgateway.engine.reconcile.apply import FIELD_MANAGER
from egressgateway.errors import ClusterError, NotFound
from egressgateway.refs import EGRESS_GATEWAY_CLASS, Key, Manifest
from egressgateway.status.merge import ClassVerdict, class_status, status_patch
from egressgateway.status.summarize import Condition

log = logging.getLogger(__name__)

SPACING_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0


class ClassStatusWriter:
    """Keeps the status of every class correct from `start` to `stop`, while this replica leads."""

    def __init__(  # noqa: PLR0913  (one place builds it)
        self,
        client: ApiCaller,
        classes: Store,
        gateways: Iterable[Manifest],
        *,
        may_write: Callable[[], bool],
        trials: Trials | None = None,
        spacing_seconds: float = SPACING_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        `gateways`: every EgressGateway that is known, read again each time. `trials`: what passes say of them.
        `may_write`: this replica leads, and has read everything. The caller that changes it calls `look`.
        """
        self._client = client
        self._classes = classes
        self._gateways = gateways
        self._trials = trials or Trials()
        self._trials.on_change = self.look
        self._may_write = may_write
        self._spacing_seconds = spacing_seconds
        self._now = now
        self._dirty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to write."""
        self._task = background(self._run(), "class status")

    async def stop(self) -> None:
        """Stop writing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def look(self) -> None:
        """A class changed, or `may_write`."""
        self._dirty.set()

    def gateway_changed(self, change: Change) -> None:
        """An EgressGateway was created, changed or deleted."""
        before, after = (None if side is None else class_used_by(side) for side in (change.old, change.new))
        if before != after:
            self.look()

    async def _run(self) -> None:
        backoff = Backoff(base=self._spacing_seconds)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            failed = self._may_write() and not await self._try_all()
            if failed:
                self.look()
            else:
                backoff.reset()
            await asyncio.sleep(backoff.next(_LONGEST_WAIT_SECONDS) if failed else self._spacing_seconds)

    async def _try_all(self) -> bool:
        """As `_write_all`; a bug is logged with its trace and counts as a failure: nothing else would report it."""
        try:
            return await self._write_all()
        except Exception:
            log.exception("Status of classes not written because of a bug; retrying")
            return False

    async def _write_all(self) -> bool:
        """Write what differs. Returns whether all of it could be written."""
        attached: dict[str, list[Key]] = {}
        for gateway in self._gateways:
            attached.setdefault(class_used_by(gateway), []).append(key_of(gateway))
        written = [await self._write(manifest, attached) for manifest in tuple(self._classes)]
        return all(written)

    async def _write(self, manifest: Manifest, attached: Mapping[str, Sequence[Key]]) -> bool:
        found = parse_class(manifest)
        old: Mapping[str, Any] = manifest.get("status") or {}
        users = attached.get(found.metadata.name, ())
        verdict = judge_class(found)
        if verdict.has_trial and (affected := self._trials.of_class(found.metadata.name, users)) is not None:
            verdict = replace(verdict, tried=tuple((each.key, each.findings) for each in affected))
        status = class_status(old, verdict, len(users), found.metadata.generation, self._now())
        patch = status_patch(old, status)
        if patch is None:
            return True
        try:
            await self._send(found, patch)
        except NotFound:
            return True
        except ClusterError as error:
            fields = {"class": found.metadata.name, "error": str(error)}
            log.warning("Status of a class not written; retrying", extra={"fields": fields})
            return False
        return True

    async def _send(self, found: EgressGatewayClass, patch: Mapping[str, Any]) -> None:
        # Conditional: a verdict is never stored for a spec that has changed meanwhile.
        metadata = {"resourceVersion": found.metadata.resource_version}
        body = {"metadata": metadata, "status": patch}
        name, manager = found.metadata.name, FIELD_MANAGER
        call = merge_patch(EGRESS_GATEWAY_CLASS, None, name, body, subresource="status", field_manager=manager)
        with self._classes.asking() as asked:
            written = await self._client.send(call)
            if written is not None:
                self._classes.put(written, asked)


def class_used_by(gateway: Manifest) -> str:
    """Class that an EgressGateway names, otherwise the one that serves it by its status; empty for the built-in one."""
    named = (gateway.get("spec") or {}).get("className") or (gateway.get("status") or {}).get("className")
    return str(named or "")


def judge_class(found: EgressGatewayClass) -> ClassVerdict:
    """Whether the class can be used; if not, the first mistake, with the field that has it."""
    if found.spec is None:
        return ClassVerdict(Condition(ConditionType.ACCEPTED, "False", Reason.INVALID, str(found.errors[0])))
    accepted = Condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is valid")
    return ClassVerdict(accepted, str(found.spec.data_plane), has_trial=found.spec.trial is not None)
