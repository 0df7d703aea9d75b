"""
The record of claims in a status (api.md "Who wins a host"): reads it and writes it.

A claim is for one name, or port, in one consumer namespace, and has a time of its own. Most objects claim all that they
want for the same namespaces, so that `claims`, `portClaims` and `consumers` suffice: a claim holds in each of
`consumers`, since the later of both times. Claims that differ from that are in `scopedClaims`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from egressgateway.api.scalars import format_instant, parse_instant
from egressgateway.facts import (
    NEVER,
    Claimed,
    ClaimedPort,
    Ports,
    Rights,
    Since,
    places_of,
)
from egressgateway.namespaces import EVERY_NAMESPACE, union

CLAIMS: Final = ("claims", "portClaims", "consumers", "scopedClaims")
"""Fields of a status that record claims."""

T = TypeVar("T", bound=Hashable)
_READ_ERRORS = (AttributeError, KeyError, TypeError, ValueError)

Wanted = Iterable[tuple[Iterable[str], Iterable[ClaimedPort]]]
"""For each destination of a spec: its names and its ports."""


def read_rights(status: Mapping[str, Any], wanted: Wanted = ()) -> Rights:
    """
    What a status claims. What cannot be read counts as no claim.

    Args:
        wanted: what the spec asks for. A status that an operator without `portClaims` wrote claims the ports of each
            destination whose names it claims.
    """
    claims, consumers = read_claims(status), read_since(status)
    scoped_names, scoped_ports = _scoped(status)
    first = {claim.host: moment for claim, moment in claims.items() if not claim.gateway}
    ports = dict(_read_ports(status)) if "portClaims" in status else _ports_of_old(first, wanted)
    return Rights(
        {name: scoped_names.get(name) or _in_all(moment, consumers) for name, moment in first.items()},
        {port: scoped_ports.get(port) or _in_all(moment, consumers) for port, moment in ports.items()},
        {claim: moment for claim, moment in claims.items() if claim.gateway},
    )


def read_claims(status: Mapping[str, Any]) -> dict[Claimed, datetime]:
    """Names in a status, and when each was first claimed."""
    claims: dict[Claimed, datetime] = {}
    for entry in _entries(status, "claims"):
        try:
            claims[Claimed(entry["host"], entry.get("gateway") or "")] = parse_instant(entry["claimedAt"])
        except _READ_ERRORS:
            continue
    return claims


def read_since(status: Mapping[str, Any]) -> dict[str, datetime]:
    """Consumer namespaces in a status, and since when they are served."""
    since: dict[str, datetime] = {}
    for entry in _entries(status, "consumers"):
        try:
            since[entry["namespace"]] = parse_instant(entry["since"])
        except _READ_ERRORS:
            continue
    return since


def rights_fields(rights: Rights) -> dict[str, Any]:
    """The fields of a status that record `rights`, without those that are empty."""
    names, ports = _firsts(rights.names), _firsts(rights.ports)
    consumers = _consumers(rights)
    claims = [{"host": name, "claimedAt": format_instant(moment)} for name, moment in names.items()]
    claims += [
        {"host": claim.host, "claimedAt": format_instant(moment), "gateway": claim.gateway}
        for claim, moment in sorted(rights.exposed.items(), key=lambda item: (item[0].gateway, item[0].host))
    ]
    fields: dict[str, Any] = {
        "claims": claims,
        "portClaims": [_port_claim(port, moment) for port, moment in ports.items()],
        "consumers": [{"namespace": name, "since": format_instant(moment)} for name, moment in consumers.items()],
        "scopedClaims": [
            *_groups("hosts", _unusual(rights.names, names, consumers)),
            *_groups("ports", _unusual(rights.ports, ports, consumers)),
        ],
    }
    return {name: value for name, value in fields.items() if value}


def is_recorded(rights: Rights, status: Mapping[str, Any]) -> bool:
    """Whether `status` records every one of `rights`: the process loses what it has only in memory."""
    return is_covered(rights, read_rights(status))


def is_covered(rights: Rights, recorded: Rights) -> bool:
    """Whether every one of `rights` is among `recorded`."""
    return (
        rights.exposed.keys() <= recorded.exposed.keys()
        and _within(rights.names, recorded.names)
        and _within(rights.ports, recorded.ports)
    )


def as_ports(ports: Mapping[ClaimedPort, Since]) -> Ports:
    """Claimed ports as consumer namespaces by number."""
    tcp: dict[int, frozenset[str]] = {}
    named: dict[int, frozenset[str]] = {}
    for port, since in ports.items():
        found = tcp if port.tcp else named
        found[port.number] = union((found.get(port.number, frozenset()), places_of(since)))
    return Ports(tcp, named)


def _entries(status: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = status.get(name)
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def _in_all(claimed: datetime, consumers: Since) -> dict[str, datetime]:
    return {namespace: max(claimed, since) for namespace, since in consumers.items()}


def _read_ports(status: Mapping[str, Any]) -> Iterator[tuple[ClaimedPort, datetime]]:
    for entry in _entries(status, "portClaims"):
        try:
            yield ClaimedPort(int(entry["port"]), bool(entry.get("tcp"))), parse_instant(entry["claimedAt"])
        except _READ_ERRORS:
            continue


def _ports_of_old(claimed: Mapping[str, datetime], wanted: Wanted) -> dict[ClaimedPort, datetime]:
    ports: dict[ClaimedPort, datetime] = {}
    for names, numbers in wanted:
        first = min((claimed[name] for name in names if name in claimed), default=NEVER)
        if first != NEVER:
            ports |= {port: min(first, ports.get(port, NEVER)) for port in numbers}
    return ports


def _scoped(status: Mapping[str, Any]) -> tuple[dict[str, dict[str, datetime]], dict[ClaimedPort, dict[str, datetime]]]:
    names: dict[str, dict[str, datetime]] = {}
    ports: dict[ClaimedPort, dict[str, datetime]] = {}
    for entry in _entries(status, "scopedClaims"):
        try:
            since = parse_instant(entry["since"])
            found = dict.fromkeys(map(str, entry["namespaces"]), since)
            found |= dict.fromkeys(map(str, entry.get("except") or ()), NEVER)
            for name in entry.get("hosts") or ():
                names.setdefault(str(name), {}).update(found)
            for port in entry.get("ports") or ():
                ports.setdefault(ClaimedPort(int(port["port"]), bool(port.get("tcp"))), {}).update(found)
        except _READ_ERRORS:
            continue
    return names, ports


def _firsts(table: Mapping[T, Since]) -> dict[T, datetime]:
    """When each was first claimed, in a stable order; without those that are claimed nowhere."""
    found = {item: min(table[item].values(), default=NEVER) for item in sorted(table, key=str)}
    return {item: moment for item, moment in found.items() if moment != NEVER}


def _consumers(rights: Rights) -> dict[str, datetime]:
    earliest: dict[str, datetime] = {}
    for since in (*rights.names.values(), *rights.ports.values()):
        for namespace in places_of(since):
            earliest[namespace] = min(since[namespace], earliest.get(namespace, NEVER))
    return dict(sorted(earliest.items()))


def _unusual(table: Mapping[T, Since], firsts: Mapping[T, datetime], consumers: Since) -> dict[T, Since]:
    """Claims that `firsts` and `consumers` together do not express."""
    return {item: table[item] for item, first in firsts.items() if dict(table[item]) != _in_all(first, consumers)}


def _groups(field: str, table: Mapping[T, Since]) -> Iterator[dict[str, Any]]:
    """Items with the same claims in the same namespaces share one entry."""
    by_claims: dict[tuple[tuple[datetime, tuple[str, ...]], ...], list[T]] = {}
    for item, since in table.items():
        by_moment: dict[datetime, list[str]] = {}
        for namespace, moment in sorted(since.items()):
            by_moment.setdefault(moment, []).append(namespace)
        claims = tuple(sorted((moment, tuple(places)) for moment, places in by_moment.items()))
        by_claims.setdefault(claims, []).append(item)
    for claims, items in by_claims.items():
        excluded = next((places for moment, places in claims if moment == NEVER), ())
        for moment, places in claims:
            if moment == NEVER:
                continue
            without = {"except": list(excluded)} if excluded and EVERY_NAMESPACE in places else {}
            yield {"since": format_instant(moment), "namespaces": list(places), **without, field: _listed(items)}


def _listed(items: Iterable[Any]) -> list[Any]:
    return [_port(item) if isinstance(item, ClaimedPort) else item for item in items]


def _port(port: ClaimedPort) -> dict[str, Any]:
    return {"port": port.number, "tcp": True} if port.tcp else {"port": port.number}


def _port_claim(port: ClaimedPort, moment: datetime) -> dict[str, Any]:
    return {**_port(port), "claimedAt": format_instant(moment)}


def _within(rights: Mapping[T, Since], recorded: Mapping[T, Since]) -> bool:
    """Whether each claim is recorded where it is made, and is not recorded where it is excluded."""
    return all(
        places_of(since) <= places_of(recorded.get(item, {}))
        and not any(
            moment == NEVER and item in recorded and recorded[item].get(namespace) != NEVER
            for namespace, moment in since.items()
        )
        for item, since in rights.items()
    )
