"""
Names that move from one EgressGateway to another of the same namespace: which of them one object lets go, and which of
them another one may take over at once.

Only names: TCP carries none, and so what clients reach by a port or an address has one way at a time. All of this is
read from the stored objects, so that each of the two comes to the same answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from egressgateway.api.destination import Protocol
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import GatewayFacts

Places = Mapping[str, frozenset[str]]
"""Consumer namespaces by name."""


def let_go(gateway: GatewayFacts, claimed: Collection[str]) -> frozenset[str]:
    """
    Those of the names that an object has `claimed` which its spec does not ask for any more: all, if it is deleted.

    A destination that is rejected, or has expired, is asked for all the same. Nothing is let go while the object is
    suspended, or its spec cannot be read.
    """
    if gateway.deleting:
        return frozenset(claimed)
    if gateway.spec is None or gateway.spec.suspend:
        return frozenset()
    return frozenset(claimed).difference(*(destination.claimed for destination in gateway.spec.destinations))


def movable_names(spec: EgressGatewaySpec | None) -> frozenset[str]:
    """Names that a spec asks for, in destinations that clients reach by name alone."""
    names, fixed = set[str](), set[str]()
    for destination in spec.destinations if spec is not None else ():
        (fixed if destination.has_tcp or destination.addresses else names).update(destination.names)
    return frozenset(names - fixed)


def speaks_alike(spec: EgressGatewaySpec | None, name: str, spoken: Mapping[int, str]) -> bool:
    """
    Whether two ways for a name can stand beside each other: a port has one protocol for all of a sidecar's clients.

    Args:
        spec: of the object that takes the name over.
        spoken: by port, what clients of the other object speak there.
    """
    destinations = spec.destinations if spec is not None else ()
    wanted = {port.port: str(port.protocol) for each in destinations if name in each.names for port in each.ports}
    return all(
        protocol != Protocol.TCP and wanted.get(number, protocol) == protocol for number, protocol in spoken.items()
    )
