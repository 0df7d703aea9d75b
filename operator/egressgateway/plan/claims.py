"""
Who owns a name (api.md "Who wins a host").

Objects contend for a name in each consumer namespace that both serve. The earliest claim of the name in that namespace
wins, so an old object takes nothing over by adding a host or a consumer. A claim stands in the status before the first
child is written, and until the last client was told otherwise. Where claims were lost with the status, who steers the
name now has the older right, then the older object, then namespace and name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.scalars import parse_instant
from egressgateway.facts import EVERY_NAMESPACE, Claimed, Facts, Rival
from egressgateway.plan.consumers import union, without
from egressgateway.plan.hosts import overlaps
from egressgateway.refs import Key, Manifest

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class _Standing:
    """How good a right to a name in a namespace is; the smaller wins."""

    claimed: datetime
    not_steering: bool
    created: datetime
    key: Key


@dataclass(frozen=True, slots=True)
class Claim:
    """One name that the object holds or now takes; `gateway` as in `Claimed`."""

    host: str
    claimed_at: datetime
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """
    What came of the contest.

    Attributes:
        held: names of the object's own.
        lost: by name, the consumer namespaces in which another object has the better right, and which.
        lost_exposed: names exposed on a gateway that another object has there already.
        since: by consumer namespace, since when the object serves it.
        leaving: some of this is held only until live routes let go of it.
    """

    held: tuple[Claim, ...]
    lost: Mapping[str, Mapping[str, Key]] = field(default_factory=dict)
    lost_exposed: Mapping[Claimed, Key] = field(default_factory=dict)
    since: Mapping[str, datetime] = field(default_factory=dict)
    leaving: bool = False

    @property
    def keys(self) -> frozenset[Claimed]:
        return frozenset(Claimed(claim.host, claim.gateway) for claim in self.held)


@dataclass(frozen=True, slots=True)
class Stakes:
    """
    What an object wants of others' names.

    Attributes:
        serves: by name, the consumer namespaces.
        exposes: names on gateways that it shares with others.
        steers: by name, the namespaces whose clients its live routes send to it.
    """

    serves: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exposes: frozenset[Claimed] = frozenset()
    steers: Mapping[str, frozenset[str]] = field(default_factory=dict)


def read_claims(status: Mapping[str, Any]) -> dict[Claimed, datetime]:
    """Claims in a status; what cannot be read counts as no claim (tenants have no business writing there)."""
    claims: dict[Claimed, datetime] = {}
    for entry in status.get("claims") or ():
        try:
            claims[Claimed(entry["host"], entry.get("gateway") or "")] = parse_instant(entry["claimedAt"])
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return claims


def read_since(status: Mapping[str, Any]) -> dict[str, datetime]:
    """Consumer namespaces in a status, and since when they are served."""
    since: dict[str, datetime] = {}
    for entry in status.get("consumers") or ():
        try:
            since[entry["namespace"]] = parse_instant(entry["since"])
        except (KeyError, TypeError, ValueError):
            continue
    return since


def is_recorded(claims: Claims, status: Mapping[str, Any]) -> bool:
    """Whether `status` holds every claim and every consumer: what is only in memory is lost with the process."""
    return claims.keys <= read_claims(status).keys() and claims.since.keys() <= read_since(status).keys()


def contended_names(gateway: Manifest) -> frozenset[str]:
    """
    Names that an EgressGateway asks for and may still claim, read without judging it.

    What its status refuses, for this very spec, it will not claim: another object that waited for it would wait for
    ever. A HostConflict is no such refusal, its loser may be the next in line; nor is a consumer that the class denies,
    the others are served. Who is suspended claims nothing new.
    """
    spec = gateway.get("spec") or {}
    if spec.get("suspend") or _is_refused(gateway):
        return frozenset()
    refused = _refused_parts(gateway)
    return frozenset(
        name
        for destination in entries_of(gateway, "destinations")
        if destination.get("name") not in refused
        for name in (*texts_of(destination, "hosts"), *texts_of(destination, "aliases"))
    )


def entries_of(gateway: Manifest, name: str) -> list[dict[str, Any]]:
    """Entries of a list in the spec; what is none is left out, as a CRD that is damaged lets everything pass."""
    return mappings_in(gateway.get("spec"), name)


def mappings_in(holder: Any, name: str) -> list[dict[str, Any]]:
    """Those items of a list that are mappings."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def texts_of(holder: Mapping[str, Any], name: str) -> list[str]:
    """Those items of a list that are texts."""
    found = holder.get(name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _is_refused(gateway: Manifest) -> bool:
    """Whether the object as a whole is refused; it then has no parts that say so, or all of them do."""
    status = gateway.get("status") or {}
    return (
        status.get("observedGeneration") == gateway["metadata"].get("generation")
        and not status.get("destinations")
        and any(_is_refusal(condition) for condition in status.get("conditions") or ())
    )


def _is_refusal(condition: Mapping[str, Any]) -> bool:
    return bool(
        condition["type"] == ConditionType.ACCEPTED
        and condition["status"] == "False"
        and condition["reason"] not in (Reason.HOST_CONFLICT, Reason.CONSUMER_NOT_ALLOWED)
    )


def _refused_parts(gateway: Manifest) -> frozenset[str]:
    status = gateway.get("status") or {}
    if status.get("observedGeneration") != gateway["metadata"].get("generation"):
        return frozenset()
    return frozenset(
        part["name"]
        for part in status.get("destinations") or ()
        for condition in part.get("conditions") or ()
        if _is_refusal(condition)
    )


def resolve_claims(facts: Facts, stakes: Stakes) -> Claims:
    """Which of the names that the object wants it holds, and to whom it loses others."""
    status = facts.gateway.status
    claimed, before = read_claims(status), read_since(status)
    # Who still steers keeps its right until it has let go: the next in line would steer beside it.
    leaving = [name for name in sorted(stakes.steers.keys() - stakes.serves.keys()) if Claimed(name) in claimed]
    consumers = union(stakes.serves.values())
    held, lost, unsettled = [Claim(name, claimed[Claimed(name)]) for name in leaving], {}, set()
    for name, served in sorted(stakes.serves.items()):
        places = _places(facts, served)
        winners = _without_rest(
            places,
            {
                place: standing
                for place in sorted(places)
                if (standing := _better_right(facts, stakes, name, place, claimed, before)) is not None
            },
        )
        if winners:
            lost[name] = {namespace: standing.key for namespace, standing in winners.items()}
        if without(served, winners, facts.namespaces):
            held.append(Claim(name, claimed.get(Claimed(name), facts.now)))
            unsettled |= {namespace for namespace, standing in winners.items() if standing.claimed == _NEVER}
    # Where the winner has yet to make its claim anew, ours must not be the first: a name that we hold elsewhere would
    # count as claimed there, too, and taken over. The winner's claim wakes us up.
    since = {
        namespace: before.get(namespace, facts.now)
        for namespace in consumers
        if namespace in before or namespace not in unsettled
    }
    still = {place: before[place] for served in stakes.steers.values() for place in served if place in before}
    ends = bool(leaving or still.keys() - since.keys())
    since |= still
    if EVERY_NAMESPACE in consumers:
        # Who serves everybody now has served some before, and keeps that older right there.
        since |= {namespace: begun for namespace, begun in before.items() if namespace in facts.namespaces}
    lost_exposed = {wanted: winner for wanted in stakes.exposes if (winner := _exposed_by(facts, wanted, claimed))}
    held += [
        Claim(wanted.host, claimed.get(wanted, facts.now), wanted.gateway)
        for wanted in sorted(stakes.exposes - lost_exposed.keys(), key=lambda wanted: (wanted.gateway, wanted.host))
    ]
    return Claims(tuple(held), lost, lost_exposed, since, ends)


def _places(facts: Facts, served: frozenset[str]) -> frozenset[str]:
    """Where a name is contended for: each namespace by itself, and those that do not exist yet together."""
    return served | frozenset(facts.namespaces) if EVERY_NAMESPACE in served and facts.rivals else served


def _without_rest(places: frozenset[str], winners: dict[str, _Standing]) -> dict[str, _Standing]:
    """Who loses each namespace loses all; who holds one loses those that are named, and serves the others by name."""
    if EVERY_NAMESPACE not in winners:
        return winners
    if winners.keys() >= places:
        return {EVERY_NAMESPACE: winners[EVERY_NAMESPACE]}
    return {place: standing for place, standing in winners.items() if place != EVERY_NAMESPACE}


def _better_right(  # noqa: PLR0913, PLR0917  (one contest: who, for what, where, by which rights)
    facts: Facts,
    stakes: Stakes,
    name: str,
    place: str,
    claimed: Mapping[Claimed, datetime],
    since: Mapping[str, datetime],
) -> _Standing | None:
    """The best right of a rival to `name` in `place`; None where the object's own is better."""
    rights = [
        _Standing(
            _right(rival.claimed, rival_name, rival.since, place),
            not _steers(rival.steers, rival_name, place),
            rival.created,
            rival.key,
        )
        for rival, rival_name in _contenders(facts, name, place)
    ]
    own = _Standing(
        _right(claimed, name, since, place),
        not _steers(stakes.steers, name, place),
        facts.gateway.created,
        facts.key,
    )
    best = min(rights, default=own)
    return best if best < own else None


def _contenders(facts: Facts, name: str, place: str) -> Iterator[tuple[Rival, str]]:
    """Rivals for `name` that serve `place`, or steer its clients still, and the name that they contend by."""
    for rival in facts.rivals:
        for other in rival.serves.keys() | rival.steers.keys() | {c.host for c in rival.claimed if not c.gateway}:
            if other != name and (rival.key.namespace == facts.key.namespace or not overlaps(other, name)):
                # Of one namespace the more specific name wins, which is no conflict.
                continue
            served = rival.serves.get(other, frozenset(rival.since))
            if place in served or EVERY_NAMESPACE in served or _steers(rival.steers, other, place):
                yield rival, other


def _right(claimed: Mapping[Claimed, datetime], name: str, since: Mapping[str, datetime], namespace: str) -> datetime:
    """When `name` was claimed in `namespace`: the later of the claim and of the namespace becoming a consumer."""
    served = min(since.get(namespace, _NEVER), since.get(EVERY_NAMESPACE, _NEVER))
    return max(claimed.get(Claimed(name), _NEVER), served)


def _steers(steers: Mapping[str, frozenset[str]], name: str, namespace: str) -> bool:
    steered = steers.get(name, frozenset())
    return namespace in steered or EVERY_NAMESPACE in steered


def _exposed_by(facts: Facts, wanted: Claimed, claimed: Mapping[Claimed, datetime]) -> Key | None:
    """Who exposes a name on the same gateway by an older right."""
    own = (claimed.get(wanted, _NEVER), facts.gateway.created, facts.key)
    rights = (
        (rival.claimed.get(other, _NEVER), rival.created, rival.key)
        for rival in facts.rivals
        for other in rival.exposes | {claim for claim in rival.claimed if claim.gateway}
        if other.gateway == wanted.gateway and overlaps(other.host, wanted.host)
    )
    best = min(rights, default=None)
    return best[2] if best is not None and best < own else None
