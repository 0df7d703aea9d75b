"""
`egressgw drain`: let go of every EgressGateway, so that none waits for an operator that is gone.

For the time before or after an uninstall. `keep` takes our finalizer off objects that stay: their gateways go on
working, and whoever deletes one later is not held up. `delete` deletes the objects while the operator still runs, which
withdraws clients in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiClient, Sender
from egressgateway.cluster.request import delete_object, get_object, list_objects, merge_patch
from egressgateway.engine.apply import FIELD_MANAGER
from egressgateway.engine.wants import key_of
from egressgateway.errors import Conflict, EgressGatewayError, NotFound
from egressgateway.plan.names import FINALIZER
from egressgateway.refs import EGRESS_GATEWAY, LEASE, Manifest
from egressgateway.settings import LeaseSettings

_LONGEST_WAIT_SECONDS = 2.0
_AT_ONCE = 16

Say = Callable[[str], None]


class DrainError(EgressGatewayError):
    """Some objects could not be let go of; the message names them and the way out."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What to let go of. `namespaces`: those that the operator serves, none for all. `timeout` in seconds."""

    lease: LeaseSettings
    namespaces: tuple[str, ...] = ()
    timeout: float = 120.0


async def run_drain(drain: Drain, *, delete: bool, say: Say) -> None:
    """
    Do it with the credentials at hand.

    Raises:
        DrainError: objects are left.
        ClusterError: the API server refused, or there are no credentials.
    """
    client = await ApiClient.connect(_AT_ONCE)
    try:
        async with asyncio.timeout(drain.timeout) as limit:
            await (delete_all(client, drain, say) if delete else release_all(client, drain, say))
    except TimeoutError:
        if not limit.expired():
            raise
        left = await _listed(client, drain)
        raise DrainError(_left(left, drain, deleted=delete)) from None
    finally:
        await client.close()


async def delete_all(client: Sender, drain: Drain, say: Say) -> None:
    """Delete every EgressGateway and wait until the operator has let them go."""
    found = await _listed(client, drain)
    say(f"deleting {len(found)} EgressGateways")
    for gateway in found:
        key, uid = key_of(gateway), gateway["metadata"]["uid"]
        await _unless_gone(client.send(delete_object(EGRESS_GATEWAY, key.namespace, key.name, uid=uid)))
    backoff = Backoff(base=0.2)
    while True:
        if not await _listed(client, drain):
            break
        await asyncio.sleep(backoff.next(_LONGEST_WAIT_SECONDS))
    say("all of them are gone")


async def release_all(client: Sender, drain: Drain, say: Say) -> None:
    """
    Take our finalizer off every EgressGateway, once no operator is left that would put it on again.

    Raises:
        DrainError: objects that are being deleted have children in other namespaces, which nobody would remove. All
            others are let go of before.
    """
    await _nobody_leads(client, drain, say)
    released = 0
    while True:
        held = _held(await _listed(client, drain))
        free = [each for each in held if not _is_stuck(each)]
        if not free:
            break
        for gateway in free:
            released += await _release(client, gateway)
        if steering := [each for each in free if _remote(each)]:
            say(f"{_names(steering)}: children in other namespaces outlive them if deleted while no operator runs")
    say(f"{released} EgressGateways let go of; they and their gateways stay as they are")
    if held:
        raise DrainError(
            f"{_names(held)}: not let go of: being deleted, and their children in other namespaces would stay and "
            "steer clients to nothing; run the operator until they are gone, then drain again"
        )


async def _nobody_leads(client: Sender, drain: Drain, say: Say) -> None:
    """Return when the Lease is free, or was not renewed for as long as its holder has for that."""
    loop = asyncio.get_running_loop()
    seen, since = None, loop.time()
    while True:
        try:
            lease = await client.send(get_object(LEASE, drain.lease.namespace, drain.lease.name)) or {}
        except NotFound:
            return
        spec: Mapping[str, Any] = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return
        if spec.get("renewTime") != seen:
            if seen is None:
                say(f"waiting for the end of {spec['holderIdentity']}")
            seen, since = spec.get("renewTime"), loop.time()
        elif loop.time() - since > float(spec.get("leaseDurationSeconds") or 0):
            return
        await asyncio.sleep(0.5)


async def _listed(client: Sender, drain: Drain) -> list[Manifest]:
    found: list[Manifest] = []
    for namespace in drain.namespaces or (None,):
        try:
            page = await client.send(list_objects(EGRESS_GATEWAY, namespace, limit=None)) or {}
        except NotFound:
            # Without the CRD there is nothing to let go of.
            continue
        found += page.get("items") or ()
    return found


async def _release(client: Sender, gateway: Manifest) -> int:
    key, metadata = key_of(gateway), gateway["metadata"]
    body = {
        "metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "finalizers": [each for each in _finalizers(gateway) if each != FINALIZER],
        }
    }
    call = merge_patch(EGRESS_GATEWAY, key.namespace, key.name, body, field_manager=FIELD_MANAGER)
    return await _unless_gone(client.send(call))


async def _unless_gone(call: Awaitable[Manifest | None]) -> int:
    """1 when it was done; 0 when the object is gone or has changed, which the next look at all of them shows."""
    try:
        await call
    except (Conflict, NotFound):
        return 0
    return 1


def _finalizers(gateway: Manifest) -> Sequence[str]:
    return gateway["metadata"].get("finalizers") or ()


def _held(gateways: Sequence[Manifest]) -> list[Manifest]:
    return [each for each in gateways if FINALIZER in _finalizers(each)]


def _is_stuck(gateway: Manifest) -> bool:
    """Whether it goes away with the finalizer, and leaves behind what garbage collection does not find."""
    return "deletionTimestamp" in gateway["metadata"] and _remote(gateway)


def _remote(gateway: Manifest) -> bool:
    return bool((gateway.get("status") or {}).get("remoteChildren"))


def _names(gateways: Sequence[Manifest]) -> str:
    shown = ", ".join(str(key_of(each)) for each in gateways[:10])
    return shown if len(gateways) <= 10 else f"{shown} and {len(gateways) - 10} more"


def _left(gateways: Sequence[Manifest], drain: Drain, *, deleted: bool) -> str:
    """What is still there when the time is over, and what to do."""
    waited, lease = f"after {drain.timeout:g} seconds", f"{drain.lease.namespace}/{drain.lease.name}"
    if deleted:
        return (
            f"{_names(gateways)}: still there {waited}; see whether an operator runs (it renews the Lease {lease}) and "
            "what their status says, then drain again"
        )
    held = _held(gateways)
    left = f"{_names(held)}: not let go of {waited}" if held else f"not done {waited}, and nothing is left to let go of"
    return f"{left}; does an operator still renew the Lease {lease}? Stop it, then drain again"
