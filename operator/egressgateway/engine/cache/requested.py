"""
What an EgressGateway wants that others may want, too: names, names on shared gateways, TCP ports.

Read from raw objects without judging them, because it files every object of the cluster: a broken one gets its place
like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.contention.claims import contended_names, entries_of, mappings_in, texts_of
from egressgateway.contention.rights import read_rights
from egressgateway.facts import Claimed, ClaimedPort, Rights
from egressgateway.names import FINALIZER
from egressgateway.plan.gateway.references import apisix_gateway
from egressgateway.refs import Key, Manifest

_TCP: Final = "TCP"
_IN_LINE: Final = frozenset({Reason.HOST_CONFLICT, Reason.PORT_CONFLICT, Reason.CONSUMER_NOT_ALLOWED})
"""Refusals that end when somebody else lets go, or that leave other consumers served: no reason to be left out."""


BY_CLASS: Final = "by class"
"""Stands for the gateway of a host that names none: the own one or the class's APISIX, which the spec does not say."""


@dataclass(frozen=True, slots=True)
class Requested:
    """
    What two objects can have in common.

    Attributes:
        names: hosts and aliases of destinations.
        exposed: hosts exposed on a gateway that others may use as well, or `BY_CLASS`.
        tcp_ports: numbers of ports on which clients speak TCP, which names no host; `named_ports` those of the others.
    """

    names: frozenset[str] = frozenset()
    exposed: frozenset[Claimed] = frozenset()
    tcp_ports: frozenset[int] = frozenset()
    named_ports: frozenset[int] = frozenset()

    def __or__(self, other: Requested) -> Requested:
        return Requested(
            self.names | other.names,
            self.exposed | other.exposed,
            self.tcp_ports | other.tcp_ports,
            self.named_ports | other.named_ports,
        )


NOTHING: Final = Requested()
_NO_RIGHTS: Final = Rights()


def requested_of(gateway: Manifest) -> Requested:
    """Everything that the spec asks for."""
    destinations = entries_of(gateway, "destinations")
    return Requested(
        frozenset(name for each in destinations for name in (*texts_of(each, "hosts"), *texts_of(each, "aliases"))),
        _exposed(gateway, entries_of(gateway, "expose")),
        _ports(destinations, tcp=True),
        _ports(destinations, tcp=False),
    )


def unrejected(gateway: Manifest) -> Requested:
    """
    What the spec asks for and may still get.

    Who was refused something, for this very spec, is in nobody's way; who is suspended takes nothing new.
    """
    spec = gateway.get("spec") or {}
    if spec.get("suspend"):
        return NOTHING
    destinations = list(_not_refused(gateway, "destinations"))
    return Requested(
        contended_names(gateway),
        _exposed(gateway, _not_refused(gateway, "expose")),
        _ports(destinations, tcp=True),
        _ports(destinations, tcp=False),
    )


def claimed_by(rights: Rights) -> Requested:
    """Claims as what others may want, too."""
    return Requested(
        frozenset(rights.names),
        frozenset(rights.exposed),
        frozenset(port.number for port in rights.ports if port.tcp),
        frozenset(port.number for port in rights.ports if not port.tcp),
    )


def rights_in(gateway: Manifest) -> Rights:
    """The claims that the status of an EgressGateway records."""
    wanted = (
        (
            [*texts_of(each, "hosts"), *texts_of(each, "aliases")],
            [ClaimedPort(number, tcp) for tcp in (True, False) for number in _ports([each], tcp=tcp)],
        )
        for each in entries_of(gateway, "destinations")
    )
    return read_rights(gateway.get("status") or {}, wanted)


@dataclass(frozen=True, slots=True)
class ContentionKey:
    """What makes a difference to others: when it changes, they are looked at again."""

    uid: str = ""
    unrejected: Requested = NOTHING
    claimed: Rights = _NO_RIGHTS
    access: Any = None
    class_name: str | None = None
    let_go: bool = False


def contention_key_of(gateway: Manifest | None) -> ContentionKey:
    """The stakes of an object, or of none."""
    if gateway is None:
        return ContentionKey()
    spec = gateway.get("spec") or {}
    return ContentionKey(
        uid=gateway["metadata"]["uid"],
        unrejected=unrejected(gateway),
        claimed=rights_in(gateway),
        access=spec.get("access"),
        class_name=spec.get("className"),
        let_go=has_let_go(gateway),
    )


def has_let_go(gateway: Manifest) -> bool:
    """
    Whether it is being deleted, and our finalizer does not keep it any more.

    That is no word that its clients are withdrawn: its author may have taken the finalizer off. Their objects say so.
    """
    metadata = gateway["metadata"]
    return "deletionTimestamp" in metadata and FINALIZER not in (metadata.get("finalizers") or ())


def key_of(gateway: Manifest) -> Key:
    """Key of an EgressGateway."""
    return Key(gateway["metadata"]["namespace"], gateway["metadata"]["name"])


def on_gateway_of(class_spec: EgressGatewayClassSpec | None, claimed: Claimed) -> Claimed | None:
    """What is exposed `BY_CLASS`, once the class is known; None on an own gateway, which nobody else uses."""
    if claimed.gateway != BY_CLASS:
        return claimed
    gateway = apisix_gateway(class_spec)
    return Claimed(claimed.host, gateway) if gateway else None


def _exposed(gateway: Manifest, entries: Iterable[Mapping[str, Any]]) -> frozenset[Claimed]:
    own = gateway["metadata"]["namespace"]
    return frozenset(Claimed(host, _gateway_of(entry, own)) for entry in entries for host in texts_of(entry, "hosts"))


def _gateway_of(entry: Mapping[str, Any], own: str) -> str:
    ref = entry.get("gatewayRef")
    return f"{ref.get('namespace') or own}/{ref['name']}" if isinstance(ref, dict) and ref.get("name") else BY_CLASS


def _ports(destinations: Iterable[Mapping[str, Any]], *, tcp: bool) -> frozenset[int]:
    return frozenset(
        port["port"]
        for each in destinations
        for port in mappings_in(each, "ports")
        if (port.get("protocol") == _TCP) == tcp and isinstance(port.get("port"), int)
    )


def _not_refused(gateway: Manifest, list_name: str) -> Iterator[Mapping[str, Any]]:
    """Entries of a list in the spec that the status does not refuse for this very generation."""
    status = gateway.get("status") or {}
    judged = status.get("observedGeneration") == gateway["metadata"].get("generation")
    if judged and not (status.get("destinations") or status.get("expose")) and _is_refused(status):
        # The object as a whole is refused; it has no parts that say so.
        return
    refused = {part.get("name") for part in status.get(list_name) or () if judged and _is_refused(part)}
    for entry in entries_of(gateway, list_name):
        if entry.get("name") not in refused:
            yield entry


def _is_refused(part: Mapping[str, Any]) -> bool:
    return any(
        condition.get("type") == ConditionType.ACCEPTED
        and condition.get("status") == "False"
        and condition.get("reason") not in _IN_LINE
        for condition in part.get("conditions") or ()
    )
