"""
What of an object ends by itself, and when it is announced: certificates in its Secrets, and destinations with an end.

Announced 30, 7 and 1 days before. The status remembers which notice was given, so that neither a restart nor another
leader repeats it. Pure; the plan decides what happens at the end itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from egressgateway.api.conditions import Reason
from egressgateway.api.scalars import format_instant, parse_instant
from egressgateway.api.status import MOST_EXPIRATIONS
from egressgateway.facts import Facts
from egressgateway.plan.checks.references import certificate_ends

NOTICES: Final = (30, 7, 1)
"""Days before an end at which it is announced."""

_LAST: Final = NOTICES[-1]
_SHORT: Final = 3
"""
A certificate is not announced so early that more than a third of its life is left: then a machine renews it, as
cert-manager does by default, and a warning before each renewal teaches people to ignore it.
"""


@dataclass(frozen=True, slots=True)
class Expiration:
    """
    One end. `subject` identifies it: `secret` and `key`, or `destination`; `notices`: the days before it that count.
    """

    at: datetime
    subject: tuple[tuple[str, str], ...]
    notices: tuple[int, ...] = NOTICES

    def notice(self, now: datetime) -> int | None:
        """The last notice that is due; None before the first one, and once it has ended: then a condition says it."""
        if self.at <= now:
            return None
        return min((days for days in self.notices if self.at - timedelta(days=days) <= now), default=None)

    def next_notice(self, now: datetime) -> datetime | None:
        """When the next one is due."""
        moments = (self.at - timedelta(days=days) for days in self.notices)
        return min((moment for moment in moments if moment > now), default=None)


class Notice(NamedTuple):
    """An announcement, to be made once."""

    reason: Reason
    message: str


def expirations_of(facts: Facts) -> tuple[Expiration, ...]:
    """What ends, the earliest first. A certificate stays listed once it has ended; a destination has what it wants."""
    return tuple(sorted((*_certificates(facts), *_destinations(facts)), key=lambda each: (each.at, each.subject)))


def next_notice(facts: Facts) -> datetime | None:
    """When the next announcement is due."""
    moments = (each.next_notice(facts.now) for each in expirations_of(facts))
    return min((moment for moment in moments if moment is not None), default=None)


def expirations_field(facts: Facts) -> list[dict[str, Any]]:
    """The field of the status."""
    found: list[dict[str, Any]] = []
    for each in expirations_of(facts)[:MOST_EXPIRATIONS]:
        notice = each.notice(facts.now)
        given = {} if notice is None else {"notice": notice}
        found.append({"at": format_instant(each.at), **dict(each.subject), **given})
    return found


def notices_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Notice]:
    """
    Announcements for the step from one status to the next.

    An end that was not known before is announced at once where it is a certificate's: nobody may know of it. Of a
    destination its author has just written it, so only the last day counts.
    """
    before = {_identity(each): each for each in old.get("expirations") or ()}
    for each in new.get("expirations") or ():
        notice, known = each.get("notice"), before.get(_identity(each))
        if notice is None:
            continue
        if known is None:
            is_news = "secret" in each or notice == _LAST
        else:
            is_news = known.get("notice") is None or known["notice"] > notice
        if is_news:
            yield _announcement(each)


def first_ends(status: Mapping[str, Any]) -> dict[str, float]:
    """By kind (`certificate`, `destination`) the first end, in seconds since 1970."""
    ends: dict[str, float] = {}
    for each in status.get("expirations") or ():
        kind = "certificate" if "secret" in each else "destination"
        end = parse_instant(each["at"]).timestamp()
        ends[kind] = min(end, ends.get(kind, end))
    return ends


def _certificates(facts: Facts) -> Iterator[Expiration]:
    for ref, found in sorted(facts.references.objects.items()):
        if ref.kind != "Secret" or found is None:
            continue
        for key, (begin, end) in certificate_ends(found).items():
            notices = tuple(days for days in NOTICES if timedelta(days=days) * _SHORT < end - begin)
            yield Expiration(end, (("secret", ref.name), ("key", key)), notices)


def _destinations(facts: Facts) -> Iterator[Expiration]:
    for destination in facts.gateway.spec.destinations if facts.gateway.spec else ():
        end = destination.expires_at
        if end is not None and end > facts.now:
            yield Expiration(end, (("destination", destination.name),))


def _identity(entry: Mapping[str, Any]) -> Sequence[Any]:
    return tuple(entry.get(field) for field in ("at", "secret", "key", "destination"))


def _announcement(entry: Mapping[str, Any]) -> Notice:
    if "secret" in entry:
        return Notice(
            Reason.CERTIFICATE_EXPIRES_SOON,
            f"{entry['key']} of Secret {entry['secret']} ends at {entry['at']}: from then on connections that need it "
            "fail; renew it",
        )
    return Notice(
        Reason.EXPIRES_SOON,
        f"destination {entry['destination']} expires at {entry['at']}: from then on clients do not reach it "
        "through the gateway; set a later expiresAt if it is still needed",
    )
