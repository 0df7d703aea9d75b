"""Conflicts over a port: of TCP, which carries no host name, and inside the gateway's pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination, DestinationPort, Protocol
from egressgateway.api.expose import ExposedHost
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.claims import consented
from egressgateway.contention.port_precedence import port_winners
from egressgateway.contention.rights import as_ports, read_claims
from egressgateway.facts import Claimed, Contender, Facts, Ports, Rights
from egressgateway.live.children import hosts_of, live_clients, ports_of, section_of
from egressgateway.live.ports import meet_on_a_port, ports_for
from egressgateway.namespaces import overlap, union
from egressgateway.plan.findings import Finding, exposed_section, named
from egressgateway.plan.gateway.target import LISTENER_PORT, PLAIN_PORT, listen_port, target_of
from egressgateway.refs import Manifest, ObjectRef

_ACCEPTED: Final = ConditionType.ACCEPTED
_LATE: Final = "9999"


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
            if port not in destination.contended_ports:
                continue
            tcp = port.protocol is Protocol.TCP
            for contender, lost in port_winners(facts.contenders, own, port.port, served, tcp=tcp):
                yield Finding(
                    _ACCEPTED,
                    Reason.PORT_CONFLICT,
                    f"spec.destinations[{index}].ports[{number}]: port {port.port} is already used by EgressGateway "
                    f"{contender.key} in {named(sorted(lost))}; TCP cannot distinguish hosts on one port; use "
                    "another port",
                    destination.name,
                    # Clients that know both would reach the server of either.
                    withdraws=meet_on_a_port(ports_of(_live_entries(facts, destination.name)), contender.held_ports),
                )


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
    return Ports(*(_allowed(facts, found) for found in (live.tcp, live.named)))


def _allowed(facts: Facts, ports: Mapping[int, frozenset[str]]) -> dict[int, frozenset[str]]:
    return {number: consented(facts, served) for number, served in ports.items()}


def _with_foreign_entries(
    facts: Facts, spec: EgressGatewaySpec, consumers: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    """
    ServiceEntries that no operator wrote and that take a TCP port whole: each one's clients would reach the other's
    server, whichever is older. And Services of type ExternalName, whose clients would reach this object's server.

    Every tenant can write such an object, so it rejects only what is not served yet. What is served is older than an
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
                        f"{min(entry.hosts - names)} in {named(sorted(common))}; TCP cannot distinguish hosts on "
                        f"one port; {_way_out(entry.ref)}",
                        destination.name,
                    )


def _way_out(other: ObjectRef) -> str:
    if other.kind == "ServiceEntry":
        return "set addresses on either, hide that entry with exportTo, or use another port"
    return "set addresses, enable DNS capture in the mesh (ISTIO_META_DNS_CAPTURE), or use another port"


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


def _live_entries(facts: Facts, section: str) -> list[Manifest]:
    return [found for found in live_clients(facts.live, "ServiceEntry") if section_of(found) == section]


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
