"""
`egressgw drain`: release every EgressGateway, so that none waits for an operator that is gone.

For the time before or after an uninstall. `keep` removes our finalizer from objects that stay: their gateways continue
to work, and a later deletion is not held up. `delete` deletes the objects while the operator still runs, which
withdraws clients in order. Both say first what they will change, and in which cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from egressgateway.cli.leases import Found, Place, find_leases, wait_until_nobody_leads
from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiCaller, ApiClient
from egressgateway.cluster.request import delete_object, list_objects, merge_patch
from egressgateway.contention.raw import key_of
from egressgateway.engine.reconcile.apply import FIELD_MANAGER
from egressgateway.errors import ClusterError, Conflict, EgressGatewayError, NotFound, Throttled, Unavailable
from egressgateway.names import FINALIZER
from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest

_LONGEST_WAIT_SECONDS = 2.0
_AT_ONCE = 16

Say = Callable[[str], None]
Ask = Callable[[str], bool]


class DrainError(EgressGatewayError):
    """Some objects could not be released; the message names them and the remedy."""


@dataclass(frozen=True, slots=True)
class Drain:
    """
    What to release.

    Attributes:
        lease: where to look for the operator's Lease.
        namespaces: those that the operator serves, none for all.
        timeout: in seconds, from the confirmation on.
        delete: delete the objects instead of keeping them.
        dry_run: say what would be done, and do nothing.
    """

    lease: Place = field(default_factory=Place)
    namespaces: tuple[str, ...] = ()
    timeout: float = 120.0
    delete: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, and what the API server rejected, with its message."""

    done: int = 0
    refused: tuple[str, ...] = ()


async def run_drain(drain: Drain, *, say: Say, ask: Ask) -> None:
    """
    Do it with the available credentials, once `ask` agrees; it is not asked if there is nothing to do.

    Raises:
        DrainError: objects are left, or the user did not agree.
        ClusterError: the API server refused, or there are no credentials.
    """
    client = await ApiClient.connect(_AT_ONCE)
    try:
        say(f"cluster: {client.server}, by {client.source}")
        await drain_objects(client, drain, say=say, ask=ask)
    finally:
        await client.close()


async def drain_objects(client: ApiCaller, drain: Drain, *, say: Say, ask: Ask) -> None:
    """
    `run_drain` with an existing client.

    Raises:
        DrainError: objects are left, or the user did not agree.
        ClusterError: the API server refused.
    """
    found, leases = await _listed(client, drain), await find_leases(client, drain.lease)
    for line in outlook(found, delete=drain.delete):
        say(line)
    say(leases.describe())
    if drain.dry_run:
        say("a dry run: nothing was changed")
        return
    if found and not ask("delete them?" if drain.delete else "release them?"):
        raise DrainError("nothing was changed")
    try:
        async with asyncio.timeout(drain.timeout) as limit:
            await (delete_all(client, drain, say) if drain.delete else release_all(client, drain, leases, say))
    except TimeoutError:
        if not limit.expired():
            raise
        raise DrainError(_left(await _listed(client, drain), drain, leases)) from None


def outlook(gateways: Sequence[Manifest], *, delete: bool) -> Iterator[str]:
    """What will happen to the objects, and to their gateways."""
    if delete:
        yield _counted(gateways, "will be deleted with their gateways by the running operator")
        return
    held = _held(gateways)
    yield _counted(
        [each for each in held if not _goes(each)], "will lose the operator's finalizer: they and their gateways stay"
    )
    if going := [each for each in held if _goes(each) and not _is_stuck(each)]:
        yield _counted(
            going, "are being deleted: they and their gateways will be removed before clients are moved off them"
        )
    if stuck := [each for each in held if _is_stuck(each)]:
        yield _counted(stuck, "are being deleted and have children in other namespaces: they stay unchanged")


async def delete_all(client: ApiCaller, drain: Drain, say: Say) -> None:
    """
    Delete every EgressGateway and wait until the operator has released them.

    Raises:
        DrainError: some could not be deleted; all others are gone.
    """
    found = await _listed(client, drain)
    say(f"deleting {len(found)} EgressGateways")
    refused: dict[Key, str] = {}
    for gateway in found:
        key, uid = key_of(gateway), gateway["metadata"]["uid"]
        try:
            await _unless_gone(client.send(delete_object(EGRESS_GATEWAY, key.namespace, key.name, uid=uid)))
        except ClusterError as error:
            refused[key] = str(error)
    backoff = Backoff(base=0.2)
    while True:
        if all(key_of(each) in refused for each in await _listed(client, drain)):
            break
        await asyncio.sleep(backoff.next(_LONGEST_WAIT_SECONDS))
    _report(refused, f"the other {len(found) - len(refused)} are gone")
    say("all of them are gone")


async def release_all(client: ApiCaller, drain: Drain, leases: Found, say: Say) -> None:
    """
    Remove our finalizer from every EgressGateway, once no operator is left that would put it back.

    Raises:
        DrainError: objects that are being deleted have children in other namespaces, which nothing would remove, or the
            API server rejected the call. All other objects are released before.
    """
    await wait_until_nobody_leads(client, leases, drain.lease, say)
    stayed, gone, refused = 0, 0, dict[Key, str]()
    backoff = Backoff(base=0.2)
    while True:
        held = [each for each in _held(await _listed(client, drain)) if key_of(each) not in refused]
        free = [each for each in held if not _is_stuck(each)]
        if not free:
            break
        before = stayed + gone
        for gateway in free:
            try:
                released = await _release(client, gateway)
            except (Throttled, Unavailable):
                continue
            except ClusterError as error:
                refused[key_of(gateway)] = str(error)
                continue
            stayed, gone = (stayed, gone + released) if _goes(gateway) else (stayed + released, gone)
        if steering := [each for each in free if _remote(each) and key_of(each) not in refused]:
            say(
                f"{_names(steering)}: their children in other namespaces remain if they are deleted "
                "while no operator runs"
            )
        if stayed + gone == before:
            await asyncio.sleep(backoff.next(_LONGEST_WAIT_SECONDS))
    say(f"{stayed} EgressGateways released; they and their gateways stay unchanged")
    if gone:
        say(f"{gone} EgressGateways that were being deleted are released; they and their gateways are removed")
    for each in held:
        refused[key_of(each)] = (
            f"{key_of(each)}: it is being deleted, and its children in other namespaces would remain and send clients "
            "to a missing gateway; run the operator until it is gone, then drain again"
        )
    _report(refused, f"{stayed + gone} others are released")


def _report(refused: dict[Key, str], others: str) -> None:
    """
    Report every failure at once, at the end.

    Raises:
        DrainError: there is one.
    """
    if refused:
        raise DrainError(
            f"{len(refused)} not released ({others}): {'; '.join(refused[key] for key in sorted(refused))}"
        )


async def _listed(client: ApiCaller, drain: Drain) -> list[Manifest]:
    found: list[Manifest] = []
    for namespace in drain.namespaces or (None,):
        try:
            page = await client.send(list_objects(EGRESS_GATEWAY, namespace, limit=None)) or {}
        except NotFound:
            # Without the CRD there is nothing to release.
            continue
        found += page.get("items") or ()
    return found


async def _release(client: ApiCaller, gateway: Manifest) -> int:
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
    """1 when it was done; 0 when the object is gone or has changed, which the next list of all objects shows."""
    try:
        await call
    except (Conflict, NotFound):
        return 0
    return 1


def _finalizers(gateway: Manifest) -> Sequence[str]:
    return gateway["metadata"].get("finalizers") or ()


def _held(gateways: Sequence[Manifest]) -> list[Manifest]:
    return [each for each in gateways if FINALIZER in _finalizers(each)]


def _goes(gateway: Manifest) -> bool:
    """Whether it is deleted once no finalizer holds it."""
    return "deletionTimestamp" in gateway["metadata"]


def _is_stuck(gateway: Manifest) -> bool:
    """Whether it is deleted with the finalizer, and leaves behind what garbage collection does not find."""
    return _goes(gateway) and _remote(gateway)


def _remote(gateway: Manifest) -> bool:
    return bool((gateway.get("status") or {}).get("remoteChildren"))


def _counted(gateways: Sequence[Manifest], what: str) -> str:
    named = f" ({_names(gateways)})" if gateways else ""
    return f"{len(gateways)} EgressGateways{named} {what}"


def _names(gateways: Sequence[Manifest]) -> str:
    shown = ", ".join(str(key_of(each)) for each in gateways[:10])
    return shown if len(gateways) <= 10 else f"{shown} and {len(gateways) - 10} more"


def _left(gateways: Sequence[Manifest], drain: Drain, leases: Found) -> str:
    """What is still there when the time is over, and what to do."""
    waited = f"after {drain.timeout:g} seconds"
    lease = leases.held_in_words() or "of its own"
    if drain.delete:
        return (
            f"{_names(gateways)}: still there {waited}; check that an operator runs (it renews the Lease {lease}) and "
            "read their status, then drain again"
        )
    held = _held(gateways)
    left = f"{_names(held)}: not released {waited}" if held else f"not done {waited}, and nothing is left to release"
    return (
        f"{left}; stop any operator that still renews the Lease {lease}, then drain again; if it serves other "
        "namespaces, name the Lease of the removed operator with --lease-namespace and --lease-name"
    )
