"""
Waits at the start until the API server answers and EgressGateways can be listed.

Neither is a reason to end: a server comes back, and an admin installs the CRDs. Nothing else starts until then, so one
line reports the problem instead of one per kind, and kopf, which looks for kinds only once, finds ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from egressgateway.cluster.backoff import Backoff
from egressgateway.cluster.client import ApiCaller
from egressgateway.cluster.request import list_objects
from egressgateway.errors import ClusterError, Forbidden, NotFound
from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, Resource

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 5.0
_REMIND_EVERY = 12
"""Attempts between two equal lines: about a minute."""


class Preflight:
    """Asks until the answer is good. `obstacle` says what is missing, as text; empty when nothing is."""

    def __init__(
        self,
        client: ApiCaller,
        namespaces: tuple[str, ...] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`namespaces` are those that the operator may list in; empty means all."""
        self._client = client
        self._namespaces = namespaces
        self._sleep = sleep
        self.obstacle = "the API server has not answered yet"

    async def wait(self) -> None:
        """Return once both kinds can be listed."""
        backoff = Backoff(base=0.5)
        while self.obstacle:
            found = await self._check_all()
            if found and (found != self.obstacle or backoff.failures % _REMIND_EVERY == 0):
                log.warning("Not started yet", extra={"fields": {"because": found}})
            self.obstacle = found
            if found:
                await self._sleep(backoff.next(cap=_LONGEST_WAIT_SECONDS))

    async def _check_all(self) -> str:
        return await self._check(EGRESS_GATEWAY, self._namespaces or (None,)) or await self._check(
            EGRESS_GATEWAY_CLASS, (None,)
        )

    async def _check(self, resource: Resource, namespaces: Iterable[str | None]) -> str:
        """One namespace in which it can be listed is enough: the others must not wait for those that cannot."""
        obstacle = ""
        for namespace in namespaces:
            try:
                await self._client.send(list_objects(resource, namespace, limit=1))
            except ClusterError as error:
                obstacle = obstacle or _describe(error, resource)
            else:
                return ""
        return obstacle


def _describe(error: ClusterError, resource: Resource) -> str:
    if isinstance(error, NotFound):
        return "EgressGateway CRDs are not installed: kubectl apply -f crds/"
    if isinstance(error, Forbidden):
        return f"the operator may not list {resource.plural}: {error.message}; grant it the right; the operator retries"
    return f"the API server does not answer: {error.message}; the operator retries"
