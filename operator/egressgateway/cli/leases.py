"""
Whether an operator runs, according to its Lease: looked for by its label, or at the place that the user names.

A Lease exists only for operators that elect a leader. What cannot be found out is reported, never taken for a no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.leader_election import LEASE_LABELS
from egressgateway.cluster.request import delete_object, get_object, list_objects
from egressgateway.errors import ClusterError, Conflict, Forbidden, NotFound
from egressgateway.refs import LEASE, POD, Manifest

_LOOK_SECONDS = 0.5
_MOST_SHOWN = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look for the operator's Lease: everywhere, in one namespace, or under one name."""

    namespace: str | None = None
    name: str | None = None
    """Only with `namespace`."""

    deployment: str | None = None
    """The operator's, in `namespace`: its leader is a pod, and has ended when that is gone."""


@dataclass(frozen=True, slots=True)
class Found:
    """Leases of operators, and the reason if they could not be listed."""

    leases: tuple[Manifest, ...] = ()
    why_not: str = ""

    def describe(self) -> str:
        """What is known of operators."""
        if self.why_not:
            return f"cannot find out whether an operator runs: {self.why_not}"
        if not self.leases:
            return "no operator's Lease was found: an operator without a Lease, or an older version, may still run"
        return _shown([_state_of(each) for each in self.leases], ", ")

    def held_in_words(self) -> str:
        """The Leases that have a holder; empty when there is none."""
        return _shown([name_of(each) for each in self.leases if holder_of(each)], " or ")


async def find_leases(client: ApiCaller, place: Place) -> Found:
    """The operators' Leases at that place; a refusal is an answer, too."""
    try:
        if place.name is not None:
            lease = await client.send(get_object(LEASE, place.namespace, place.name))
            return Found((lease,) if lease else ())
        selector = ",".join(f"{name}={value}" for name, value in sorted(LEASE_LABELS.items()))
        page = await client.send(list_objects(LEASE, place.namespace, label_selector=selector, limit=None)) or {}
        return Found(tuple(page.get("items") or ()))
    except NotFound:
        return Found()
    except Forbidden as error:
        return Found(why_not=f"{error}; name it with --lease-namespace and --lease-name")


def name_of(lease: Manifest) -> str:
    """`namespace/name`."""
    return f"{lease['metadata']['namespace']}/{lease['metadata']['name']}"


def holder_of(lease: Manifest) -> str:
    """The holder of the Lease, or its last one; empty when it was released."""
    return str(_spec(lease).get("holderIdentity") or "")


async def wait_until_nobody_leads(client: ApiCaller, found: Found, place: Place, say: Say) -> None:
    """
    Return when each Lease is free, its holder's pod is gone, or it was not renewed for as long as its holder has for
    that.

    A Lease whose holder has ended is deleted, so that the next operator leads at once. An operator that an uninstall
    ends could not release it: its rights were removed first.
    """
    # At once: any tenant may create Leases with the label, and each could be waited for in turn.
    await asyncio.gather(*(_end(client, lease, place, say) for lease in found.leases))


async def _end(client: ApiCaller, lease: Manifest, place: Place, say: Say) -> None:
    left = await _outlasted(client, lease, place, say)
    if left is not None:
        await _delete(client, left, say)


async def _outlasted(client: ApiCaller, lease: Manifest, place: Place, say: Say) -> Manifest | None:
    """The Lease once it has no active holder; None when it is gone."""
    namespace, name = lease["metadata"]["namespace"], lease["metadata"]["name"]
    loop = asyncio.get_running_loop()
    seen, since = None, loop.time()
    while True:
        try:
            lease = await client.send(get_object(LEASE, namespace, name)) or lease
        except NotFound:
            return None
        if not holder_of(lease) or await _pod_is_gone(client, holder_of(lease), place):
            return lease
        if (renewed := _spec(lease).get("renewTime")) != seen:
            if seen is None:
                say(f"waiting until {holder_of(lease)} no longer holds Lease {name_of(lease)}")
            seen, since = renewed, loop.time()
        elif loop.time() - since > float(_spec(lease).get("leaseDurationSeconds") or 0):
            return lease
        await asyncio.sleep(_LOOK_SECONDS)


async def _pod_is_gone(client: ApiCaller, holder: str, place: Place) -> bool:
    """Whether the holder was a pod of the Deployment, and exists no more; an operator that is no pod may still run."""
    pod = holder.rpartition("_")[0]
    if place.deployment is None or not pod.startswith(f"{place.deployment}-"):
        return False
    try:
        await client.send(get_object(POD, place.namespace, pod))
    except NotFound:
        return True
    return False


async def _delete(client: ApiCaller, lease: Manifest, say: Say) -> None:
    metadata = lease["metadata"]
    call = delete_object(
        LEASE,
        metadata["namespace"],
        metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )
    try:
        await client.send(call)
    except (Conflict, NotFound):
        # There is a leader again, or another command has deleted it.
        return
    except ClusterError as error:
        say(f"Lease {name_of(lease)} stays, and delays the next operator until it expires: {error}")


def _state_of(lease: Manifest) -> str:
    if holder := holder_of(lease):
        return f"Lease {name_of(lease)} is held by {holder}"
    return f"Lease {name_of(lease)} is free: no operator holds it"


def _shown(words: Sequence[str], between: str) -> str:
    more = f" and {len(words) - _MOST_SHOWN} more Leases" if len(words) > _MOST_SHOWN else ""
    return between.join(words[:_MOST_SHOWN]) + more


def _spec(lease: Manifest) -> Mapping[str, Any]:
    return lease.get("spec") or {}
