"""
What an EgressGateway asks for that others may ask for, too: names, names on shared gateways, ports, and the consumers.

Read from raw objects without judging them, because every object of the cluster is indexed by it. The namespaces are the
upper bound of what an object can serve (`asks`): two objects without a common namespace do not contend.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.reserved import parsed_address
from egressgateway.contention.asks import Ask, asks_of, places_for
from egressgateway.contention.raw import entries_of, mappings_in, texts_of
from egressgateway.contention.rights import read_rights
from egressgateway.facts import Claimed, ClaimedPort, Rights, Since, places_of
from egressgateway.names import FINALIZER
from egressgateway.namespaces import EVERY_NAMESPACE, Namespaces, union
from egressgateway.refs import Manifest

_TCP: Final = "TCP"

BY_CLASS: Final = "by class"
"""Stands for the gateway of a host that names none: the own one or the class's APISIX, which the spec does not say."""

INGRESS_CLASS: Final = "IngressClass/"
"""How the gateway's name begins, in claims, where hosts are exposed on APISIX."""

_QUEUES_FOR_NAMES: Final = frozenset({Reason.HOST_CONFLICT, Reason.CONSUMER_NOT_ALLOWED})
"""Rejections that end when another object releases a name, or that leave other consumers served."""

_QUEUES_FOR_PORTS: Final = _QUEUES_FOR_NAMES | {Reason.PORT_CONFLICT}
"""The same for ports."""

Places = frozenset[str]
"""Consumer namespaces, `EVERY_NAMESPACE` alone for all of them."""


@dataclass(frozen=True, slots=True)
class Requested:
    """
    What two objects can both ask for.

    Attributes:
        names: hosts and aliases of destinations, and for which consumer namespaces.
        exposed: hosts exposed on a gateway that others may use as well, or `BY_CLASS`.
        tcp_ports: numbers of ports on which clients speak TCP, which carries no host name, and for which namespaces;
            `named_ports` those of other protocols.
    """

    names: Mapping[str, Places] = field(default_factory=dict)
    exposed: frozenset[Claimed] = frozenset()
    tcp_ports: Mapping[int, Places] = field(default_factory=dict)
    named_ports: Mapping[int, Places] = field(default_factory=dict)

    def __or__(self, other: Requested) -> Requested:
        return Requested(
            _joined(self.names, other.names),
            self.exposed | other.exposed,
            _joined(self.tcp_ports, other.tcp_ports),
            _joined(self.named_ports, other.named_ports),
        )


NOTHING: Final = Requested()
_NO_RIGHTS: Final = Rights()


def requested_of(gateway: Manifest, namespaces: Namespaces) -> Requested:
    """Everything that the spec asks for."""
    destinations, asks = entries_of(gateway, "destinations"), asks_of(gateway)
    return Requested(
        _names(destinations, asks, namespaces),
        _exposed(gateway, entries_of(gateway, "expose")),
        _ports(destinations, asks, namespaces, tcp=True),
        _ports(destinations, asks, namespaces, tcp=False),
    )


def names_of(gateway: Manifest) -> frozenset[str]:
    """Every host and alias in the spec."""
    return frozenset(name for each in entries_of(gateway, "destinations") for name in _names_in(each))


def tcp_ports_of(gateway: Manifest) -> frozenset[int]:
    """Ports on which the spec asks for TCP to every address."""
    ports = (port for each in entries_of(gateway, "destinations") for port in _ports_in(each))
    return frozenset(number for number, tcp in ports if tcp)


def unrejected(gateway: Manifest, namespaces: Namespaces) -> Requested:
    """
    What the spec asks for and may still get.

    A section that its status rejects for this generation does not block others: an object that waited for it would wait
    for ever. A suspended object claims nothing new.
    """
    if (gateway.get("spec") or {}).get("suspend"):
        return NOTHING
    asks = asks_of(gateway)
    by_port = list(_unrejected_sections(gateway, "destinations", _QUEUES_FOR_PORTS))
    return Requested(
        _names(_unrejected_sections(gateway, "destinations", _QUEUES_FOR_NAMES), asks, namespaces),
        _exposed(gateway, _unrejected_sections(gateway, "expose", _QUEUES_FOR_PORTS)),
        _ports(by_port, asks, namespaces, tcp=True),
        _ports(by_port, asks, namespaces, tcp=False),
    )


def claimed_by(rights: Rights) -> Requested:
    """Claims, in the form of what others may ask for."""
    return Requested(
        {name: _held_in(since) for name, since in rights.names.items()},
        frozenset(rights.exposed),
        {port.number: _held_in(since) for port, since in rights.ports.items() if port.tcp},
        {port.number: _held_in(since) for port, since in rights.ports.items() if not port.tcp},
    )


def rights_in(gateway: Manifest) -> Rights:
    """The claims that the status of an EgressGateway records."""
    wanted = (
        (_names_in(each), [ClaimedPort(number, tcp) for number, tcp in _ports_in(each)])
        for each in entries_of(gateway, "destinations")
    )
    return read_rights(gateway.get("status") or {}, wanted)


@dataclass(frozen=True, slots=True)
class ContentionKey:
    """What of an EgressGateway makes a difference to others: when it changes, they are enqueued."""

    uid: str = ""
    unrejected: Requested = NOTHING
    claimed: Rights = _NO_RIGHTS
    class_name: str | None = None
    leaving: bool = False
    released: bool = False


def contention_key_of(gateway: Manifest | None, namespaces: Namespaces) -> ContentionKey:
    """The contention key of an object, or of none."""
    if gateway is None:
        return ContentionKey()
    return ContentionKey(
        uid=gateway["metadata"]["uid"],
        unrejected=unrejected(gateway, namespaces),
        claimed=rights_in(gateway),
        class_name=(gateway.get("spec") or {}).get("className"),
        leaving="deletionTimestamp" in gateway["metadata"],
        released=is_released(gateway),
    )


def is_released(gateway: Manifest) -> bool:
    """
    Whether it is being deleted and no longer has our finalizer.

    That does not mean that its clients are withdrawn: its author may have removed the finalizer. Its children show
    that.
    """
    metadata = gateway["metadata"]
    return "deletionTimestamp" in metadata and FINALIZER not in (metadata.get("finalizers") or ())


def on_gateway_of(gateway: str, claimed: Claimed) -> Claimed | None:
    """What is exposed `BY_CLASS`, on the gateway of the class; None for an own gateway, which no other object uses."""
    if claimed.gateway != BY_CLASS:
        return claimed
    return Claimed(claimed.host, gateway) if gateway else None


T = TypeVar("T", bound=Hashable)


def _joined(one: Mapping[T, Places], other: Mapping[T, Places]) -> Mapping[T, Places]:
    if not one or not other:
        return one or other
    none = frozenset[str]()
    return {item: union((one.get(item, none), other.get(item, none))) for item in one.keys() | other.keys()}


def _held_in(since: Since) -> Places:
    places = places_of(since)
    return frozenset({EVERY_NAMESPACE}) if EVERY_NAMESPACE in places else places


def _names(
    destinations: Iterable[Mapping[str, Any]], asks: tuple[Ask, ...], namespaces: Namespaces
) -> dict[str, Places]:
    found: dict[str, Places] = {}
    for each in destinations:
        places = places_for(each.get("name"), asks, namespaces)
        for name in _names_in(each):
            found[name] = union((found[name], places)) if name in found else places
    return found


def _names_in(destination: Mapping[str, Any]) -> list[str]:
    addresses = filter(None, map(parsed_address, texts_of(destination, "addresses")))
    return [*texts_of(destination, "hosts"), *texts_of(destination, "aliases"), *map(str, addresses)]


def _ports(
    destinations: Iterable[Mapping[str, Any]], asks: tuple[Ask, ...], namespaces: Namespaces, *, tcp: bool
) -> dict[int, Places]:
    found: dict[int, Places] = {}
    for each in destinations:
        numbers = [number for number, is_tcp in _ports_in(each) if is_tcp == tcp]
        places = places_for(each.get("name"), asks, namespaces) if numbers else frozenset[str]()
        for number in numbers:
            found[number] = union((found[number], places)) if number in found else places
    return found


def _ports_in(destination: Mapping[str, Any]) -> Iterator[tuple[int, bool]]:
    """Numbers of ports, and whether clients speak TCP there; TCP ports of addresses are nobody else's concern."""
    addressed = bool(texts_of(destination, "addresses"))
    for port in mappings_in(destination, "ports"):
        if isinstance(port.get("port"), int) and not (addressed and port.get("protocol") == _TCP):
            yield port["port"], port.get("protocol") == _TCP


def _exposed(gateway: Manifest, entries: Iterable[Mapping[str, Any]]) -> frozenset[Claimed]:
    own = gateway["metadata"]["namespace"]
    return frozenset(Claimed(host, _gateway_of(entry, own)) for entry in entries for host in texts_of(entry, "hosts"))


def _gateway_of(entry: Mapping[str, Any], own: str) -> str:
    ref = entry.get("gatewayRef")
    return f"{ref.get('namespace') or own}/{ref['name']}" if isinstance(ref, dict) and ref.get("name") else BY_CLASS


def _unrejected_sections(gateway: Manifest, list_name: str, queues: frozenset[Reason]) -> Iterator[Mapping[str, Any]]:
    """
    Sections of a list in the spec that the status does not reject for this generation.

    Args:
        queues: reasons that let a section wait for its turn, rather than reject it.
    """
    status = gateway.get("status") or {}
    judged = status.get("observedGeneration") == gateway["metadata"].get("generation")
    if judged and not (status.get("destinations") or status.get("expose")) and _is_rejected(status, queues):
        # The object is rejected as a whole; it has no sections that say so.
        return
    rejected = {
        section.get("name") for section in status.get(list_name) or () if judged and _is_rejected(section, queues)
    }
    for entry in entries_of(gateway, list_name):
        if entry.get("name") not in rejected:
            yield entry


def _is_rejected(section: Mapping[str, Any], queues: frozenset[Reason]) -> bool:
    return any(
        condition.get("type") == ConditionType.ACCEPTED
        and condition.get("status") == "False"
        and condition.get("reason") not in queues
        for condition in section.get("conditions") or ()
    )
