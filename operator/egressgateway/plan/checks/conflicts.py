"""Conflicts over a name, a TCP port, or a route."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from egressgateway.api.access import MAX_CONSUMER_NAMESPACES
from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination, DestinationPort, Protocol
from egressgateway.api.expose import ExposedHost
from egressgateway.api.scalars import parse_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.claims import Claims
from egressgateway.contention.consumers import allowed_consumers
from egressgateway.contention.hostnames import covers, is_wildcard
from egressgateway.contention.rights import as_ports, read_claims
from egressgateway.facts import Claimed, Contender, Facts, Ports, Rights, UnmanagedRoute
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, ports_of, section_of
from egressgateway.live.ports import meet_on_a_port, ports_for
from egressgateway.namespaces import EVERY_NAMESPACE, overlap, union
from egressgateway.plan.findings import Finding, exposed_section
from egressgateway.plan.gateway.target import LISTENER_PORT, PLAIN_PORT, listen_port, target_of
from egressgateway.refs import Key, Manifest

_ACCEPTED: Final = ConditionType.ACCEPTED
_SHOWN: Final = 5
_LATE: Final = "9999"


def host_conflicts(claims: Claims, destination: Destination, field: str, served: frozenset[str]) -> Iterator[Finding]:
    """Names to which another object has the earlier claim; `served` are the remaining consumers."""
    for name in destination.claimed:
        by_winner: dict[Key, list[str]] = {}
        for namespace, winner in claims.lost.get(name, {}).items():
            by_winner.setdefault(winner, []).append(namespace)
        for winner, namespaces in sorted(by_winner.items()):
            yield Finding(
                _ACCEPTED,
                Reason.HOST_CONFLICT,
                f"{field}.hosts: {name} belongs to EgressGateway {winner} in "
                f"{_describe(sorted(namespaces), others=bool(claims.won.get(name)))}, which claimed it first; "
                f"{_unlistable(claims, name)}remove it from one of the two",
                destination.name,
                partial=bool(served),
            )


def _unlistable(claims: Claims, name: str) -> str:
    count = claims.unlistable.get(name, 0)
    if not count:
        return ""
    return (
        f"exportTo would have to list the remaining {count} namespaces, and its limit is {MAX_CONSUMER_NAMESPACES}, so "
        "none is served; name or select consumers, or "
    )


def exposed_conflicts(claims: Claims, exposed: ExposedHost, gateway: str, field: str) -> Iterator[Finding]:
    """Names that another object has already exposed on the same gateway."""
    for host in exposed.hosts:
        winner = claims.lost_exposed.get(Claimed(host, gateway))
        if winner is not None:
            yield Finding(
                _ACCEPTED,
                Reason.HOST_CONFLICT,
                f"{field}.hosts: {host} on gateway {gateway} belongs to EgressGateway {winner}, which claimed it "
                "first; remove it from one of the two",
                exposed_section(exposed.name),
            )


def port_conflicts(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]], kept: frozenset[str], held: Rights
) -> Iterator[Finding]:
    """
    TCP ports that would also take the connections to another host.

    TCP carries no host name, so a sidecar listens for it on every address (notes "istio-recipes" §12): connections to a
    second host on that port would reach the first one's server. This does not hold if the sidecars answer DNS: then
    each host has an address of its own.

    Args:
        kept: destinations that are rejected already, whose clients stay on the ports that they have.
        held: what the object has claimed so far.
    """
    if not facts.mesh_config.dns_capture:
        found = [*_within_the_object(facts, spec, consumers), *_with_other_objects(facts, spec, consumers, held)]
        yield from found
        foreign = list(_with_foreign_entries(facts, spec, consumers))
        yield from foreign
        yield from _with_kept(facts, spec, consumers, kept | {finding.section for finding in (*found, *foreign)})
    yield from _with_common_addresses(spec, consumers)
    if not target_of(facts).strict and target_of(facts).dedicated:
        yield from _on_the_gateway(spec)


def exposed_port_conflicts(spec: EgressGatewaySpec) -> Iterator[Finding]:
    """Entries on the own gateway that cannot share a port, or a host on it; the first in the list has it."""
    protocols: dict[int, tuple[str, str]] = {}
    listeners: dict[int, int] = {}
    hosts: dict[tuple[int, str], str] = {}
    for index, exposed in enumerate(spec.expose):
        if exposed.gateway_ref is not None:
            continue
        section, field = exposed_section(exposed.name), f"spec.expose[{index}]"
        for port, protocol in _ports_of(exposed):
            known, owner = protocols.setdefault(port, (protocol, exposed.name))
            if known != protocol:
                message = (
                    f"{field}.port: port {port} already serves {known} for {owner} and cannot also serve {protocol}; "
                    "use another port"
                )
                yield Finding(_ACCEPTED, Reason.PORT_CONFLICT, message, section, needs_edit=True)
            inside = listen_port(port)
            taken = listeners.setdefault(inside, port)
            if taken != port or inside in (LISTENER_PORT, PLAIN_PORT):
                message = f"{field}.port: port {port} is already in use inside the gateway's pods; use another port"
                yield Finding(_ACCEPTED, Reason.PORT_CONFLICT, message, section, needs_edit=True)
        for port, host in ((port, host) for port, _ in _ports_of(exposed) for host in exposed.hosts):
            owner = hosts.setdefault((port, host), exposed.name)
            if owner != exposed.name:
                message = f"{field}.hosts: {host} is already exposed on port {port} by {owner}; remove it"
                yield Finding(_ACCEPTED, Reason.HOST_CONFLICT, message, section)


def route_conflicts(facts: Facts, destination: Destination, field: str, served: frozenset[str]) -> Iterator[Finding]:
    """An unmanaged route for one of the names that a consumer sees: clients may use that route instead of ours."""
    # The operator adopts an orphan among them.
    for route in sorted(
        (each for each in facts.unmanaged_routes if each.ref not in facts.live), key=lambda each: each.ref
    ):
        common = overlap(served, route.visible_in)
        names = [name for name in destination.names if any(_takes(host, name) for host in route.hosts)]
        if names and common and _prevails(facts, route, common, names):
            yield Finding(
                ConditionType.STEERED,
                Reason.ROUTE_CONFLICT,
                f"{field}.hosts: {route.ref} also routes {names[0]} for {_describe(sorted(common))}; delete it, or "
                "hide it from these namespaces with exportTo",
                destination.name,
                partial=True,
            )


def _takes(host: str, name: str) -> bool:
    """Whether a route for `host` takes calls that are meant for `name`: the same name, or a more specific one."""
    return host == name or (is_wildcard(name) and covers(name, host))


def _steering_since(facts: Facts, names: Iterable[str]) -> datetime:
    """
    When our own route for the names was created; Istio compares the age of routes, not of the objects behind them.
    """
    made = [
        parse_instant(route["metadata"]["creationTimestamp"])
        for route in mesh_routes(facts.live)
        if hosts_of(route) & set(names) and "creationTimestamp" in route["metadata"]
    ]
    return max(made, default=facts.now)


def _prevails(facts: Facts, route: UnmanagedRoute, common: frozenset[str], names: Iterable[str]) -> bool:
    """
    A consumer's own VirtualService precedes ours; of others the older one does (notes "istio-recipes" §7).

    A ServiceEntry conflicts whatever its age: the ports that it registers beside ours are not steered.
    """
    own_of_consumer = route.ref.namespace in common or EVERY_NAMESPACE in common
    return route.ref.kind == "ServiceEntry" or own_of_consumer or route.created < _steering_since(facts, names)


def _within_the_object(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    taken: dict[int, list[Destination]] = {}
    for destination in sorted(spec.destinations, key=lambda found: _seniority(facts, found)):
        index = spec.destinations.index(destination)
        mine = consumers.get(destination.name, frozenset())
        for number, port in enumerate(destination.ports):
            if port not in destination.contended_ports:
                continue
            for other in taken.get(port.port, ()):
                with_tcp = _takes_all(destination, port) or _takes_port(other, port.port)
                if with_tcp and overlap(mine, consumers.get(other.name, frozenset())):
                    yield Finding(
                        _ACCEPTED,
                        Reason.PORT_CONFLICT,
                        f"spec.destinations[{index}].ports[{number}]: port {port.port} is already used by destination "
                        f"{other.name}; TCP cannot distinguish hosts on one port; set addresses, use another "
                        "port, or enable DNS capture in the mesh (ISTIO_META_DNS_CAPTURE)",
                        destination.name,
                        needs_edit=True,
                    )
        for port in destination.contended_ports:
            taken.setdefault(port.port, []).append(destination)


def _with_foreign_entries(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    """
    ServiceEntries that no operator wrote and that take a TCP port whole: each one's clients would reach the other's
    server, whichever is older.

    Every tenant can write such an entry, so it rejects only what is not served yet. What is served is older than an
    entry that comes later, and istiod gives the port to the older one: nothing is wrong with it.
    """
    for index, destination in enumerate(spec.destinations):
        served, names = consumers.get(destination.name, frozenset()), frozenset(destination.names)
        live = ports_of(_live_entries(facts, destination.name)).tcp
        for number, port in enumerate(destination.ports):
            for entry in facts.foreign_ports if _takes_all(destination, port) and port.port not in live else ():
                common = overlap(served, entry.visible_in)
                # An entry for the same host is a route of its own, and reported as that.
                if port.port in entry.tcp_ports and common and not entry.hosts <= names and entry.ref not in facts.live:
                    yield Finding(
                        _ACCEPTED,
                        Reason.PORT_CONFLICT,
                        f"spec.destinations[{index}].ports[{number}]: {entry.ref} uses TCP port {port.port} for "
                        f"{min(entry.hosts - names)} in {_describe(sorted(common))}; TCP cannot distinguish hosts on "
                        "one port; set addresses on either, hide that entry with exportTo, or use another port",
                        destination.name,
                    )


def _with_common_addresses(spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """TCP hosts of one object on one port of one address; between objects, the address itself is claimed."""
    taken: dict[tuple[str, int], tuple[Destination, DestinationPort]] = {}
    for index, destination in enumerate(spec.destinations):
        for number, port in enumerate(destination.ports):
            for address in destination.canonical_addresses:
                other, theirs = taken.setdefault((address, port.port), (destination, port))
                common = overlap(consumers.get(other.name, frozenset()), consumers.get(destination.name, frozenset()))
                if other is not destination and common and Protocol.TCP in (port.protocol, theirs.protocol):
                    yield Finding(
                        _ACCEPTED,
                        Reason.PORT_CONFLICT,
                        f"spec.destinations[{index}].ports[{number}]: port {port.port} of {address} is already used by "
                        f"destination {other.name}; TCP cannot distinguish hosts on one port of one address; correct "
                        "addresses, or use another port",
                        destination.name,
                        needs_edit=True,
                    )


def _with_kept(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]], kept: frozenset[str]
) -> list[Finding]:
    """
    Ports that clients of a rejected destination have, whatever it asks for now; one that waits for a port keeps its
    own.
    """
    found = [
        Finding(
            _ACCEPTED,
            Reason.PORT_CONFLICT,
            f"spec.destinations[{index}].ports[{number}]: clients of destination {other} use port {port.port} until "
            "that rejected destination is accepted or removed; TCP cannot distinguish hosts on one port; use another "
            "port",
            destination.name,
        )
        for index, destination in enumerate(spec.destinations)
        for number, port in enumerate(destination.ports)
        if port in destination.contended_ports
        for other in sorted(kept - {destination.name})
        if overlap(consumers.get(destination.name, frozenset()), _kept_on(facts, other, destination, port))
    ]
    more = kept | {finding.section for finding in found}
    return found if more == kept else _with_kept(facts, spec, consumers, more)


def _kept_on(facts: Facts, section: str, destination: Destination, port: DestinationPort) -> frozenset[str]:
    """
    The ports on which `section` keeps clients of `destination`'s port, under names that the destination does not take
    over.
    """
    entries = [found for found in _live_entries(facts, section) if not hosts_of(found) <= frozenset(destination.names)]
    kinds = (True, False) if port.protocol is Protocol.TCP else (True,)
    return union(ports_of(entries).speaking(tcp=tcp).get(port.port, frozenset()) for tcp in kinds)


def _with_other_objects(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]], held: Rights
) -> Iterator[Finding]:
    """
    Ports on which another object has precedence, decided for each namespace separately.

    The object that has claimed the port there keeps it until none of its ServiceEntries registers it, whatever its spec
    says. Of two objects that want it, the one that claimed its first host earlier gets it. If both have it, as when the
    mesh stops answering DNS, one is withdrawn at once. Only claims in a status count, as every tenant can write a
    ServiceEntry.
    """
    if not facts.contenders:
        return
    own = _as_contender(facts, spec, consumers, held)
    for index, destination in enumerate(spec.destinations):
        served = consumers.get(destination.name, frozenset())
        for number, port in enumerate(destination.ports):
            winners = _winners(facts, own, port, served) if port in destination.contended_ports else ()
            for contender, lost in winners:
                yield Finding(
                    _ACCEPTED,
                    Reason.PORT_CONFLICT,
                    f"spec.destinations[{index}].ports[{number}]: port {port.port} is already used by EgressGateway "
                    f"{contender.key} in {_describe(sorted(lost))}; TCP cannot distinguish hosts on one port; use "
                    "another port",
                    destination.name,
                    # Clients that know both would reach the server of either.
                    withdraws=meet_on_a_port(ports_of(_live_entries(facts, destination.name)), contender.held_ports),
                )


def _winners(
    facts: Facts, own: Contender, port: DestinationPort, served: frozenset[str]
) -> Iterator[tuple[Contender, list[str]]]:
    """
    Contenders with precedence on a port, and where: those that hold it; where none holds it, the first in line.

    The other contenders are rejected themselves, and so are no reason to reject this object.
    """
    better: dict[str, list[tuple[_Right, Contender]]] = {}
    for contender in facts.contenders:
        for place, right in _lost_to(contender, own, port, served):
            better.setdefault(place, []).append((right, contender))
    for contender in facts.contenders:
        places = [place for place, found in better.items() if contender.key in _first_in_line(found)]
        if places:
            yield contender, places


def _first_in_line(better: list[tuple[_Right, Contender]]) -> frozenset[Key]:
    holders = [contender.key for right, contender in better if right.holds]
    return frozenset(holders or [min(better, key=lambda found: found[0])[1].key])


def _live_entries(facts: Facts, section: str) -> list[Manifest]:
    return [found for found in live_clients(facts.live, "ServiceEntry") if section_of(found) == section]


def _as_contender(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]], held: Rights
) -> Contender:
    """The object itself as a contender, with what decides its right to a port."""
    asked = (
        (port.port, str(port.protocol), consumers.get(destination.name, frozenset()))
        for destination in spec.destinations
        for port in destination.contended_ports
    )
    return Contender(
        facts.key, facts.gateway.created, ports=ports_for(asked), held_ports=held_ports(facts, held), rights=held
    )


def held_ports(facts: Facts, held: Rights) -> Ports:
    """
    Ports that the object has claimed.

    An object whose status was lost holds the ports that its clients are told of, where its class allows it to serve.
    """
    if not held.is_blank:
        return as_ports(held.ports)
    live = ports_of(live_clients(facts.live, "ServiceEntry"))
    return Ports(*(_consented(facts, found) for found in (live.tcp, live.named)))


def _consented(facts: Facts, ports: Mapping[int, frozenset[str]]) -> dict[int, frozenset[str]]:
    return {
        number: allowed_consumers(facts.key, facts.class_.spec, facts.namespaces, served)
        for number, served in ports.items()
    }


class _Right(NamedTuple):
    """
    How strong a right to a port in a namespace is; the smaller value wins.

    An object that has the number there for the other kind of protocol ranks after one that has it for this kind. Then
    comes one that has it in another conflicted namespace: its contender is rejected for that one, and so everywhere.
    """

    has_not_this_kind: bool
    has_not: bool
    has_not_elsewhere: bool
    first_claim: datetime
    created: datetime
    key: Key

    @property
    def holds(self) -> bool:
        """Whether the object has claimed the number there, for any protocol."""
        return not self.has_not


def _lost_to(
    contender: Contender, own: Contender, port: DestinationPort, served: frozenset[str]
) -> Iterator[tuple[str, _Right]]:
    """Where the contender has precedence, if one of the two speaks TCP: that takes the port for every host."""
    number, tcp = port.port, port.protocol is Protocol.TCP
    conflicted = overlap(*(_anyhow(each.ports, number) | _anyhow(each.held_ports, number) for each in (contender, own)))
    for theirs in (True, False) if tcp else (True,):
        wanted = contender.ports.speaking(tcp=theirs).get(number, frozenset())
        there = contender.held_ports.speaking(tcp=theirs).get(number, frozenset())
        common = overlap(served, union((wanted, there)))
        if EVERY_NAMESPACE in common:
            # Both serve everybody; the current holder has the port in single namespaces.
            common |= _anyhow(contender.held_ports, number) | _anyhow(own.held_ports, number)
        for place in common:
            mine, other = (
                _right_to(number, place, holder, conflicted, tcp=kind)
                for holder, kind in ((own, tcp), (contender, theirs))
            )
            if other < mine:
                yield place, other


def _right_to(number: int, place: str, holder: Contender, conflicted: frozenset[str], *, tcp: bool) -> _Right:
    here, live = {place, EVERY_NAMESPACE}, _anyhow(holder.held_ports, number)
    has = here & holder.held_ports.speaking(tcp=tcp).get(number, frozenset())
    return _Right(
        not has, not here & live, not overlap(live, conflicted), holder.rights.first, holder.created, holder.key
    )


def _anyhow(ports: Ports, number: int) -> frozenset[str]:
    return ports.tcp.get(number, frozenset()) | ports.named.get(number, frozenset())


def _on_the_gateway(spec: EgressGatewaySpec) -> Iterator[Finding]:
    """Without mutual TLS the gateway listens on the clients' own port numbers, one protocol each."""
    taken: dict[int, tuple[str, str]] = {}
    listeners: dict[int, int] = {}
    for index, destination in enumerate(spec.destinations):
        for number, port in enumerate(destination.ports):
            if port.protocol.is_http:
                continue
            inside = listen_port(port.port)
            if listeners.setdefault(inside, port.port) != port.port or inside in (LISTENER_PORT, PLAIN_PORT):
                where = f"spec.destinations[{index}].ports[{number}]"
                message = (
                    f"{where}: without mtls, port {port.port} is already in use inside the gateway's pods; use another "
                    "port"
                )
                yield Finding(_ACCEPTED, Reason.PORT_CONFLICT, message, destination.name, needs_edit=True)
            protocol, owner = taken.setdefault(port.port, (str(port.protocol), destination.name))
            if protocol != port.protocol:
                yield Finding(
                    _ACCEPTED,
                    Reason.PORT_CONFLICT,
                    f"spec.destinations[{index}].ports[{number}]: without mtls, port {port.port} already serves "
                    f"{protocol} for destination {owner} and cannot also serve {port.protocol}; use another port",
                    destination.name,
                    needs_edit=True,
                )


def _seniority(facts: Facts, destination: Destination) -> str:
    """The object that claimed its hosts first has the port; within one spec `sorted` keeps the order of the list."""
    claims = read_claims(facts.gateway.status)
    times = [claims[Claimed(host)].isoformat() for host in destination.hosts if Claimed(host) in claims]
    return min(times, default=_LATE)


def _takes_port(destination: Destination, number: int) -> bool:
    return any(port.port == number and _takes_all(destination, port) for port in destination.ports)


def _takes_all(destination: Destination, port: DestinationPort) -> bool:
    """Whether every connection of the clients to the number goes there, whatever its address."""
    return port in destination.contended_ports and port.protocol is Protocol.TCP


def _ports_of(exposed: ExposedHost) -> Iterator[tuple[int, str]]:
    if exposed.tls is None:
        yield exposed.listens_on, "HTTP"
        return
    yield exposed.listens_on, "HTTPS"
    if exposed.tls.https_redirect:
        yield 80, "HTTP"


def _describe(namespaces: list[str], *, others: bool = False) -> str:
    """`others`: a statement about every namespace means the namespaces that are left."""
    if EVERY_NAMESPACE in namespaces:
        return "every other namespace" if others else "every namespace"
    more = f" and {len(namespaces) - _SHOWN} more" if len(namespaces) > _SHOWN else ""
    return f"namespace {', '.join(namespaces[:_SHOWN])}{more}"
