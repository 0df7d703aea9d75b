"""
Precedence on a TCP port: which of several objects has a number in a namespace.

TCP carries no host name, so one object has the number there for every host. The object that has claimed it keeps it; of
two that want it, the one that claimed its first host earlier gets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from egressgateway.facts import Contender, Ports
from egressgateway.namespaces import EVERY_NAMESPACE, overlap, union
from egressgateway.refs import Key


def port_winners(
    contenders: Iterable[Contender], own: Contender, number: int, served: frozenset[str], *, tcp: bool
) -> Iterator[tuple[Contender, list[str]]]:
    """
    Contenders with precedence over `own` on a port, and where: those that hold it; where none holds it, the first in
    line.

    The other contenders are rejected themselves, and so are no reason to reject this object.

    Args:
        served: namespaces in which `own` wants the port.
        tcp: whether it wants it for TCP, which takes it for every host.
    """
    contenders = tuple(contenders)
    better: dict[str, list[tuple[_Right, Contender]]] = {}
    for contender in contenders:
        for place, right in _lost_to(contender, own, number, served, tcp=tcp):
            better.setdefault(place, []).append((right, contender))
    for contender in contenders:
        places = [place for place, found in better.items() if contender.key in _first_in_line(found)]
        if places:
            yield contender, places


def _first_in_line(better: list[tuple[_Right, Contender]]) -> frozenset[Key]:
    holders = [contender.key for right, contender in better if right.holds]
    return frozenset(holders or [min(better, key=lambda found: found[0])[1].key])


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
    contender: Contender, own: Contender, number: int, served: frozenset[str], *, tcp: bool
) -> Iterator[tuple[str, _Right]]:
    """Where the contender has precedence, if one of the two speaks TCP: that takes the port for every host."""
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
