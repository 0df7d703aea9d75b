"""
Carries out steps as writes. A failure is returned as data: one bad child never keeps the others from being written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

import orjson

from egressgateway.cluster.client import ApiClient
from egressgateway.cluster.errors import TOO_LARGE
from egressgateway.cluster.request import Request, apply_object, delete_object, get_object, merge_patch
from egressgateway.diff.changeset import Delete, Mode, Write, Written
from egressgateway.diff.steering import (
    Batch,
    Steps,
    is_new_entry,
    is_withdrawal,
    relies_on,
    removal_rank,
    rerouted,
    sections_of_writes,
)
from egressgateway.diff.subset import EXACT_KINDS
from egressgateway.engine.cache.caches import Caches
from egressgateway.engine.cache.own_writes import OwnWrite
from egressgateway.engine.process.metrics import Metrics
from egressgateway.engine.reconcile.drift_backoff import is_correction, last_foreign_manager
from egressgateway.engine.reconcile.state import GatewayState
from egressgateway.errors import ClusterError, Conflict, Invalid, NotFound
from egressgateway.live.children import namespaces_of_export
from egressgateway.live.evidence import is_child_of
from egressgateway.names import ANNOTATION_DIGEST, MANAGED_BY
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.checks.bounds import too_large
from egressgateway.refs import CHILD_BY_KIND, Key, Manifest, ObjectRef

log = logging.getLogger(__name__)

FIELD_MANAGER: Final = MANAGED_BY


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of the writes: failed refs with their errors, and refs whose name an object of another owner has."""

    failures: Mapping[ObjectRef, ClusterError] = field(default_factory=dict)
    foreign: frozenset[ObjectRef] = frozenset()
    writes: int = 0


class Applier:
    """Writes children, for one pass per key at a time; keeps the caches and the memory of the key correct."""

    def __init__(self, client: ApiClient, caches: Caches, metrics: Metrics) -> None:
        self._client = client
        self._caches = caches
        self._metrics = metrics

    async def apply(self, key: Key, steps: Steps, state: GatewayState) -> Applied:
        """
        Carry out `steps` in their order.

        Clients are only sent to a hop that works: an earlier failure, in what serves all clients or in a section of a
        batch, holds the whole batch back.
        """
        failures: dict[ObjectRef, ClusterError] = {}
        foreign: set[ObjectRef] = set()
        broken: set[str] = set()
        for planned in (steps.guards, steps.foundation, steps.gateway):
            # While a restriction for sidecars is missing, the gateway gets no new entry.
            stage = planned if "" not in broken else tuple(each for each in planned if not is_new_entry(each))
            await self._write_all(key, stage, state, failures, foreign)
            lost = [write for write in stage if write.ref in failures or write.ref in foreign]
            broken |= sections_of_writes(lost)
            if len(lost) < len(stage):
                state.gateway_written_at = _clock()
                state.unacknowledged = True
        sound = [batch for batch in steps.batches if is_withdrawal(batch) or not relies_on(batch, frozenset(broken))]
        await asyncio.gather(*(self._write_batch(key, batch, state, failures, foreign) for batch in sound))
        if sound:
            state.clients_written_at = _clock()
            # A batch that fails is tried again as a whole: what it has written so far opens no way.
            unwritten = failures.keys() | foreign
            written = (batch for batch in sound if not any(action.ref in unwritten for action in batch))
            state.routed_at |= dict.fromkeys(rerouted(written), _clock())
        await self._remove(key, steps.removals, state, failures, foreign)
        writes = (
            len(steps.guards) + len(steps.foundation) + len(steps.gateway) + sum(map(len, sound)) + len(steps.removals)
        )
        return Applied(failures, frozenset(foreign), writes)

    async def _remove(
        self,
        key: Key,
        removals: Sequence[Delete],
        state: GatewayState,
        failures: dict[ObjectRef, ClusterError],
        foreign: set[ObjectRef],
    ) -> None:
        """Remove stage by stage, hops before what protects them; a failure ends it, and the next pass continues."""
        for _, stage in groupby(removals, key=removal_rank):
            found = tuple(stage)
            await self._write_all(key, found, state, failures, foreign)
            if any(removal.ref in failures for removal in found):
                return

    async def _write_batch(
        self,
        key: Key,
        batch: Batch,
        state: GatewayState,
        failures: dict[ObjectRef, ClusterError],
        foreign: set[ObjectRef],
    ) -> None:
        """
        First ServiceEntries that lose something; then routes, then ServiceEntries that gain something, then routes to
        delete; a failure ends it.

        An export to fewer namespaces is a loss, too. A ServiceEntry that loses one thing and gains another is written
        twice.

        The milliseconds in between do not matter to the mesh, which waits for a quiet moment before it pushes. But
        after a failure in the middle, no host may be registered and not routed: clients would call it directly.
        """
        for step in in_safe_order(batch):
            await self._write_all(key, step, state, failures, foreign)
            if any(action.ref in failures or action.ref in foreign for action in step):
                return

    async def _send(self, key: Key, action: Write | Delete, state: GatewayState) -> None:
        with self._caches.own_writes.to(action.ref, key) as own:
            await (self._write(action, state, own) if isinstance(action, Write) else self._delete(action, state, own))

    async def _write_all(
        self,
        key: Key,
        actions: Iterable[Write | Delete],
        state: GatewayState,
        failures: dict[ObjectRef, ClusterError],
        foreign: set[ObjectRef],
    ) -> None:
        """
        Write at nearly the same time, so that istiod's debounce makes one push of them; a pass has a limit of
        concurrent writes.
        """

        async def one(action: Write | Delete) -> None:
            try:
                async with state.write_slots:
                    await self._send(key, action, state)
            except Conflict as error:
                if await self._is_foreign(key, action):
                    foreign.add(action.ref)
                else:
                    failures[action.ref] = error
            except ClusterError as error:
                failures[action.ref] = error
            self._count(action, failures.get(action.ref))

        await asyncio.gather(*(one(action) for action in actions))

    async def _write(self, write: Write, state: GatewayState, own: OwnWrite) -> None:
        repair = is_correction(write, state.written)
        with self._caches.children[write.ref.kind].asking() as asked:
            live = await self._client.send(_sendable(write, _request_of(write)))
            if live is None:
                return
            own.answered(live)
            # The answer has the newest state, unless the object was deleted meanwhile: the watch will only repeat it.
            self._caches.put_child(write.ref.kind, live, asked)
        version: str = live["metadata"]["resourceVersion"]
        state.written[write.ref] = Written(write.desired.digest, version, write.mode is Mode.RESET)
        if write.ref.kind not in EXACT_KINDS:
            # No other manager can have added to it.
            state.compared[write.ref] = (write.desired.digest, version)
        if repair:
            self._metrics.drift_corrected(write.ref.kind)
            state.drift_backoff.count(write.ref, _clock())
            log.info("Drift corrected", extra={"fields": {"child": str(write.ref)}})
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("Child written", extra={"fields": {"child": str(write.ref), "mode": write.mode.value}})

    async def last_changed_by(self, ref: ObjectRef) -> str:
        """Field manager that changed a child last, other than the operator; empty when it is not known."""
        try:
            found = await self._client.send(get_object(CHILD_BY_KIND[ref.kind], ref.namespace, ref.name))
        except ClusterError:
            return ""
        return "" if found is None else last_foreign_manager(found, FIELD_MANAGER)

    async def _delete(self, delete: Delete, state: GatewayState, own: OwnWrite) -> None:
        """
        Delete a child.

        Where a finalizer of another controller keeps it, the API server answers with the object (Kubernetes,
        "Finalizers"): clients use it until it is gone, so it must not be forgotten before.
        """
        resource = CHILD_BY_KIND[delete.ref.kind]
        uid = delete.live["metadata"]["uid"]
        with self._caches.children[delete.ref.kind].asking() as asked:
            answer = None
            with suppress(NotFound):
                call = delete_object(resource, delete.ref.namespace, delete.ref.name, uid=uid)
                answer = await self._client.send(call)
            if answer is not None and _is_kept(answer, uid):
                own.answered(answer)
                self._caches.put_child(delete.ref.kind, answer, asked)
            else:
                own.deleted()
                self._caches.remove_child(delete.ref.kind, delete.live)
        state.written.pop(delete.ref, None)
        log.debug("Child deleted", extra={"fields": {"child": str(delete.ref)}})

    async def _is_foreign(self, key: Key, action: Write | Delete) -> bool:
        """
        After a conflict: whether the object of that name has another owner. Reads it; the caches learn of it if it is
        ours.
        """
        if isinstance(action, Delete) or action.mode is not Mode.CREATE:
            return False
        call = get_object(CHILD_BY_KIND[action.ref.kind], action.ref.namespace, action.ref.name)
        with self._caches.children[action.ref.kind].asking() as asked:
            try:
                found = await self._client.send(call)
            except ClusterError:
                return False
            if found is None:
                return False
            if is_child_of(found, key):
                self._caches.put_child(action.ref.kind, found, asked)
                return False
        return True

    def _count(self, action: Write | Delete, error: ClusterError | None) -> None:
        operation = action.mode.value if isinstance(action, Write) else "delete"
        self._metrics.child_applied(action.ref.kind, operation, type(error).__name__ if error else "success")


def _request_of(write: Write) -> Request:
    resource = CHILD_BY_KIND[write.ref.kind]
    if write.mode is Mode.RESET:
        return merge_patch(resource, write.ref.namespace, write.ref.name, write.body, field_manager=FIELD_MANAGER)
    body = orjson.dumps(write.body)
    return apply_object(resource, write.ref.namespace, write.ref.name, body, field_manager=FIELD_MANAGER)


def _sendable(write: Write, request: Request) -> Request:
    """
    `request`, unless no API server would store it.

    Raises:
        Invalid: it is too large. Sending it again and again would cost the server as much each time.
    """
    message = too_large(write.ref, len(request.body or b""))
    if message:
        raise Invalid(request.call, message, reason=TOO_LARGE)
    return request


def in_safe_order(batch: Batch) -> tuple[Batch, Batch, Batch, Batch]:
    """
    ServiceEntries that lose something, routes to write, ServiceEntries that gain something, routes to delete.

    So at every moment, and after a failure of any of them, what a namespace has registered is routed there.
    """
    routes = tuple(action for action in batch if action.ref.kind == "VirtualService")
    entries = tuple(action for action in batch if action.ref.kind != "VirtualService")
    both = tuple(_less(action) for action in entries if routes and isinstance(action, Write) and _is_mixed(action))
    return (
        (*(action for action in entries if _only_loses(action)), *both),
        tuple(action for action in routes if isinstance(action, Write)),
        tuple(action for action in entries if not _only_loses(action)),
        tuple(action for action in routes if isinstance(action, Delete)),
    )


def _only_loses(action: Write | Delete) -> bool:
    """Whether the ServiceEntry registers nothing that is not registered already."""
    if isinstance(action, Delete):
        return True
    return action.live is not None and _registers_all_of(action.live, action.desired.manifest)


def _is_mixed(write: Write) -> bool:
    """Whether the ServiceEntry loses a host, a port or a namespace, and gains another."""
    if write.live is None or "spec" not in write.live or _only_loses(write):
        return False
    return not _registers_all_of(write.desired.manifest, write.live)


def _less(write: Write) -> Write:
    """
    A step from the live to the wanted ServiceEntry: what both register, in the namespaces of both.

    Where they have nothing in common no client sees it. It lacks our digest, so that it is not mistaken for the wanted
    one.
    """
    live, wanted = _as_written(write.live or {}, write.desired.manifest), write.desired.manifest
    hosts = sorted(_hosts(live) & _hosts(wanted))
    ports = [port for port in wanted["spec"]["ports"] if port["number"] in _numbers(live)]
    seen = _common(_seen_in(live), _seen_in(wanted))
    alike = bool(hosts and ports and seen)
    changed = {"hosts": hosts, "ports": ports, "exportTo": sorted(seen)} if alike else {"exportTo": ["~"]}
    spec = {**(wanted if alike else live)["spec"], **changed}
    annotations = {**wanted["metadata"].get("annotations", {}), ANNOTATION_DIGEST: ""}
    manifest = {**wanted, "metadata": {**wanted["metadata"], "annotations": annotations}, "spec": spec}
    desired = replace(write.desired, manifest=manifest, digest="")
    return replace(write, mode=Mode.APPLY, desired=desired, drift=False)


def _as_written(live: Manifest, wanted: Manifest) -> Manifest:
    """`live` with only the fields that we write ourselves."""
    return {**live, "spec": {name: value for name, value in live["spec"].items() if name in wanted["spec"]}}


def _registers_all_of(one: Manifest, other: Manifest) -> bool:
    """Whether `one` registers, in its own namespaces, all that `other` registers there."""
    wider, narrower = _seen_in(one), _seen_in(other)
    everywhere = EVERY_NAMESPACE in wider or narrower <= wider
    return everywhere and _hosts(other) <= _hosts(one) and _numbers(other) <= _numbers(one)


def _common(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if EVERY_NAMESPACE in one:
        return other
    return one if EVERY_NAMESPACE in other else one & other


def _seen_in(entry: Manifest) -> frozenset[str]:
    return namespaces_of_export(entry, entry["metadata"]["namespace"])


def _hosts(entry: Manifest) -> set[str]:
    return set((entry.get("spec") or {}).get("hosts") or ())


def _numbers(entry: Manifest) -> set[int]:
    return {port["number"] for port in (entry.get("spec") or {}).get("ports") or ()}


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _is_kept(answer: Manifest, uid: str) -> bool:
    """
    Whether the answer to a deletion is the object `uid` itself, kept by its finalizers; otherwise it is a `Status`.
    """
    metadata = answer.get("metadata") or {}
    return metadata.get("uid") == uid and bool(metadata.get("finalizers"))
