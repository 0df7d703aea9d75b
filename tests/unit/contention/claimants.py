"""Objects that contend for names, as each of them sees the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from egressgateway.api.scalars import format_instant
from egressgateway.contention.claims import Claims, Stakes, resolve_claims
from egressgateway.contention.rights import read_rights
from egressgateway.facts import Claimed, Contender, GatewayFacts
from egressgateway.refs import Key
from unit.plan.world import NOW, facts_of

HOST = "a.example.com"
NAMESPACES: Mapping[str, Mapping[str, str]] = {"shop": {}, "lab": {}, "bank": {}}


def days(count: int) -> datetime:
    """So many days ago."""
    return NOW - timedelta(days=count)


@dataclass(frozen=True)
class Claimant:
    """One object: what it wants, and what its status says. `serves` and `steers` are namespaces by name."""

    name: str = "me"
    namespace: str = "shop"
    created: datetime = NOW
    serves: Mapping[str, frozenset[str]] = field(default_factory=lambda: {HOST: frozenset({"shop"})})
    claimed: Mapping[str, datetime] = field(default_factory=dict)
    since: Mapping[str, datetime] = field(default_factory=dict)
    steers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exposes: Mapping[Claimed, datetime | None] = field(default_factory=dict)
    status: Mapping[str, Any] | None = None
    """Instead of one that is made of `claimed` and `since`."""
    lets_go: frozenset[str] = frozenset()
    """Names that it does not ask for any more."""

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    def as_contender(self) -> Contender:
        """The object as another one's facts hold it."""
        return Contender(
            key=self.key,
            created=self.created,
            serves=self.serves,
            exposes=frozenset(self.exposes),
            rights=read_rights(self._status()),
            steers=self.steers,
            lets_go=self.lets_go,
        )

    def contend(self, others: Iterable[Claimant], namespaces: Mapping[str, Mapping[str, str]] = NAMESPACES) -> Claims:
        """What the object comes to, judging by itself."""
        facts = facts_of(
            gateway=GatewayFacts(self.key, "u", 1, self.created, None, status=self._status()),
            namespaces=namespaces,
            contenders=tuple(other.as_contender() for other in others if other.key != self.key),
        )
        stakes = Stakes(self.serves, frozenset(self.exposes), self.steers, self.lets_go)
        return resolve_claims(facts, stakes, read_rights(facts.gateway.status))

    def holds(self, others: Iterable[Claimant]) -> set[tuple[str, str]]:
        """(Name, consumer namespace) that are the object's."""
        won = self.contend(others).won
        return {(name, place) for name in self.serves for place in _spelled(won[name])}

    def _status(self) -> Mapping[str, Any]:
        if self.status is not None:
            return self.status
        exposed = {claim: at for claim, at in self.exposes.items() if at is not None}
        claims = [{"host": host, "claimedAt": format_instant(at)} for host, at in self.claimed.items()]
        claims += [
            {"host": claim.host, "gateway": claim.gateway, "claimedAt": format_instant(at)}
            for claim, at in exposed.items()
        ]
        consumers = [{"namespace": name, "since": format_instant(at)} for name, at in self.since.items()]
        return {"claims": claims, "consumers": consumers}


def _spelled(served: frozenset[str]) -> frozenset[str]:
    return frozenset(NAMESPACES) if "*" in served else served
