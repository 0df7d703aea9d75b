"""The gateway's upstreams: each hop with the settings of its destination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from egressgateway.api.destination import Destination, DestinationPort
from egressgateway.plan.gateway.hops import Hop


@dataclass(frozen=True, slots=True)
class Upstream:
    """One hop with the settings of its destination."""

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
