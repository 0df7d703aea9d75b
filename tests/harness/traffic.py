"""How much the operator asks of the API server, by the server's own count and the audit log: never by its own word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from egressgateway.refs import CHILD_RESOURCES, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, EVENT
from harness.controlplane import ControlPlane
from harness.metrics import Request

USER_AGENT = "egressgateway-operator/"
_CHILDREN = {(resource.group, resource.plural) for resource in CHILD_RESOURCES}
_CLASS = (EGRESS_GATEWAY_CLASS.group, EGRESS_GATEWAY_CLASS.plural)
_OWNER = (EGRESS_GATEWAY.group, EGRESS_GATEWAY.plural)
_EVENT = (EVENT.group, EVENT.plural)


@dataclass(frozen=True, slots=True)
class Writes:
    """
    Writes of the operator by what they are for.

    Told from those of controllers by kind and verb: nobody else applies children, patches EgressGateways, or posts
    events.k8s.io. `refused` are those that the server answered with an error.
    """

    children: int = 0
    deletes: int = 0
    metadata: int = 0
    """Patches of EgressGateways themselves: the finalizer."""

    status: int = 0
    events: int = 0
    classes: int = 0
    """Statuses of EgressGatewayClasses: at most one a second for each, however many objects; not in `total`."""

    refused: int = 0

    @property
    def total(self) -> int:
        return self.children + self.deletes + self.metadata + self.status + self.events


def count_writes(counted: Counter[Request]) -> Writes:
    """The operator's share of the server's counter."""
    sums: Counter[str] = Counter()
    for request, count in counted.items():
        purpose = _purpose(request)
        if purpose:
            sums[purpose] += count
            sums["refused"] += count if request.code >= 300 else 0
    return Writes(**sums)


@dataclass(slots=True)
class WriteCounter:
    """Counts from the moment at which it is made, or of the last `restart`."""

    plane: ControlPlane
    _before: Counter[Request] = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._before = self.plane.metrics().writes()

    def read(self) -> Writes:
        """Writes since then."""
        after = self.plane.metrics().writes()
        after.subtract(self._before)
        return count_writes(+after)


def operator_writes(plane: ControlPlane) -> Iterator[dict[str, Any]]:
    """Every write of an operator by the audit log, oldest first, those of the Lease left out."""
    for event in plane.audit_events():
        reference: Any = event.get("objectRef") or {}
        agent = str(event.get("userAgent", ""))
        writes = event["verb"] in ("create", "update", "patch", "delete")
        ended = event["stage"] != "RequestReceived"
        if ended and writes and agent.startswith(USER_AGENT) and reference.get("resource") != "leases":
            yield event


def _purpose(request: Request) -> str:
    kind = (request.group, request.resource)
    if kind == _EVENT and request.verb == "POST":
        return "events"
    if kind == _CLASS and (request.verb, request.subresource) == ("PATCH", "status"):
        return "classes"
    if kind == _OWNER and request.verb == "PATCH":
        return "status" if request.subresource == "status" else "metadata"
    if kind in _CHILDREN and not request.subresource and request.verb in ("APPLY", "PATCH"):
        return "children"
    if kind in _CHILDREN and not request.subresource and request.verb == "DELETE":
        return "deletes"
    return ""
