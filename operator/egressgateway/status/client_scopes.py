"""What other objects keep from the sidecars of a destination's clients: the route, or the way to the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from egressgateway.facts import ClientScope, EgressListener, HopRule, SidecarScope
from egressgateway.namespaces import EVERY_NAMESPACE
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
        gateway: namespace of the gateway's Service, `hop` its host, and `hop_ports` its ports.
        by_rule: clients have the DestinationRule from that namespace, and not a copy of their own.
    """

    namespace: str
    names: Sequence[str]
    ports: Sequence[int]
    gateway: str
    hop: str
    hop_ports: Sequence[int]
    by_rule: bool


def with_scopes(
    evidence: ClientEvidence, consumers: Set[str], scopes: Mapping[str, ClientScope], sought: Sought
) -> ClientEvidence:
    """`evidence`, and what is in the way in one of the consumer namespaces."""
    hidden, unread, remarks = list[str](), list[str](), list[str]()
    for place in sorted(consumers & scopes.keys()):
        scope = scopes[place]
        for each in _sidecars(scope):
            name = _first_hidden(each, place, sought)
            if name is not None:
                told = remarks if each.selects else unread if each.unread else hidden
                told.append(_unread(each, name) if each.unread else _hidden(each, name, place, sought))
        rule = scope.rule if sought.by_rule and place != sought.gateway else None
        if rule is not None:
            (unread if rule.unread else hidden).append(_taken(rule, place))
    # The status says some of those already, until the clients are counted.
    news = [each for each in _few(remarks) if each not in evidence.remark]
    return replace(
        evidence, hidden=joined(_few(hidden)), unread=joined(_few(unread)), remark=joined((evidence.remark, *news))
    )


def _sidecars(scope: ClientScope) -> Sequence[SidecarScope]:
    return scope.sidecars if scope.sidecar is None else (scope.sidecar, *scope.sidecars)


def _first_hidden(scope: SidecarScope, place: str, sought: Sought) -> str | None:
    """A name of which the proxies of `place` do not learn, or not by which way, on one of the ports at least."""
    return next(
        (name for name in sought.names for port in sought.ports if _hides(scope, place, name, port, sought)), None
    )


def _hides(scope: SidecarScope, place: str, name: str, port: int, sought: Sought) -> bool:
    """
    A listener for the port replaces the one for all others (Istio, "Sidecar": `egress[].port`), and learns of no
    Service that has not that port: the gateway's has another.
    """
    of_port = [each for each in scope.listeners if each.port == port]
    others = [each for each in scope.listeners if each.port is None]
    if not any(_imports(each, sought.namespace, name, place) for each in of_port or others):
        return True
    if not of_port:
        return False
    of_hop = [each for each in scope.listeners if each.port in sought.hop_ports]
    return not any(_imports(each, sought.gateway, sought.hop, place) for each in (*others, *of_hop)) and not any(
        _imports(each, sought.namespace, name, place) for each in others
    )


def _imports(listener: EgressListener, namespace: str, host: str, place: str) -> bool:
    """Whether what `namespace` registers for a host is imported by the proxies of `place`."""
    wanted = {"*", namespace, *(["."] if place == namespace else [])}
    found = (listener.hosts.get(pattern) for pattern in _patterns(host))
    if any(namespaces is not None and namespaces & wanted for namespaces in found):
        return True
    # Istio takes stars within a label, too.
    odd = (each for each in listener.hosts if each[:1] == "*" and each[1:2] not in ("", "."))
    return any(host.endswith(each[1:]) and listener.hosts[each] & wanted for each in odd)


def _patterns(host: str) -> Iterator[str]:
    """Patterns that cover all of a host, which may be a wildcard itself."""
    yield "*"
    yield host
    rest = host.removeprefix("*.").partition(".")[2] if host.startswith("*.") else host.partition(".")[2]
    while rest:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]


def _hidden(scope: SidecarScope, name: str, place: str, sought: Sought) -> str:
    return (
        f"{scope.ref} hides {name} from {_whose(place, selects=scope.selects)}; add {sought.namespace}/{name} to its "
        "egress.hosts, in a listener without a port"
    )


def _unread(scope: SidecarScope, name: str) -> str:
    return f"{scope.ref} is too large to be read: it may hide {name} from its pods; shorten it"


def _taken(rule: HopRule, place: str) -> str:
    if rule.unread:
        return f"{rule.ref} is too large to be read: calls of the pods of {place} may fail because of it; shorten it"
    return (
        f"{rule.ref} for {rule.host} applies to the gateway's Service, too, and calls of the pods of {place} fail; "
        "narrow its host"
    )


def _whose(place: str, *, selects: bool) -> str:
    if place == EVERY_NAMESPACE:
        return "every namespace without a Sidecar of its own"
    return f"some pods of {place}" if selects else f"the pods of {place}"


def _few(messages: Sequence[str]) -> Sequence[str]:
    more = len(messages) - _MOST_NAMED
    return [*messages[:_MOST_NAMED], *([f"and {more} more like these"] if more > 0 else [])]
