"""
Actions as data: which objects to write, which to delete, and which belong to another owner.

A child is in sync when it has our digest annotation and the live object still holds every field of ours: so a restart,
or a status change of a child, costs no write at all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from egressgateway.diff.subset import EXACT_KINDS, content_of, has_foreign_fields, holds, merge_patch
from egressgateway.live.children import stage_of
from egressgateway.live.evidence import is_child_of
from egressgateway.names import ANNOTATION_DIGEST
from egressgateway.plan.ir import Plan
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.render.manifests import Desired
from egressgateway.stages import Stage


class Mode(StrEnum):
    """How an object is written."""

    CREATE = "create"
    """Server-side apply that fails when the name is taken."""

    APPLY = "apply"
    """Server-side apply onto the very object that we saw."""

    RESET = "reset"
    """Merge patch that also removes added fields: server-side apply cannot remove fields of other managers."""


@dataclass(frozen=True, slots=True)
class Write:
    """One object to write. `drift`: another client changed what we had written; the plan did not change."""

    mode: Mode
    desired: Desired
    live: Manifest | None = None
    drift: bool = False

    @property
    def ref(self) -> ObjectRef:
        return self.desired.ref

    @property
    def stage(self) -> Stage:
        return self.desired.stage

    @property
    def body(self) -> Manifest:
        """
        The body of the request.

        Two preconditions protect the objects of other owners without a read before the write. A create carries a
        resource version that no object has: the API server ignores it for a new object and answers 409 when one of that
        name exists (seen on 1.36). Everything else carries the uid of the object that was seen.
        """
        manifest = self.desired.manifest
        if self.live is None:
            return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "1"}}
        metadata = {**manifest["metadata"], "uid": self.live["metadata"]["uid"]}
        if self.mode is Mode.RESET:
            return {**manifest, "metadata": metadata, **merge_patch(content_of(manifest), content_of(self.live))}
        return {**manifest, "metadata": metadata, **_with_live_replicas(manifest, self.live)}


def _with_live_replicas(manifest: Manifest, live: Manifest) -> Manifest:
    """
    The `spec` of a Deployment that another controller scales, with the live count.

    A count that we sent once and then left out would fall back to the default, which is 1, until the autoscaler acts.
    """
    if not _is_scaled_by_others(manifest):
        return {}
    return {"spec": {**manifest["spec"], "replicas": live["spec"]["replicas"]}}


def _is_scaled_by_others(manifest: Manifest) -> bool:
    return manifest["kind"] == "Deployment" and "replicas" not in manifest["spec"]


@dataclass(frozen=True, slots=True)
class Delete:
    """One object to delete: it is ours, and no longer wanted."""

    ref: ObjectRef
    stage: Stage
    live: Manifest


OFF_DATA_PATH: Final = frozenset({"PodDisruptionBudget", "HorizontalPodAutoscaler"})
"""Kinds that requests through the gateway do not need."""

Compared = Mapping[ObjectRef, tuple[str, str]]
"""Wanted digest and live version of objects that were in sync: comparing the two again would have the same result."""

_NOTHING_COMPARED: Compared = {}


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """
    All differences of one EgressGateway's children.

    `foreign` holds refs under which an object of another owner exists, `going` those of ours that are terminating: they
    can only be created again once they are gone. `blocked` are the sections whose hops rely on one of these; the empty
    one stands for all. `in_sync` are those that need no write, for the next comparison.
    """

    writes: tuple[Write, ...] = ()
    deletes: tuple[Delete, ...] = ()
    foreign: frozenset[ObjectRef] = frozenset()
    going: frozenset[ObjectRef] = frozenset()
    blocked: frozenset[str] = frozenset()
    in_sync: Compared = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.writes or self.deletes)


class Written(NamedTuple):
    """One write that was made: its content, the version of the object that it made, and whether it was a reset."""

    digest: str
    version: str
    reset: bool


Memo = Mapping[ObjectRef, Written]
"""The last write of each ref, as far as it is remembered."""

_NO_MEMO: Memo = {}


def diff(  # noqa: PLR0913  (two sides, and what is known of them)
    plan: Plan,
    desired: Iterable[Desired],
    live: Mapping[ObjectRef, Manifest],
    key: Key,
    memo: Memo = _NO_MEMO,
    *,
    compared: Compared = _NOTHING_COMPARED,
    ours: Container[ObjectRef] = frozenset(),
) -> ChangeSet:
    """
    The differences between `live` and `desired`.

    Args:
        live: objects that carry the labels of `key`'s children.
        memo: an object that is still at the version that our write made is not written again, even if the server stores
            another form of a value than the one sent: at most one write too many, never a loop.
        compared: what an earlier comparison found in sync.
        ours: refs in `live` that are known to be its children; of the others the evidence is looked at.
    """
    wanted = {item.ref: item for item in desired}
    foreign = frozenset(ref for ref, found in live.items() if ref not in ours and not is_child_of(found, key))
    same = {
        ref: state
        for ref, item in wanted.items()
        if ref in live
        and (compared.get(ref) == (state := (item.digest, version_of(live[ref]))) or in_sync(item, live[ref]))
    }
    writes = [
        write
        for item in wanted.values()
        if item.ref not in foreign and item.ref not in same and (write := _write(item, live.get(item.ref), memo))
    ]
    deletes = [
        Delete(ref, stage_of(found), found)
        for ref, found in live.items()
        if ref not in wanted and ref not in foreign and not _is_kept(plan, ref) and not is_deleting(found)
    ]
    going = frozenset(ref for ref in wanted if ref in live and ref not in foreign and is_deleting(live[ref]))
    taken = (foreign & wanted.keys()) | going
    blocked = frozenset(wanted[ref].section for ref in taken if ref.kind not in OFF_DATA_PATH)
    return ChangeSet(tuple(writes), tuple(deletes), foreign & wanted.keys(), going, blocked, same)


def version_of(manifest: Manifest) -> str:
    """Resource version of a live object."""
    version: str = manifest["metadata"].get("resourceVersion", "")
    return version


def is_deleting(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def in_sync(desired: Desired, live: Manifest | None) -> bool:
    """Whether `live` is what `desired` says, in the fields that the operator owns."""
    if live is None or is_deleting(live):
        return False
    annotations = live["metadata"].get("annotations") or {}
    return annotations.get(ANNOTATION_DIGEST) == desired.digest and holds(desired.manifest, live)


def _write(desired: Desired, live: Manifest | None, memo: Memo) -> Write | None:
    if live is None:
        return Write(Mode.CREATE, desired)
    if is_deleting(live):
        # A terminating object cannot be restored; the event of its deletion enqueues the key.
        return None
    if "spec" not in live and _is_scaled_by_others(desired.manifest):
        # There is no memory for its body: the count of pods, which is not ours, is not known.
        return None
    same_plan = (live["metadata"].get("annotations") or {}).get(ANNOTATION_DIGEST) == desired.digest
    # Server-side apply removes what an earlier plan of ours left.
    exact = same_plan and desired.ref.kind in EXACT_KINDS
    reset = exact and has_foreign_fields(content_of(desired.manifest), content_of(live))
    # An apply that left fields of others is not the end: the reset comes after it.
    if memo.get(desired.ref) == Written(desired.digest, version_of(live), reset):
        return None
    return Write(Mode.RESET if reset else Mode.APPLY, desired, live, drift=same_plan)


def _is_kept(plan: Plan, ref: ObjectRef) -> bool:
    return ref in plan.kept
