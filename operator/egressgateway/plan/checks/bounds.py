"""
Bounds on the products of what a spec lists, checked before anything expensive is computed.

The schema bounds each list, and some products of lists of one object: hops (names times ports) and requirements of
selectors. How many namespaces a selector matches depends on the cluster; that is bounded here, always with the number
found and the number allowed. No gateway needs more; one object that asked for more would keep the operator busy, and
out of memory, for all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from egressgateway.api.access import MAX_CONSUMER_NAMESPACES
from egressgateway.api.destination import Destination
from egressgateway.api.gateway_class import EgressGatewayClassSpec, MtlsMode
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import Consumers, all_entries, consumers_of, namespaces_of
from egressgateway.namespaces import EVERY_NAMESPACE, Namespaces
from egressgateway.refs import Key

MAX_EXPORTS: Final = 16_384
"""Most pairs of a hop and a namespace that it is exported to: each pair is in three objects."""

MAX_IDENTITIES: Final = 8_192
"""
Most entries of the gateway's AuthorizationPolicy, about a hundred bytes each: the policy has to stay below `MAX_BYTES`.
"""

MAX_REFERENCES: Final = 256
"""Most objects (Secrets, Services, Gateways, sets of pods) that are watched for one namespace's EgressGateways."""

MAX_BYTES: Final = 1 << 20
"""
Size of one object as JSON. etcd refuses requests above 1.5 MiB (`--max-request-bytes`), and the API server adds
defaults, status and managed fields to an object.
"""


def over_bounds(
    key: Key, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec, namespaces: Namespaces
) -> Iterator[str]:
    """Which bounds the object exceeds, as text."""
    consumers = consumers_of(key, spec, class_spec, namespaces)
    if message := too_many_consumers(len(consumers.all)):
        yield message
        return
    if message := too_many_rules(consumers, namespaces, class_spec):
        yield message
        return
    exports = _exports(spec, consumers)
    if exports > MAX_EXPORTS:
        yield (
            f"spec.access.from: {exports} pairs of a hop (name and port) and a consumer namespace, more than the limit "
            f"of {MAX_EXPORTS}; grant destinations to fewer namespaces, to all of them with namespaceSelector: {{}}, "
            "or make several objects"
        )
    if class_spec.mtls is MtlsMode.DISABLED:
        return
    identities = _identities(key, spec, class_spec, namespaces)
    if identities > MAX_IDENTITIES:
        yield (
            f"spec.access.from: the gateway's AuthorizationPolicy would list {identities} identities and server names, "
            f"more than the limit of {MAX_IDENTITIES}; list fewer namespaces or serviceAccounts, or make several "
            "objects"
        )


def too_many_consumers(count: int) -> str:
    """The message about too many consumer namespaces; empty when there are few enough."""
    if count <= MAX_CONSUMER_NAMESPACES:
        return ""
    return (
        f"spec.access.from: {count} namespaces are selected, more than the limit of {MAX_CONSUMER_NAMESPACES}; select "
        "fewer, or all of them with namespaceSelector: {}"
    )


def too_many_rules(consumers: Consumers, namespaces: Namespaces, class_spec: EgressGatewayClassSpec) -> str:
    """
    The message about a shared gateway for every namespace in a cluster with very many; empty when there are few enough.

    Each namespace gets a DestinationRule of its own: the gateway's namespace belongs to others, and a rule that is
    exported from there would also hold for clients that do not use a hop of this object.
    """
    if class_spec.shared is None or EVERY_NAMESPACE not in consumers.all or len(namespaces) <= MAX_CONSUMER_NAMESPACES:
        return ""
    return (
        f"spec.access.from: every namespace is selected, and the cluster has {len(namespaces)}; a shared gateway needs "
        f"a DestinationRule for each of them, and the limit is {MAX_CONSUMER_NAMESPACES}; select fewer, or use a class "
        "with a dedicated gateway"
    )


def too_large(what: object, size: int) -> str:
    """The message about an object of `size` bytes that is too large to be sent; empty when it is small enough."""
    if size <= MAX_BYTES:
        return ""
    return (
        f"{what} would have {size} bytes, more than the limit of {MAX_BYTES}; list less in spec.access.from or in "
        "spec.destinations, or make several objects"
    )


def ways_of(destination: Destination) -> int:
    """How many hops a destination has: pairs of a name and a port."""
    return len(destination.names) * len(destination.ports)


def _exports(spec: EgressGatewaySpec, consumers: Consumers) -> int:
    return sum(ways_of(destination) * len(consumers.served[destination.name]) for destination in spec.destinations)


def _identities(key: Key, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec, namespaces: Namespaces) -> int:
    """
    Entries of the policy: with a gateway of the object's own each grant lists identities and the names they may use; on
    a shared gateway each hop lists the identities that are not denied, and again for each condition.
    """
    found = 0
    for entry in all_entries(spec):
        served = namespaces_of(key, entry, class_spec, namespaces)
        listed = EVERY_NAMESPACE in served and entry.service_accounts and class_spec.shared is not None
        places = len(namespaces) if listed else len(served)
        identities = places * max(1, len(entry.service_accounts))
        ways = sum(
            ways_of(each) for each in spec.destinations if not entry.destinations or each.name in entry.destinations
        )
        if class_spec.shared is None:
            found += identities + (ways if entry.destinations else 0)
        else:
            found += identities * ways * (1 + bool(entry.methods) + bool(entry.paths))
    return found
