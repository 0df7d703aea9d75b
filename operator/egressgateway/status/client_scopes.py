"""What other objects keep from the sidecars of a destination's clients: the route, or the way to the gateway."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from egressgateway.contention.hostnames import covers
from egressgateway.facts import ClientScope, SidecarScope
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.refs import ObjectRef
from egressgateway.status.clients import ClientEvidence
from egressgateway.status.messages import joined

_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Sought:
    """
    What a client's sidecar has to know of a destination.

    Attributes:
        namespace: where its ServiceEntry and routes are.
        names: with the `ports` that clients call.
        gateway: namespace of the gateway's Service, from where clients have the DestinationRule; empty where each
            consumer namespace has a copy, which precedes a rule for more hosts.
        ours: objects of this EgressGateway.
    """

    namespace: str
    names: Sequence[str]
    ports: Sequence[int]
    gateway: str
    ours: Container[ObjectRef]


class _Obstacle(NamedTuple):
    """`selects`: it concerns some pods of its namespace."""

    message: str
    selects: bool


def with_scopes(
    evidence: ClientEvidence, consumers: Set[str], scopes: Mapping[str, ClientScope], sought: Sought
) -> ClientEvidence:
    """`evidence`, and what is in the way in one of the consumer namespaces."""
    there = [(place, scopes[place]) for place in sorted(scopes) if place in consumers]
    found = [each for place, scope in there for each in _obstacles(place, scope, sought)]
    hidden = [each.message for each in found if not each.selects]
    # The status says those already until the clients are counted.
    remarks = [each.message for each in found if each.selects and each.message not in evidence.remark]
    return replace(
        evidence,
        hidden=joined(_few(hidden)),
        unread=next((text for _, scope in there for text in _unread(scope, sought)), ""),
        remark=joined((evidence.remark, *_few(remarks))),
    )


def _obstacles(place: str, scope: ClientScope, sought: Sought) -> Iterator[_Obstacle]:
    for each in _sidecars(scope):
        names = _hidden_by(each, sought)
        if names and not each.cut:
            message = (
                f"{each.ref} hides {names[0]} from {_whose(place, selects=each.selects)}; add "
                f"{sought.namespace}/{names[0]} to its egress.hosts"
            )
            yield _Obstacle(message, each.selects)
    in_the_way = (rule for rule in scope.rules if rule.ref not in sought.ours)
    for rule in in_the_way if sought.gateway and place != sought.gateway else ():
        message = (
            f"{rule.ref} for {rule.host} applies to the gateway's Service, too, and calls of "
            f"{_whose(place, selects=rule.selects)} fail; narrow its host"
        )
        yield _Obstacle(message, rule.selects)


def _unread(scope: ClientScope, sought: Sought) -> Iterator[str]:
    for each in _sidecars(scope):
        if each.cut and _hidden_by(each, sought):
            yield f"{each.ref} is too large to be read: it may hide {sought.names[0]} from its pods; shorten it"


def _sidecars(scope: ClientScope) -> Sequence[SidecarScope]:
    return scope.sidecars if scope.sidecar is None else (scope.sidecar, *scope.sidecars)


def _hidden_by(scope: SidecarScope, sought: Sought) -> list[str]:
    """Names of which the proxies do not learn, on one of the ports at least."""
    return [name for name in sought.names if _hides(scope, sought.namespace, name, sought.ports)]


def _hides(scope: SidecarScope, namespace: str, host: str, ports: Iterable[int]) -> bool:
    matching = [each for each in scope.imports if each.namespace in ("*", namespace) and covers(each.host, host)]
    return any(all(each.port not in (None, port) for each in matching) for port in ports)


def _whose(place: str, *, selects: bool) -> str:
    if place == EVERY_NAMESPACE:
        return "every namespace without a Sidecar of its own"
    return f"some pods of {place}" if selects else f"the pods of {place}"


def _few(messages: Sequence[str]) -> Sequence[str]:
    more = len(messages) - _MOST_NAMED
    return [*messages[:_MOST_NAMED], *([f"and {more} more like these"] if more > 0 else [])]
