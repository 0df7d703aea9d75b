"""
Destinations that end soon: who relies on one should hear of it before it is gone. Pure.

What happens when it ends is the plan's business.
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
    """Destinations that have ended by tomorrow and not yet, with the moment of their end."""
    for destination in spec.destinations:
        end = destination.expires_at
        if end is not None and end - NOTICE <= now < end:
            yield destination, end


def next_notice(spec: EgressGatewaySpec, now: datetime) -> datetime | None:
    """When the next destination is to be announced; None when no more has an end, or all were."""
    moments = (destination.expires_at - NOTICE for destination in spec.destinations if destination.expires_at)
    return min((moment for moment in moments if moment > now), default=None)


def words(destination: Destination, end: datetime) -> str:
    """What is told."""
    return (
        f"destination {destination.name} expires at {format_instant(end)}: from then on clients do not reach it "
        "through the gateway; set a later expiresAt if it is still needed"
    )
