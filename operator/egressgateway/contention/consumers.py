"""
Which namespaces of clients an object serves, for each destination.

`access` lists them, the class consents (api.md `access.from[]`, `allowedConsumers`). The own namespace needs no
consent; a namespace that the class does not allow is left out and reported, the others are served.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from egressgateway.api.access import AccessEntry
from egressgateway.api.gateway_class import ConsumersFrom, EgressGatewayClassSpec
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import GatewayFacts, Ports
from egressgateway.live.ports import ports_for
from egressgateway.namespaces import EVERY_NAMESPACE, EVERYONE, Namespaces, selected, union, without
from egressgateway.refs import Key


@dataclass(frozen=True, slots=True)
class Consumers:
    """
    Namespaces by destination. `EVERY_NAMESPACE` stands for all, and then it is the only entry.

    `denied` are namespaces that the spec asks for and the class does not allow.
    """

    served: Mapping[str, frozenset[str]] = field(default_factory=dict)
    denied: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def all(self) -> frozenset[str]:
        """Every namespace that some destination serves."""
        return union(self.served.values())

    def less(self, excluded: frozenset[str], namespaces: Namespaces) -> Consumers:
        """The same without some namespaces that cannot be served at all."""
        if not excluded:
            return self
        return replace(self, served={name: without(found, excluded, namespaces) for name, found in self.served.items()})


def consumers_of(
    key: Key, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec, namespaces: Namespaces
) -> Consumers:
    """The namespaces that each destination of `spec` serves, and those that it may not serve."""
    consent = _Consent(key, class_spec, namespaces)
    # Each entry and each set of entries is evaluated once, however many destinations they grant.
    asked = {id(entry): _asked_by(key, entry, namespaces) for entry in all_entries(spec)}
    divided: dict[tuple[int, ...], tuple[frozenset[str], frozenset[str]]] = {}
    served, denied = {}, {}
    for destination in spec.destinations:
        granted_by = tuple(id(entry) for entry in entries_of(spec, destination.name))
        if granted_by not in divided:
            divided[granted_by] = consent.divide(union(asked[entry] for entry in granted_by))
        served[destination.name], denied[destination.name] = divided[granted_by]
    return Consumers(served, denied)


_OWN_NAMESPACE_ONLY: Final = (AccessEntry(),)


def all_entries(spec: EgressGatewaySpec) -> tuple[AccessEntry, ...]:
    """Entries of `access`; without it one that grants the own namespace everything."""
    return spec.access.from_ if spec.access else _OWN_NAMESPACE_ONLY


def entries_of(spec: EgressGatewaySpec, destination: str) -> Iterator[AccessEntry]:
    """Entries of `access` that grant `destination`; without `access` one that grants the own namespace everything."""
    for entry in all_entries(spec):
        if not entry.destinations or destination in entry.destinations:
            yield entry


def asks_nobody(key: Key, spec: EgressGatewaySpec, destination: str, namespaces: Namespaces) -> bool:
    """Whether `access` leaves `destination` without a single namespace, whatever the class allows."""
    return not any(_asked_by(key, entry, namespaces) for entry in entries_of(spec, destination))


def namespaces_of(
    key: Key, entry: AccessEntry, class_spec: EgressGatewayClassSpec, namespaces: Namespaces
) -> frozenset[str]:
    """Namespaces that one entry of `access` grants, as far as the class allows them."""
    return _Consent(key, class_spec, namespaces).divide(_asked_by(key, entry, namespaces))[0]


def allowed_consumers(
    key: Key, class_spec: EgressGatewayClassSpec | None, namespaces: Namespaces, asked: frozenset[str]
) -> frozenset[str]:
    """Those of `asked` that the class allows an object to serve; only the own namespace if the class cannot be read."""
    if class_spec is None:
        return asked & {key.namespace}
    return _Consent(key, class_spec, namespaces).divide(asked)[0]


def reach_of(
    gateway: GatewayFacts,
    class_spec: EgressGatewayClassSpec | None,
    namespaces: Namespaces,
    *,
    served: frozenset[str],
    contended: bool,
) -> Hashable:
    """
    The namespaces that make a difference to an object: equal where none of those changed.

    Args:
        served: namespaces in which it has claimed something, or that its live children are exported to.
        contended: others want some of what it asks for, so that what is left of every namespace may be listed.
    """
    spec = gateway.spec
    if spec is None or class_spec is None:
        return NamespaceTable(namespaces)
    consumers = consumers_of(gateway.key, spec, class_spec, namespaces)
    named = served.union(*(entry.namespaces for entry in all_entries(spec)))
    lists_all = EVERY_NAMESPACE in consumers.all and (contended or class_spec.shared is not None)
    return (
        tuple(consumers.served.items()),
        tuple(consumers.denied.items()),
        frozenset(name for name in named if name in namespaces),
        # What runs and is not allowed any more is withdrawn, whatever the spec asks for by now.
        allowed_consumers(gateway.key, class_spec, namespaces, served),
        NamespaceTable(namespaces) if lists_all else None,
    )


@dataclass(frozen=True, slots=True)
class NamespaceTable:
    """All namespaces with their labels, for objects to which all of them matter."""

    labels: Namespaces

    def __hash__(self) -> int:
        return hash(frozenset(self.labels))


def served_names(
    key: Key, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec, namespaces: Namespaces
) -> dict[str, frozenset[str]]:
    """Consumer namespaces by host and alias."""
    served = consumers_of(key, spec, class_spec, namespaces).served
    return {name: served[destination.name] for destination in spec.destinations for name in destination.claimed}


def served_ports(
    key: Key, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec, namespaces: Namespaces
) -> Ports:
    """Consumer namespaces by port."""
    served = consumers_of(key, spec, class_spec, namespaces).served
    return ports_for(
        (port.port, str(port.protocol), served[destination.name])
        for destination in spec.destinations
        for port in destination.contended_ports
    )


def _asked_by(key: Key, entry: AccessEntry, namespaces: Namespaces) -> frozenset[str]:
    selector = entry.namespace_selector
    if selector is None:
        return frozenset(entry.namespaces or (key.namespace,))
    return selected(selector, namespaces)


@dataclass(frozen=True, slots=True)
class _Consent:
    """Which of the namespaces in the spec the class allows."""

    key: Key
    class_spec: EgressGatewayClassSpec
    namespaces: Namespaces

    def divide(self, asked: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Those that are allowed, and those that are denied."""
        consented = self._consented()
        if EVERY_NAMESPACE in consented:
            return asked, frozenset()
        if EVERY_NAMESPACE in asked:
            return consented, EVERYONE if self.namespaces.keys() - consented else frozenset()
        return asked & consented, asked - consented

    def _consented(self) -> frozenset[str]:
        """Namespaces that objects of the class may serve; the own one needs no consent."""
        allowed, own = self.class_spec.allowed_consumers, frozenset({self.key.namespace})
        if allowed is None:
            return own
        if allowed.from_ is ConsumersFrom.ALL:
            return EVERYONE
        return own if allowed.selector is None else union((own, selected(allowed.selector, self.namespaces)))
