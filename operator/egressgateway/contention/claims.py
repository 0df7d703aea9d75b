"""
Which object has the right to a name (api.md "Who wins a host").

Objects contend for a name in each consumer namespace that both serve. The earliest claim of that name in that namespace
wins, so that an old object does not take over a name by adding a host or a consumer. The status records a claim before
the first child is written, and until no client is steered by it any more. Where claims were lost with the status, the
object that steers the name now has precedence, then the older object, then namespace and name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from egressgateway.api.access import MAX_CONSUMER_NAMESPACES
from egressgateway.api.destination import Protocol
from egressgateway.contention.consumers import allowed_consumers
from egressgateway.contention.hostname_index import HostnameIndex
from egressgateway.contention.hostnames import overlaps
from egressgateway.contention.rights import read_rights
from egressgateway.facts import (
    NEVER,
    Claimed,
    ClaimedPort,
    Contender,
    Facts,
    Rights,
    Since,
    places_of,
    since_in,
)
from egressgateway.namespaces import EVERY_NAMESPACE, overlap
from egressgateway.refs import Key

_BEHIND: Final = timedelta(seconds=1)
"""By how much a claim is later that stands behind another one: statuses may have times to the second."""


@dataclass(frozen=True, slots=True, order=True)
class _Precedence:
    """How strong a right to a name in a namespace is; the smaller value wins."""

    claimed: datetime
    not_steering: bool
    created: datetime
    key: Key


@dataclass(frozen=True, slots=True)
class Claims:
    """
    The result of the contest.

    Attributes:
        rights: what the object claims from now on.
        won: by name, the consumer namespaces in which the object has the right to it.
        lost: by name, the consumer namespaces in which another object has precedence, and which object. Where it names
            every namespace, `won` says which are left.
        lost_exposed: names exposed on a gateway on which another object has exposed them already.
        unlistable: by name, how many namespaces remain of every one: too many to list, so that none is served.
        leaving: some of `rights` are held only until the last client is no longer steered by them.
    """

    rights: Rights = field(default_factory=Rights)
    won: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lost: Mapping[str, Mapping[str, Key]] = field(default_factory=dict)
    lost_exposed: Mapping[Claimed, Key] = field(default_factory=dict)
    unlistable: Mapping[str, int] = field(default_factory=dict)
    leaving: bool = False

    def with_ports(self, ports: Mapping[ClaimedPort, Since], *, leaving: bool) -> Claims:
        """The same with claims of ports, some of which may be held only until their clients are withdrawn."""
        return replace(self, rights=replace(self.rights, ports=ports), leaving=self.leaving or leaving)


@dataclass(frozen=True, slots=True)
class Stakes:
    """
    What an object wants that other objects may want, too.

    Attributes:
        serves: by name, the consumer namespaces.
        exposes: names on gateways that it shares with others.
        steers: by name, the namespaces whose clients its live routes send to it.
        lets_go: names that it has claimed and does not ask for any more (`contention.succession`).
    """

    serves: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exposes: frozenset[Claimed] = frozenset()
    steers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lets_go: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PortClaim:
    """What one destination wants of a port: the served namespaces, those that are lost, and those that remain."""

    port: ClaimedPort
    served: frozenset[str]
    lost: frozenset[str]
    won: frozenset[str]


def own_rights(facts: Facts) -> Rights:
    """What the object's status claims."""
    spec = facts.gateway.spec
    wanted = (
        (found.claimed, [ClaimedPort(port.port, port.protocol is Protocol.TCP) for port in found.contended_ports])
        for found in (spec.destinations if spec else ())
    )
    return read_rights(facts.gateway.status, wanted)


def consented(facts: Facts, served: frozenset[str]) -> frozenset[str]:
    """Of the namespaces that are served, those that the object's class allows; all if the class cannot be read."""
    return allowed_consumers(facts.key, facts.class_.spec, facts.namespaces, served)


def resolve_claims(facts: Facts, stakes: Stakes, before: Rights) -> Claims:
    """
    Decide which of the wanted names the object has, and to which objects it loses the others.

    Args:
        before: what it has claimed so far.
    """
    contenders = _ByName(facts)
    contests = {
        name: _contest(facts, stakes, name, served, before.names.get(name, {}), contenders)
        for name, served in sorted(stakes.serves.items())
    }
    names: dict[str, Since] = {
        name: claim(before.names.get(name, {}), stakes.serves[name], contest.won, contest.lost, facts)
        for name, contest in contests.items()
        if not contest.unlistable
    }
    leaving = {name: _still_steered(stakes, before, name, names.get(name, {})) for name in before.names}
    leaving |= {name: _behind_heirs(facts, name, since) for name, since in leaving.items() if name in stakes.lets_go}
    for name, since in leaving.items():
        if since:
            names[name] = {**names.get(name, {}), **since}
    lost_exposed = {
        wanted: winner for wanted in stakes.exposes if (winner := _exposed_by(facts, wanted, before.exposed))
    }
    exposed = {wanted: before.exposed.get(wanted, facts.now) for wanted in stakes.exposes - lost_exposed.keys()}
    rights = Rights({name: since for name, since in names.items() if places_of(since)}, exposed=exposed)
    return Claims(
        rights,
        {name: contest.won for name, contest in contests.items()},
        {name: contest.lost for name, contest in contests.items() if contest.lost},
        lost_exposed,
        unlistable={name: contest.unlistable for name, contest in contests.items() if contest.unlistable},
        leaving=any(leaving.values()),
    )


def claim(
    before: Since, served: frozenset[str], won: frozenset[str], lost: Iterable[str], facts: Facts
) -> dict[str, datetime]:
    """
    The claims of a name or a port in the namespaces `won`: since now, or since they were first made.

    Where an object serves every namespace but those that it lost, that stays one claim; the lost namespaces are marked.
    """
    lost = frozenset(lost)
    if EVERY_NAMESPACE not in served or EVERY_NAMESPACE in lost:
        return {place: _since(before, place, facts.now) for place in won}
    since = {EVERY_NAMESPACE: _since(before, EVERY_NAMESPACE, facts.now)}
    # An object that serves everybody now has served some before, and keeps that older claim there.
    older = {place: moment for place, moment in before.items() if moment < since[EVERY_NAMESPACE]}
    known = {place: moment for place, moment in older.items() if place in facts.namespaces}
    return since | known | dict.fromkeys(lost, NEVER)


def claim_ports(
    facts: Facts, before: Rights, wanted: Iterable[PortClaim], live: Mapping[ClaimedPort, frozenset[str]]
) -> tuple[dict[ClaimedPort, Since], bool]:
    """
    The claims of ports, and whether some are held only until their clients are withdrawn.

    Args:
        live: ports that clients are told of now, and the namespaces of these clients.
    """
    asked: dict[ClaimedPort, list[PortClaim]] = {}
    for each in wanted:
        asked.setdefault(each.port, []).append(each)
    ports: dict[ClaimedPort, Since] = {
        port: _claim_port(facts, before.ports.get(port, {}), claims) for port, claims in asked.items()
    }
    leaving = False
    for port, since in before.ports.items():
        kept = _still_there(since, live.get(port, frozenset()), ports.get(port, {}))
        if kept:
            leaving = True
            ports[port] = {**ports.get(port, {}), **kept}
    return {port: since for port, since in ports.items() if places_of(since)}, leaving


def _claim_port(facts: Facts, before: Since, claims: list[PortClaim]) -> dict[str, datetime]:
    everybody = [each for each in claims if EVERY_NAMESPACE in each.served and EVERY_NAMESPACE not in each.lost]
    named = frozenset[str]().union(*(each.won for each in claims if each not in everybody))
    if not everybody:
        return claim(before, named, named, (), facts)
    lost = frozenset.intersection(*(each.lost for each in everybody)) - named
    return claim(before, frozenset({EVERY_NAMESPACE}), named, lost, facts)


class _ByName:
    """Contenders by the names that they want, steer or have claimed."""

    def __init__(self, facts: Facts) -> None:
        self._own_namespace = facts.key.namespace
        self._index: HostnameIndex[tuple[int, str]] = HostnameIndex()
        self._contenders = facts.contenders
        for number, contender in enumerate(facts.contenders):
            for name in contender.serves.keys() | contender.steers.keys() | contender.rights.names.keys():
                self._index.add((name,), (number, name))

    def contending(self, name: str) -> Iterator[tuple[Contender, str]]:
        """
        Contenders for `name`, and the name by which they contend.

        Of two objects of one namespace the more specific name wins, which is no conflict.
        """
        for number, other in self._index.at(name):
            yield self._contenders[number], other
        for number, other in (*self._index.above(name), *self._index.below(name)):
            if self._contenders[number].key.namespace != self._own_namespace:
                yield self._contenders[number], other


@dataclass(frozen=True, slots=True)
class _Result:
    """For one name: the namespaces that remain, and the object that has it in the others."""

    won: frozenset[str]
    lost: Mapping[str, Key] = field(default_factory=dict[str, Key])
    unlistable: int = 0


def _behind_heirs(facts: Facts, name: str, since: Since) -> dict[str, datetime]:
    """
    The claims of a name that the object lets go: behind those of the objects that have taken it over.

    They keep the name from other namespaces for as long as clients use it. To the next object they are nothing: that
    one has the name from now on, even if this one asks for it again.
    """
    heirs = [
        contender.rights.names.get(name, {})
        for contender in facts.contenders
        if contender.key.namespace == facts.key.namespace and name in contender.serves
    ]
    behind = dict(since)
    for heir in heirs:
        for place in overlap(places_of(since), places_of(heir)):
            if (theirs := since_in(heir, place)) != NEVER:
                behind[place] = max(behind.get(place, since_in(since, place)), theirs + _BEHIND)
    return behind


def _contest(  # noqa: PLR0913, PLR0917  (one contest: for what, where, by which rights, against which rivals)
    facts: Facts, stakes: Stakes, name: str, served: frozenset[str], before: Since, by_name: _ByName
) -> _Result:
    found = list(by_name.contending(name))
    contenders = [
        (contender, other, _places(contender, other)) for contender, other in found if other not in contender.lets_go
    ]
    if not contenders:
        return _Result(served)
    inherited = [contender.rights.names.get(other, {}) for contender, other in found if other in contender.lets_go]
    steered = stakes.steers.get(name, frozenset())
    conflicted = _conflicted(served, before, [places for _, _, places in contenders])
    winners: dict[str, Key] = {}
    for place in sorted(conflicted):
        own = _Precedence(since_in(before, place), not _is_in(place, steered), facts.gateway.created, facts.key)
        # What an object of the namespace lets go stays in the namespace, however long others have waited for it.
        heir = replace(own, claimed=min((own.claimed, *(since_in(since, place) for since in inherited))))
        rights = (
            _Precedence(
                since_in(contender.rights.names.get(other, {}), place),
                not _is_in(place, contender.steers.get(other, frozenset())),
                contender.created,
                contender.key,
            )
            for contender, other, places in contenders
            if _is_in(place, places)
        )
        better = [each for each in rights if each < (own if each.key.namespace == own.key.namespace else heir)]
        if better:
            winners[place] = min(better).key
    return _result(served, conflicted, winners, facts)


def _result(served: frozenset[str], conflicted: frozenset[str], winners: Mapping[str, Key], facts: Facts) -> _Result:
    """Lists the namespaces that remain of every one, as `exportTo` needs them."""
    if not winners:
        return _Result(served)
    if EVERY_NAMESPACE not in winners:
        all_served = frozenset(facts.namespaces) if EVERY_NAMESPACE in served else served
        won = all_served - winners.keys()
        if EVERY_NAMESPACE in served and len(won) > MAX_CONSUMER_NAMESPACES:
            # Istio's `exportTo` has no "every namespace but": a list of thousands would be rewritten with each new
            # namespace.
            return _Result(frozenset(), winners, unlistable=len(won))
        return _Result(won, winners)
    # A namespace where the name is contended for, and not lost, gets a claim of its own.
    won = conflicted - winners.keys()
    return _Result(won, winners if won else {EVERY_NAMESPACE: winners[EVERY_NAMESPACE]})


def _places(contender: Contender, name: str) -> frozenset[str]:
    """Namespaces where a contender wants a name, has claimed it, or steers it."""
    none = frozenset[str]()
    return (
        contender.serves.get(name, none)
        | places_of(contender.rights.names.get(name, {}))
        | contender.steers.get(name, none)
    )


def _conflicted(served: frozenset[str], before: Since, others: Iterable[frozenset[str]]) -> frozenset[str]:
    """Namespaces in which a name is contended for; all namespaces that no object names are one place, `*`."""
    conflicted = frozenset[str]()
    for theirs in others:
        common = overlap(served, theirs)
        if EVERY_NAMESPACE in common:
            # Of two objects that serve everybody, each may have an older claim in single namespaces.
            common |= theirs | served | frozenset(before)
        conflicted |= common
    return conflicted


def _since(before: Since, place: str, now: datetime) -> datetime:
    moment = since_in(before, place)
    return now if moment == NEVER else moment


def _still_steered(stakes: Stakes, before: Rights, name: str, kept: Since) -> dict[str, datetime]:
    return _still_there(before.names[name], stakes.steers.get(name, frozenset()), kept)


def _still_there(before: Since, live: frozenset[str], kept: Since) -> dict[str, datetime]:
    """Claims that the object does not make any more, where clients still use them."""
    return {
        place: moment
        for place in live
        if since_in(kept, place) == NEVER and (moment := since_in(before, place)) != NEVER
    }


def _is_in(place: str, places: frozenset[str]) -> bool:
    return place in places or EVERY_NAMESPACE in places


def _exposed_by(facts: Facts, wanted: Claimed, claimed: Mapping[Claimed, datetime]) -> Key | None:
    """Which object exposes a name on the same gateway by an earlier claim."""
    own = (claimed.get(wanted, NEVER), facts.gateway.created, facts.key)
    rights = (
        (contender.rights.exposed.get(other, NEVER), contender.created, contender.key)
        for contender in facts.contenders
        for other in contender.exposes | contender.rights.exposed.keys()
        if other.gateway == wanted.gateway and overlaps(other.host, wanted.host)
    )
    best = min(rights, default=None)
    return best[2] if best is not None and best < own else None
