"""The gateway's ways out: each hop with what its destination says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from egressgateway.api.destination import Destination, DestinationPort
from egressgateway.plan.gateway.hops import Hop


@dataclass(frozen=True, slots=True)
class Upstream:
    """One hop with what its destination says of it."""

    hop: Hop
    destination: Destination
    port: DestinationPort


def upstreams_of(hops: Sequence[Hop], destinations: Sequence[Destination]) -> tuple[Upstream, ...]:
    by_name = {destination.name: destination for destination in destinations}
    return tuple(
        Upstream(hop, by_name[hop.destination], port)
        for hop in hops
        for port in by_name[hop.destination].ports
        if port.port == hop.port
    )
