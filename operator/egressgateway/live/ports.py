"""Ports that clients dial, and the namespaces of these clients."""

from __future__ import annotations

from collections.abc import Iterable

from egressgateway.api.destination import Protocol
from egressgateway.facts import Ports
from egressgateway.namespaces import overlap, union


def ports_for(found: Iterable[tuple[int, str, frozenset[str]]]) -> Ports:
    """Ports by their numbers, protocols and consumers; a number may be there more than once."""
    tcp: dict[int, frozenset[str]] = {}
    named: dict[int, frozenset[str]] = {}
    for number, protocol, served in found:
        known = tcp if protocol == Protocol.TCP else named
        known[number] = union((known.get(number, frozenset()), served))
    return Ports(tcp, named)


def meet_on_a_port(one: Ports, other: Ports) -> bool:
    """Whether both have a port for the same consumers, and one of the two speaks TCP there."""
    pairs = ((one.tcp, other.tcp), (one.tcp, other.named), (one.named, other.tcp))
    return any(overlap(mine[port], theirs[port]) for mine, theirs in pairs for port in mine.keys() & theirs.keys())
