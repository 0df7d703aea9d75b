"""
Cleans up after an EgressGateway that was deleted without being withdrawn: its finalizer was removed by hand.

Its clients' objects are deleted in one batch, before the garbage collector deletes them one by one: another object may
get their names now. The record (`remote_records`) finds children in other namespaces; it outlives the object, and no
garbage collector finds those.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.request import list_objects
from egressgateway.cluster.result import Again, Done, Outcome
from egressgateway.diff.changeset import Delete, is_deleting
from egressgateway.diff.steering import Steps
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.reconcile.apply import Applied, Applier
from egressgateway.engine.reconcile.remote_records import Record, RemoteRecords
from egressgateway.engine.reconcile.state import GatewayState
from egressgateway.errors import ClusterError, NotFound
from egressgateway.live.children import stage_of
from egressgateway.live.evidence import is_child, is_owned_by
from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest, ObjectRef
from egressgateway.settings import Settings
from egressgateway.stages import Stage

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = timedelta(seconds=1)
_COLLECTOR_LOOK: Final = timedelta(seconds=10)
_COLLECTOR_SECONDS: Final = 30.0
"""
How long the hops through a gateway may outlast the object while the garbage collector has time to delete what protects
them.
"""


class Cleanup:
    """Removes what deleted objects have left."""

    def __init__(
        self, client: ApiClient, caches: Caches, records: RemoteRecords, applier: Applier, settings: Settings
    ) -> None:
        self._client = client
        self._caches = caches
        self._records = records
        self._applier = applier
        self._settings = settings

    async def run(self, key: Key, state: GatewayState) -> Outcome:
        """
        One step of the cleanup, for a key without an object.

        Raises:
            ClusterError: something could not be removed.
        """
        if not self._settings.serves(key.namespace):
            return Done()
        found = self._caches.children_of(key)
        own = {ref: each for ref, each in found.items() if ref.namespace == key.namespace}
        await self._end_clients(key, own, state)
        left = [ref for ref, each in own.items() if is_owned_by(each, key) and not is_deleting(each)]
        record = self._records.of(key)
        if record is None:
            return await self._end_left_over(key, own, state) if left else Done()
        if record.left and any(is_child(each, key, frozenset()) for each in own.values()):
            # `--cascade=orphan`: the policies that protect their hops stay with them.
            return Done()
        if self._is_open(key, own, state):
            return Again(_LOOK_AGAIN)
        await self._end_remote(key, record, found, state)
        await self._records.forget(key)
        return Done()

    async def _end_clients(self, key: Key, own: Mapping[ObjectRef, Manifest], state: GatewayState) -> None:
        """By owner reference alone: the collector deletes nothing else, and disowned children are meant to stay."""
        batch = tuple(
            Delete(ref, Stage.CLIENTS, found)
            for ref, found in own.items()
            if stage_of(found) is Stage.CLIENTS and is_owned_by(found, key) and not is_deleting(found)
        )
        if batch:
            _raise_first(await self._applier.apply(key, Steps(batches=(batch,)), state))

    async def _end_left_over(self, key: Key, own: Mapping[ObjectRef, Manifest], state: GatewayState) -> Outcome:
        """
        Delete what the garbage collector has not deleted in time, in the order in which hops are taken down.

        The collector cannot know that an owner is gone if the API server no longer serves its kind: a child that was
        written while the CRD was deleted would stay for ever.
        """
        if state.gone_at is None:
            state.gone_at = _clock()
        if _clock() - state.gone_at < _COLLECTOR_SECONDS:
            return Again(_COLLECTOR_LOOK)
        if await self._exists(key):
            # What is known here is not so: to remove a running gateway by it would be an outage.
            log.warning("EgressGateway exists but is not in the cache; keeping its children")
            return Again(_COLLECTOR_LOOK)
        removals = [
            Delete(ref, stage_of(each), each)
            for ref, each in own.items()
            if is_owned_by(each, key) and not is_deleting(each)
        ]
        ordered = tuple(sorted(removals, key=lambda removal: -removal.stage))
        _raise_first(await self._applier.apply(key, Steps(removals=ordered), state))
        return Done()

    async def _exists(self, key: Key) -> bool:
        """Whether the API server has the object now. By a list of one, so that nothing needs the right to get it."""
        one = list_objects(EGRESS_GATEWAY, key.namespace, field_selector=f"metadata.name={key.name}")
        try:
            found = await self._client.send(one)
        except NotFound:
            # The kind itself is gone, with all of its objects.
            return False
        return bool(found and found.get("items"))

    def _is_open(self, key: Key, own: Mapping[ObjectRef, Manifest], state: GatewayState) -> bool:
        """
        Whether the gateway still has hops of the object: the policies that deny them to other clients go after them.
        """
        if state.gone_at is None:
            state.gone_at = _clock()
        ways = any(stage_of(found) is Stage.GATEWAY and is_owned_by(found, key) for found in own.values())
        return ways and _clock() - state.gone_at < _COLLECTOR_SECONDS

    async def _end_remote(
        self, key: Key, record: Record, found: Mapping[ObjectRef, Manifest], state: GatewayState
    ) -> None:
        """Children that the record names and whose labels name the object: neither is enough alone."""
        removals = [
            Delete(ref, stage_of(each), each)
            for ref, each in found.items()
            if is_child(each, key, record.children) and not is_deleting(each)
        ]
        ordered = tuple(sorted(removals, key=lambda removal: -removal.stage))
        _raise_first(await self._applier.apply(key, Steps(removals=ordered), state))


def _raise_first(applied: Applied) -> None:
    errors: list[ClusterError] = list(applied.failures.values())
    if errors:
        raise errors[0]


def _clock() -> float:
    return asyncio.get_running_loop().time()
