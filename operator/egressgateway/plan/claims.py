"""
Who owns a host (api.md "Who wins a host").

The earliest claim of a name in a consumer namespace wins, so an old object takes nothing over by adding a host. A claim
stands in the status before the first child is written. Where claims were lost with the status, who steers the name
now has the older right, then the older object, then namespace and name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.scalars import parse_instant
from egressgateway.facts import Facts, Rival
from egressgateway.refs import Key, Manifest

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class _Standing:
    """How good a right to a name is; the smaller wins."""

    claimed: datetime
    not_steering: bool
    created: datetime
    key: Key


@dataclass(frozen=True, slots=True)
class Claim:
    """One name that the object holds or now takes."""

    host: str
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """`held`: names of the object's own; `lost`: name to the object that has the better right to it."""

    held: tuple[Claim, ...]
    lost: Mapping[str, Key]

    @property
    def by_host(self) -> dict[str, datetime]:
        return {claim.host: claim.claimed_at for claim in self.held}


def read_claims(status: Mapping[str, Any]) -> dict[str, datetime]:
    """Claims in a status; what cannot be read counts as no claim (tenants have no business writing there)."""
    claims: dict[str, datetime] = {}
    for entry in status.get("claims") or ():
        try:
            claims[entry["host"]] = parse_instant(entry["claimedAt"])
        except (KeyError, TypeError, ValueError):
            continue
    return claims


def contended_names(gateway: Manifest) -> frozenset[str]:
    """
    Names that an EgressGateway asks for and may still claim, read without judging it.

    What its status refuses, for this very spec, it will not claim: another object that waited for it would wait for
    ever. A HostConflict is no such refusal, its loser may be the next in line. Who is suspended claims nothing new.
    """
    spec = gateway.get("spec") or {}
    if spec.get("suspend") or _is_refused(gateway):
        return frozenset()
    refused = _refused_parts(gateway)
    destinations = [found for found in spec.get("destinations") or () if found.get("name") not in refused]
    return frozenset(
        name
        for destination in destinations
        for name in (*(destination.get("hosts") or ()), *(destination.get("aliases") or ()))
    )


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
        and condition["reason"] != Reason.HOST_CONFLICT
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


def resolve_claims(facts: Facts, wanted: Iterable[str], steered: frozenset[str]) -> Claims:
    """
    Claims of the object on the names that it wants.

    Args:
        wanted: hosts and aliases of its accepted destinations.
        steered: names that its live children steer now.
    """
    claimed = read_claims(facts.gateway.status)
    held: list[Claim] = []
    lost: dict[str, Key] = {}
    for host in sorted(set(wanted)):
        own = _Standing(claimed.get(host, _NEVER), host not in steered, facts.gateway.created, facts.key)
        best = min((_standing_of(rival, host) for rival in facts.rivals if _contends(rival, host)), default=None)
        if best is not None and best < own:
            lost[host] = best.key
        else:
            held.append(Claim(host, claimed.get(host, facts.now)))
    return Claims(tuple(held), lost)


def _contends(rival: Rival, host: str) -> bool:
    return host in rival.claimed or host in rival.wants


def _standing_of(rival: Rival, host: str) -> _Standing:
    return _Standing(rival.claimed.get(host, _NEVER), host not in rival.steers, rival.created, rival.key)
