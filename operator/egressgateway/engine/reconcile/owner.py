"""
What the operator writes to an EgressGateway itself: its status and its finalizer, never its spec.

Every write carries the resource version that it was computed from: a status is never stored for a spec that has changed
meanwhile, so `Ready` is never true for a generation that no pass has seen.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.events import EventRecorder
from egressgateway.cluster.request import merge_patch
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.reconcile.apply import FIELD_MANAGER
from egressgateway.engine.reconcile.transitions import readiness_moved, transitions
from egressgateway.errors import NotFound
from egressgateway.names import FINALIZER
from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest, ObjectRef
from egressgateway.status.merge import status_patch

log = logging.getLogger(__name__)

_ORPHANS: Final = "orphan"
"""Kubernetes' finalizer of a deletion that leaves children (metav1.FinalizerOrphanDependents)."""


class OwnerWriter:
    """Writes to EgressGateways; the caches learn of each write from its answer."""

    def __init__(self, client: ApiClient, caches: Caches, events: EventRecorder, metrics: Metrics) -> None:
        self._client = client
        self._caches = caches
        self._events = events
        self._metrics = metrics

    async def write_status(self, key: Key, status: Mapping[str, Any]) -> None:
        """
        Store `status` if it differs from what is known, and report transitions.

        Raises:
            Conflict: the object changed since it was read.
        """
        gateway = self._caches.gateways.get(*key)
        if gateway is None:
            return
        old = gateway.get("status") or {}
        patch = status_patch(old, status)
        if patch is not None:
            await self._patch(key, gateway, {"status": patch}, subresource="status")
            for transition in transitions(old, status):
                self._events.record(gateway, transition.type, transition.reason, "Reconcile", transition.message)
            _log_readiness(old, status)
        self._metrics.status(key, status)

    def has_finalizer(self, key: Key) -> bool:
        gateway = self._caches.gateways.get(*key)
        return gateway is not None and FINALIZER in _finalizers(gateway)

    def leaves_children(self, key: Key) -> bool:
        """Whether the deletion shall keep the children (`--cascade=orphan`): the garbage collector disowns them."""
        gateway = self._caches.gateways.get(*key)
        return gateway is not None and _ORPHANS in _finalizers(gateway)

    async def add_finalizer(self, key: Key) -> None:
        """Make sure that the object stays until its clients are withdrawn."""
        gateway = self._caches.gateways.get(*key)
        if gateway is not None and FINALIZER not in _finalizers(gateway):
            await self._patch(key, gateway, {"metadata": {"finalizers": [*_finalizers(gateway), FINALIZER]}})

    async def remove_finalizer(self, key: Key) -> None:
        """Remove our finalizer, so that the object can be deleted."""
        gateway = self._caches.gateways.get(*key)
        if gateway is None or FINALIZER not in _finalizers(gateway):
            return
        others = [finalizer for finalizer in _finalizers(gateway) if finalizer != FINALIZER]
        try:
            await self._patch(key, gateway, {"metadata": {"finalizers": others}})
        except NotFound:
            return

    async def _patch(self, key: Key, gateway: Manifest, body: Manifest, subresource: str | None = None) -> None:
        metadata = {**body.get("metadata", {}), "resourceVersion": gateway["metadata"]["resourceVersion"]}
        call = merge_patch(
            EGRESS_GATEWAY,
            key.namespace,
            key.name,
            {**body, "metadata": metadata},
            subresource=subresource,
            field_manager=FIELD_MANAGER,
        )
        ref = ObjectRef(EGRESS_GATEWAY.kind, *key)
        with self._caches.own_writes.to(ref, key) as own, self._caches.gateways.asking() as asked:
            patched = await self._client.send(call)
            if patched is not None:
                own.answered(patched)
                self._caches.wrote_gateway(patched, asked)


def _log_readiness(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    moved = readiness_moved(old, new)
    if moved is not None:
        # While it is unknown, it is neither lost nor won: an edit moves clients that continue as before, or a deletion
        # withdraws them.
        words = {"True": "is ready", "Unknown": "is being changed"}
        message = f"EgressGateway {words.get(str(moved.get('status')), 'is no longer ready')}"
        log.info(message, extra={"fields": {"reason": moved.get("reason", ""), "because": moved.get("message", "")}})


def _finalizers(gateway: Manifest) -> list[str]:
    finalizers: list[str] = gateway["metadata"].get("finalizers") or []
    return finalizers
