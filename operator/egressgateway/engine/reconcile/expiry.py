"""
Announces destinations that expire soon, so that their users know before they stop. Pure.

The plan decides what happens when a destination expires.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from egressgateway.api.destination import Destination
from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec

NOTICE: Final = timedelta(days=1)
"""How long before the end it is announced (api.md `expiresAt`)."""


def expiring(spec: EgressGatewaySpec, now: datetime) -> Iterator[tuple[Destination, datetime]]:
    """Destinations that expire by tomorrow and have not expired yet, each with the moment of its expiry."""
    for destination in spec.destinations:
        end = destination.expires_at
        if end is not None and end - NOTICE <= now < end:
            yield destination, end


def next_notice(spec: EgressGatewaySpec, now: datetime) -> datetime | None:
    """When the next destination is to be announced; None when none has an end, or all were announced."""
    moments = (destination.expires_at - NOTICE for destination in spec.destinations if destination.expires_at)
    return min((moment for moment in moments if moment > now), default=None)


def words(destination: Destination, end: datetime) -> str:
    """The text of the announcement."""
    return (
        f"destination {destination.name} expires at {format_instant(end)}: from then on clients do not reach it "
        "through the gateway; set a later expiresAt if it is still needed"
    )
