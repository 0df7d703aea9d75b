"""
Which changes may be made now: make before break (notes "istio-recipes" §9).

* Clients are sent to a new hop only when a pod can serve it, istiod has had the time to push the gateway's side of it,
  and no pod that tells what it has lacks it, or a Secret without which it answers 503.
* A ServiceEntry and the VirtualServices of its hosts change in one batch: a ServiceEntry alone bypasses the gateway, a
  VirtualService alone is a 503.
* Where the gateway has a controller of its own, clients also wait until it has accepted the routes and has had the
  time to push them, for each host. Meanwhile they use the gateway that they used before, and all of that one stays.
* The gateway's side loses an entry only after its clients were withdrawn and istiod has pushed that.
* The guard that keeps sidecars from the gateway's own upstreams exists before these, and is removed after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from egressgateway.diff.changeset import OFF_DATA_PATH, ChangeSet, Delete, Write
from egressgateway.facts import Answers, Facts, Receipt
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, ports_of, section_of, ways_in_use, ways_of
from egressgateway.live.controller_status import RouteAcceptance, is_answered_for, route_statuses
from egressgateway.live.ports import meet_on_a_port
from egressgateway.plan.gateway.credentials import receipts_of
from egressgateway.plan.gateway.target import workload_of
from egressgateway.plan.providers import CONTROLLERS
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage


class DeferReason(StrEnum):
    """Why a change waits."""

    GATEWAY_NOT_READY = "no gateway pod is ready yet"
    NAME_TAKEN = "the name of an object that it needs is already in use"
    PUSH = "the gateway's configuration is being pushed to the mesh"
    ASKING = "the gateway's pods are being asked whether they have the configuration"
    NOT_ACKNOWLEDGED = "a gateway pod does not have the configuration yet, and may be cut off from istiod"
    WITHOUT_SECRET = "a gateway pod waits for a Secret of the destination, which ResolvedRefs names"  # noqa: S105 - a reason
    DRAIN = "the removal of its clients is being pushed to the mesh"
    NOT_TAKEN = "the gateway's own controller has not accepted its routes, or cannot push them"
    HANDING_OVER = "the gateway's own controller may still be pushing its routes"
    PORT_IN_USE = "clients of another destination still use one of its ports"


Batch = tuple[Write | Delete, ...]
"""Changes that clients must see at the same time."""


@dataclass(frozen=True, slots=True)
class Steps:
    """
    A change set in the order in which it may be carried out.

    `guards`, `foundation` and `gateway` are written first, then `batches` of what clients see, each as a whole or not
    at all, and `removals` last. `held` says what must wait, by ref.
    """

    guards: tuple[Write, ...] = ()
    foundation: tuple[Write, ...] = ()
    gateway: tuple[Write, ...] = ()
    batches: tuple[Batch, ...] = ()
    removals: tuple[Delete, ...] = ()
    held: Mapping[ObjectRef, DeferReason] = field(default_factory=dict)


def plan_steps(changes: ChangeSet, facts: Facts) -> Steps:
    """Split `changes` into what may be done in this pass, and what must wait, and for which reason."""
    guards = tuple(write for write in changes.writes if is_guard(write))
    foundation = tuple(write for write in changes.writes if write.stage is Stage.FOUNDATION and not is_guard(write))
    gateway = tuple(write for write in changes.writes if write.stage is Stage.GATEWAY)
    batches, held = _clients_now(changes, facts, written=sections_of_writes((*guards, *foundation, *gateway)))
    removals, kept = _removals_now(changes, facts, batches, held)
    return Steps(guards, foundation, gateway, batches, removals, {**held, **kept})


def is_guard(action: Write | Delete) -> bool:
    """Whether it is about the VirtualService that keeps sidecars from the gateway's own entries."""
    return action.stage is Stage.FOUNDATION and action.ref.kind == "VirtualService"


def is_new_entry(write: Write) -> bool:
    """Whether it registers what was not registered before."""
    return write.ref.kind == "ServiceEntry" and write.live is None


def sections_of_writes(writes: Iterable[Write]) -> frozenset[str]:
    """Sections whose hops through the gateway `writes` touch; the empty one stands for all."""
    return frozenset(write.desired.section for write in writes if write.ref.kind not in OFF_DATA_PATH)


def relies_on(batch: Batch, sections: frozenset[str]) -> bool:
    """Whether the hops of one of the batch's sections are among `sections`."""
    return bool(sections & {"", *sections_of(batch)})


def is_withdrawal(batch: Batch) -> bool:
    """Whether clients are only withdrawn, for which the gateway need not be ready."""
    return all(isinstance(action, Delete) for action in batch)


def sections_of(batch: Batch) -> frozenset[str]:
    """Sections with a change in the batch."""
    return frozenset(
        action.desired.section if isinstance(action, Write) else section_of(action.live) for action in batch
    )


def rerouted(batches: Iterable[Batch]) -> frozenset[str]:
    """
    Sections whose clients go another way because of these changes, or go through the gateway for the first time.

    A consumer namespace more or less, or another label, changes nothing for those that are served already.
    """
    writes = (action for batch in batches for action in batch if isinstance(action, Write))
    return frozenset(
        write.desired.section for write in writes if _routing(write.desired.manifest) != _routing(write.live)
    )


def _routing(manifest: Manifest | None) -> dict[str, Any] | None:
    """What of a ServiceEntry or VirtualService decides where requests go; None where there is none."""
    spec = (manifest or {}).get("spec")
    return None if spec is None else {name: value for name, value in spec.items() if name != "exportTo"}


def _clients_now(
    changes: ChangeSet, facts: Facts, *, written: frozenset[str]
) -> tuple[tuple[Batch, ...], dict[ObjectRef, DeferReason]]:
    now: list[Batch] = []
    held: dict[ObjectRef, DeferReason] = {}
    batches = _batches(changes, facts.live)
    waiting = frozenset[ObjectRef]() if facts.mesh_config.dns_capture else waiting_for_a_port(batches, facts.live)
    for batch in batches:
        hold = _hold_of(batch, changes, facts, written=written)
        if hold is None and any(action.ref in waiting for action in batch):
            hold = DeferReason.PORT_IN_USE
        if hold is None:
            now.append(batch)
        else:
            held |= {action.ref: hold for action in batch}
    return tuple(now), held


def _hold_of(batch: Batch, changes: ChangeSet, facts: Facts, *, written: frozenset[str]) -> DeferReason | None:
    if not is_withdrawal(batch) and relies_on(batch, changes.blocked):
        return DeferReason.NAME_TAKEN
    if not _opens_a_way(batch, facts.live) or _is_leaking(batch, facts.live):
        return None
    workload = workload_of(facts)
    if workload.ready == 0 or not workload.complete:
        return DeferReason.GATEWAY_NOT_READY
    if relies_on(batch, written) or not facts.gateway_pushed:
        return DeferReason.PUSH
    if (hold := _hold_of_pods(batch, facts)) is not None:
        return hold
    return _hold_of_controller(batch, changes, facts)


def _hold_of_pods(batch: Batch, facts: Facts) -> DeferReason | None:
    """
    Whether the gateway's pods are being asked, or one of them lacks the way out of a section of the batch, or a Secret
    for it.
    """
    receipts = frozenset[Receipt]().union(*(receipts_of(facts, section) for section in sections_of(batch)))
    if facts.acknowledgement.answers is Answers.AWAITED or Receipt.AWAITED in receipts:
        return DeferReason.ASKING
    if sections_of(batch) & facts.acknowledgement.lacking.keys():
        return DeferReason.NOT_ACKNOWLEDGED
    return DeferReason.WITHOUT_SECRET if Receipt.LACKING in receipts else None


def waiting_for_a_port(batches: Sequence[Batch], live: Mapping[ObjectRef, Manifest]) -> frozenset[ObjectRef]:
    """
    Changes of batches that give clients a port which another batch must release first, if sidecars do not answer DNS.

    TCP carries no host name: if the change that releases the port is rejected, both destinations have it, and the
    clients of one reach the server of the other. Batches that wait for each other are written at once, for one of them
    must be the first.
    """
    waits = {number: _frees_for(number, batches, live) for number in range(len(batches))}
    return frozenset(
        action.ref
        for number, others in waits.items()
        if any(number not in _reached(other, waits) for other in others)
        for action in batches[number]
    )


def _frees_for(number: int, batches: Sequence[Batch], live: Mapping[ObjectRef, Manifest]) -> frozenset[int]:
    """Other batches with a live ServiceEntry on a port that the batch `number` registers, where one speaks TCP."""
    own = {action.ref for action in batches[number]}
    wanted = ports_of(_entries(action.desired.manifest for action in batches[number] if isinstance(action, Write)))
    return frozenset(
        other
        for other, batch in enumerate(batches)
        if other != number
        and meet_on_a_port(
            wanted, ports_of(_entries(live[action.ref] for action in batch if action.ref in live.keys() - own))
        )
    )


def _reached(start: int, waits: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """Batches that `start` waits for, directly or through others."""
    found, left = set[int](), [start]
    while left:
        for other in waits[left.pop()] - found:
            found.add(other)
            left.append(other)
    return frozenset(found)


def _entries(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [found for found in manifests if found["kind"] == "ServiceEntry"]


def _hold_of_controller(batch: Batch, changes: ChangeSet, facts: Facts) -> DeferReason | None:
    """Whether an object on the gateway's side of the batch's sections is not yet where requests are served."""
    sections = sections_of(batch)
    relied = [ref for ref in changes.in_sync if ref in facts.live and section_of(facts.live[ref]) in sections]
    words = {verdict.word for verdict in route_statuses(facts, relied, CONTROLLERS)} - {RouteAcceptance.PUSHED}
    if not words:
        return None
    return DeferReason.HANDING_OVER if words == {RouteAcceptance.PUSHING} else DeferReason.NOT_TAKEN


def _opens_a_way(batch: Iterable[Write | Delete], live: Mapping[ObjectRef, Manifest]) -> bool:
    """
    Whether clients would be sent to a hop that no client uses yet.

    A gateway with a controller of its own also has to learn of each host: one that no client sends to the hop yet opens
    a way, too.
    """
    in_use = ways_in_use(live)
    desired = [action.desired.manifest for action in batch if isinstance(action, Write)]
    if any(way not in in_use for manifest in desired for way in ways_of(manifest)):
        return True
    controlled = {section_of(found) for ref, found in live.items() if is_answered_for(ref.kind, CONTROLLERS)}
    routes = [manifest for manifest in desired if section_of(manifest) in controlled]
    return bool(routes) and not _hosts_by_way(routes) <= _hosts_by_way(live_clients(live, "VirtualService"))


def _hosts_by_way(routes: Iterable[Manifest]) -> Set[tuple[str, str]]:
    return {(way, host) for found in routes for way in ways_of(found) for host in hosts_of(found)}


def _is_leaking(batch: Iterable[Write | Delete], live: Mapping[ObjectRef, Manifest]) -> bool:
    """
    Whether one of the batch's hosts is registered with clients while nothing steers it.

    The VirtualService was deleted or changed: right now requests bypass the gateway, so the correction does not wait.
    """
    routes = (found for found in mesh_routes(live) if any(ways_of(found)))
    steered = {host for found in routes for host in hosts_of(found)}
    registered = {host for found in live_clients(live, "ServiceEntry") for host in hosts_of(found)}
    return any(hosts_of(manifest) & (registered - steered) for manifest in map(_manifest_of, batch))


def _batches(changes: ChangeSet, live: Mapping[ObjectRef, Manifest]) -> list[Batch]:
    """Client-side changes, grouped by the hosts that they share before or after the change."""
    actions: list[Write | Delete] = [
        *(write for write in changes.writes if write.stage is Stage.CLIENTS),
        *(delete for delete in changes.deletes if delete.stage is Stage.CLIENTS),
    ]
    groups: list[tuple[set[str], list[Write | Delete]]] = []
    for action in actions:
        hosts = set(hosts_of(_manifest_of(action)) | hosts_of(live.get(action.ref, {})))
        members = [action]
        for group in [group for group in groups if group[0] & hosts]:
            hosts |= group[0]
            members = [*group[1], *members]
            groups.remove(group)
        groups.append((hosts, members))
    return [tuple(members) for _, members in groups]


def _removals_now(
    changes: ChangeSet, facts: Facts, batches: tuple[Batch, ...], held: Mapping[ObjectRef, DeferReason]
) -> tuple[tuple[Delete, ...], dict[ObjectRef, DeferReason]]:
    """While clients still use a hop, or wait to be sent to it, they may need all that the gateway's side still has."""
    removals = tuple(delete for delete in changes.deletes if delete.stage is not Stage.CLIENTS)
    if batches or held or not facts.clients_pushed:
        hold = next(iter(held.values()), DeferReason.DRAIN)
        return (), {delete.ref: hold for delete in removals}
    return tuple(sorted(removals, key=removal_rank)), {}


def removal_rank(delete: Delete) -> tuple[int, bool]:
    """Hops before what they rely on, and before what guards them. Those of one rank may be deleted together."""
    return -delete.stage, is_guard(delete)


def _manifest_of(action: Write | Delete) -> Manifest:
    return action.desired.manifest if isinstance(action, Write) else action.live
