"""What there is to be read of an object's probes, whoever makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from egressgateway.facts import PodSelection


@dataclass(frozen=True, slots=True)
class ProbedWay:
    """One (host, port) that is probed, by the name of the gateway's Envoy cluster for it."""

    cluster: str
    host: str
    port: int
    asks: bool
    """A request is made, so that there is a status to be wrong."""


@dataclass(frozen=True, slots=True)
class Probing:
    """What there is to be read of an object's probes: from which pods, by destination the ways."""

    pods: PodSelection
    ways: Mapping[str, tuple[ProbedWay, ...]]
    period_seconds: int
