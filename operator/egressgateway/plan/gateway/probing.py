"""What can be read of an object's probes, for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from egressgateway.facts import PodSelection


@dataclass(frozen=True, slots=True)
class ProbedWay:
    """One (host, port) that is probed, with the name of the gateway's Envoy cluster for it."""

    cluster: str
    host: str
    port: int
    asks: bool
    """The probe is a request, so it can fail by a wrong status code."""


@dataclass(frozen=True, slots=True)
class Probing:
    """What can be read of an object's probes: the pods to ask, and by destination the hops."""

    pods: PodSelection
    ways: Mapping[str, tuple[ProbedWay, ...]]
    period_seconds: int
