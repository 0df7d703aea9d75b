"""
One leader among the replicas, by a coordination.k8s.io Lease: client-go's algorithm (tools/leaderelection).

Every replica keeps its caches warm; only the leader writes. Two rules make that safe without comparing clocks
of two machines:

- others may take the Lease over only when they have seen no renewal for its whole duration, by their own clock;
- the leader stops leading when its last renewal was *sent* longer ago than `renew_deadline`, which is shorter.

The optimistic lock of the API server (`resourceVersion`) decides between two replicas that try at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from types import TracebackType
from typing import Final, Protocol, Self

from egressgateway.cluster import request
from egressgateway.cluster.background import background
from egressgateway.cluster.client import ApiCaller
from egressgateway.errors import ClusterError, Conflict, NotFound
from egressgateway.refs import LEASE, Manifest
from egressgateway.settings import LeaseSettings

log = logging.getLogger(__name__)

# client-go's JitterFactor: candidates wait for 1 to 2.2 retry periods, so that they do not all ask at once.
JITTER_FACTOR = 1.2
RELEASE_TIMEOUT_SECONDS = 5.0

LEASE_LABELS: Final = {
    "app.kubernetes.io/part-of": "egressgateway",
    "app.kubernetes.io/component": "leader-election",
}
"""With these labels a person's command finds the Lease, wherever it is. No replica uses them."""


class Clock(Protocol):
    """Time as the elector needs it."""

    def time(self) -> float:
        """Seconds on a clock that never goes back, of this machine alone."""

    def now(self) -> datetime:
        """The wall clock, for people who read the Lease; nothing is decided by it."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class LoopClock:
    """The event loop's clock."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Observed:
    """A Lease as it was first seen in this state, and the local time of that."""

    lease: Manifest
    at: float

    @property
    def holder(self) -> str:
        """Identity of the leader; empty when the Lease was released."""
        return self.lease["spec"].get("holderIdentity") or ""

    def is_held_by_other(self, identity: str, now: float) -> bool:
        """Whether `identity` must not take the Lease."""
        duration = self.lease["spec"].get("leaseDurationSeconds") or 0
        return self.holder not in ("", identity) and now < self.at + duration


def claimed(current: Manifest | None, identity: str, settings: LeaseSettings, now: datetime) -> Manifest:
    """The Lease to write in order to take or to keep it; `current` is what the server holds, None for nothing."""
    stamp = _micro_time(now)
    old = (current or {}).get("spec") or {}
    keeps = old.get("holderIdentity") == identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": ceil(settings.duration.total_seconds()),
        "acquireTime": old.get("acquireTime", stamp) if keeps else stamp,
        "renewTime": stamp,
        # A first holder takes it over from no one.
        "leaseTransitions": (old.get("leaseTransitions") or 0) + (0 if keeps or current is None else 1),
    }
    return _with_spec(current, settings, spec)


def released(current: Manifest, settings: LeaseSettings, now: datetime) -> Manifest:
    """The Lease to write so that others can take it at once."""
    stamp = _micro_time(now)
    spec = {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": stamp,
        "renewTime": stamp,
        "leaseTransitions": current["spec"].get("leaseTransitions") or 0,
    }
    return _with_spec(current, settings, spec)


class LeaderElector:
    """
    Takes part in the election in the background from `start` to `stop`, again after each loss.

    `elected` is set while this replica leads, `lost` while it has led and no longer does: all writing must stop then.
    """

    def __init__(
        self,
        client: ApiCaller,
        settings: LeaseSettings,
        identity: str,
        *,
        on_change: Callable[[bool], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`identity` becomes unique by a suffix: a restarted pod has the name of the one that may still run."""
        self.identity = f"{identity}_{uuid.uuid4()}"
        self.elected = asyncio.Event()
        self.lost = asyncio.Event()
        self.error = ""
        """Why the Lease cannot be read or written, in words; empty while it can."""
        self._client = client
        self._settings = settings
        self._on_change = on_change
        self._clock = clock or LoopClock()
        self._observed: Observed | None = None
        self._renewed_at = float("-inf")
        self._must_read = True
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leader(self) -> bool:
        """May this replica write, now?"""
        return self.elected.is_set()

    @property
    def leader(self) -> str:
        """Identity of the leader, as far as known."""
        return self._observed.holder if self._observed else ""

    def start(self) -> None:
        """Take part; without election (`enabled: false`) this replica leads at once and for ever."""
        if self._settings.enabled:
            self._task = background(self._run(), "leader election")
        else:
            self._lead(True)

    async def look(self) -> None:
        """
        Read the Lease without taking it: from now on the time since its last renewal counts.

        For a replica that cannot work yet, so that it need not wait the whole duration once it can.
        """
        try:
            self._observe(await self._read())
        except ClusterError as error:
            self._remember(str(error))

    async def stop(self) -> None:
        """Stop taking part and release the Lease. The caller has stopped writing before."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.is_leader:
            self._lead(False)
            if self._settings.enabled:
                await self._release()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _run(self) -> None:
        while True:
            while not await self._attempt():
                jitter = random.uniform(1.0, 1.0 + JITTER_FACTOR)  # noqa: S311  (jitter, no secret)
                await self._clock.sleep(self._retry_seconds * jitter)
            self._lead(True)
            await self._hold()
            self._lead(False)
            self._must_read = True
            log.error("Leadership lost", extra={"fields": self._fields() | {"error": self._why_lost()}})

    def _why_lost(self) -> str:
        if self.error:
            return self.error
        if self._held_by_other():
            return f"{self.leader} took the Lease"
        return f"the API server confirmed no renewal for {self._settings.renew_deadline.total_seconds():g} s"

    async def _hold(self) -> None:
        """Renew; returns when another holds the Lease, or when the last renewal is too old."""
        renewing = asyncio.create_task(self._renew())
        # A timer of its own: a call that hangs must not delay the end.
        deadline = asyncio.create_task(self._outlast_deadline())
        try:
            await asyncio.wait({renewing, deadline}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewing.cancel()
            deadline.cancel()
            await asyncio.gather(renewing, deadline, return_exceptions=True)

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._retry_seconds)
            if not await self._attempt() and self._held_by_other():
                return

    async def _outlast_deadline(self) -> None:
        deadline = self._settings.renew_deadline.total_seconds()
        while (rest := self._renewed_at + deadline - self._clock.time()) > 0:
            await self._clock.sleep(rest)

    async def _attempt(self) -> bool:
        """Take or keep the Lease, once. True when it is ours by the server's word."""
        try:
            return await self._try()
        except ClusterError as error:
            # The outcome is unknown, or another replica was faster: only reading the Lease shows which.
            self._must_read = True
            self._remember("" if isinstance(error, Conflict) else str(error))
        except Exception:
            log.exception("Leader election failed; retrying", extra={"fields": self._fields()})
            self._must_read = True
        return False

    async def _try(self) -> bool:
        # Before the call: its answer may take long, and others count from the moment at which the server wrote.
        started = self._clock.time()
        if self._must_read:
            self._observe(await self._read())
            self._must_read = False
        if self._held_by_other():
            self._must_read = True
            self._remember("")
            return False
        current = self._observed.lease if self._observed else None
        lease = claimed(current, self.identity, self._settings, self._clock.now())
        self._observe(await self._write(lease, create=current is None))
        self._renewed_at = started
        self._remember("")
        return True

    async def _read(self) -> Manifest | None:
        try:
            call = request.get_object(LEASE, self._settings.namespace, self._settings.name)
            return await self._client.send(call, urgent=True)
        except NotFound:
            return None

    async def _write(self, lease: Manifest, *, create: bool) -> Manifest | None:
        namespace, name = self._settings.namespace, self._settings.name
        if create:
            return await self._client.send(request.create_object(LEASE, namespace, lease), urgent=True)
        return await self._client.send(request.replace_object(LEASE, namespace, name, lease), urgent=True)

    def _observe(self, lease: Manifest | None) -> None:
        if lease is None:
            self._observed = None
        elif self._observed is None or self._observed.lease != lease:
            before = self.leader
            self._observed = Observed(lease | {"spec": lease.get("spec") or {}}, self._clock.time())
            if self.leader != before:
                log.info("Leader changed", extra={"fields": self._fields()})

    def _held_by_other(self) -> bool:
        return self._observed is not None and self._observed.is_held_by_other(self.identity, self._clock.time())

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                # `stop` may have cancelled a renewal with an unknown outcome: the remembered Lease may be outdated.
                self._observe(await self._read())
                if self._observed is not None and self._observed.holder == self.identity:
                    lease = released(self._observed.lease, self._settings, self._clock.now())
                    self._observe(await self._write(lease, create=False))
        except (ClusterError, TimeoutError) as error:
            # The next leader waits for the whole duration, no longer.
            log.warning("Lease not released", extra={"fields": self._fields() | {"error": str(error)}})

    def _lead(self, leads: bool) -> None:
        if leads:
            self.lost.clear()
            self.elected.set()
        else:
            self.elected.clear()
            self.lost.set()
        if self._on_change is not None:
            self._on_change(leads)

    def _remember(self, error: str) -> None:
        if error and error != self.error:
            log.warning("Leader election request failed", extra={"fields": self._fields() | {"error": error}})
        self.error = error

    @property
    def _retry_seconds(self) -> float:
        return self._settings.retry_period.total_seconds()

    def _fields(self) -> dict[str, str]:
        lease = f"{self._settings.namespace}/{self._settings.name}"
        return {"lease": lease, "leader": self.leader, "identity": self.identity}


def _with_spec(current: Manifest | None, settings: LeaseSettings, spec: Manifest) -> Manifest:
    metadata = (current or {}).get("metadata") or {"namespace": settings.namespace, "name": settings.name}
    metadata = {**metadata, "labels": {**(metadata.get("labels") or {}), **LEASE_LABELS}}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}


def _micro_time(now: datetime) -> str:
    """metav1.MicroTime: RFC 3339 in UTC with exactly six digits."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
