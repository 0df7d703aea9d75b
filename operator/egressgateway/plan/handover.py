"""
How a name moves from one object to another of the same namespace without a gap.

The object that had the name yields it: the next one may claim it at once, although clients still use the old way. That
way stays until the next object's routes are there and the mesh was told of them. Until then both objects have a route
for the name; Istio follows the older one, and both end at the same host.

Only for names that the author moved: of an object whose spec cannot be judged, or is suspended, nothing is yielded.
What may not be served any more (an expired destination, a consumer that left `access`, what a class forbids) ends at
once, and so does all that the next object does not serve as well. `Facts.handovers` says how long the way stays: the
engine has the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.claims import Claims, own_rights
from egressgateway.facts import Contender, Facts
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, namespaces_of_export, ports_of, section_of
from egressgateway.live.ports import meet_on_a_port, ports_for
from egressgateway.names import is_private
from egressgateway.namespaces import EVERY_NAMESPACE, EVERYONE, export_to, overlap, union
from egressgateway.plan.held import steered_names
from egressgateway.plan.revoked import Revoked
from egressgateway.refs import Manifest, ObjectRef

Places = Mapping[str, frozenset[str]]
"""Consumer namespaces by name."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """
    What clients use until the next object serves them.

    Attributes:
        names: by section of the routes, the names that stay.
        exports: by ref, for routes that go to more namespaces than the next object serves, those that stay.
    """

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exports: Mapping[ObjectRef, tuple[str, ...]] = field(default_factory=dict)

    @property
    def sections(self) -> frozenset[str]:
        return frozenset(self.names)


def unwanted_names(facts: Facts) -> Places:
    """Names that the object steers and does not want any more, and the namespaces of the clients."""
    spec = facts.gateway.spec
    steered = {name: places for name, places in steered_names(facts).items() if not is_private(name)}
    if facts.gateway.deleting:
        return steered
    if spec is None or spec.suspend:
        return {}
    asked = _asked(spec)
    reused = frozenset(_on_ports_of(spec, facts)) if steered.keys() - asked else frozenset()
    return {name: places for name, places in steered.items() if name not in asked | reused}


def yielded_names(facts: Facts) -> frozenset[str]:
    """
    Names that the object has claimed or steers, and does not want any more: others of its namespace may claim them.
    """
    spec = facts.gateway.spec
    had = own_rights(facts).names.keys() | {name for name in steered_names(facts) if not is_private(name)}
    if facts.gateway.deleting:
        return frozenset(had)
    return frozenset() if spec is None or spec.suspend else frozenset(had) - _asked(spec)


def heirs_of(facts: Facts, name: str) -> tuple[Contender, ...]:
    """Objects of the same namespace that want a name and may get it."""
    return tuple(each for each in facts.contenders if name in each.inherits)


def is_taken_over(facts: Facts, name: str, places: frozenset[str]) -> bool:
    """Whether routes of other objects stand wherever one of them wants the name."""
    heirs = heirs_of(facts, name)
    wanted = overlap(places, union(each.inherits[name] for each in heirs))
    routed = union(each.routed.get(name, frozenset()) for each in heirs)
    return bool(wanted) and _covers(routed, wanted)


def routed_by_winners(facts: Facts, claims: Claims) -> frozenset[str]:
    """
    Names that the object steers, and that other objects of its namespace have and steer as well: its author took a name
    back that was being handed over. The winner's way stands, so the loser's is not kept.
    """
    steered = steered_names(facts)
    found = set[str]()
    for name, lost in claims.lost.items():
        winners = frozenset(lost.values())
        routed = union(each.routed.get(name, frozenset()) for each in facts.contenders if each.key in winners)
        if _covers(routed, steered.get(name, frozenset())):
            found.add(name)
    return frozenset(found)


def still_overlapped(facts: Facts) -> frozenset[str]:
    """Sections whose routes stand beside the older ones of an object that yields their names: Istio follows those."""
    names = frozenset(name for each in facts.contenders for name in each.yields & each.routed.keys())
    return frozenset(section_of(route) for route in mesh_routes(facts.live) if hosts_of(route) & names)


def handed_over(facts: Facts, revoked: Revoked, planned: Places = MappingProxyType({})) -> HandedOver:
    """
    What stays for now of the names that the object does not want any more, less what is `revoked`.

    Args:
        planned: by section that goes on without the name, its consumers. One entry registers all of its names, for the
            same namespaces; a name stays only where that gives it to nobody else.
    """
    if revoked.everything:
        return HandedOver()
    own = facts.key.namespace
    staying = {
        name: left
        for name, places in unwanted_names(facts).items()
        if name not in revoked.names and (left := _staying(facts, name, places) - revoked.namespaces)
    }
    names: dict[str, frozenset[str]] = {}
    places: dict[ObjectRef, frozenset[str]] = {}
    for route in mesh_routes(facts.live):
        section, kept = section_of(route), hosts_of(route) & staying.keys()
        left = overlap(namespaces_of_export(route, own), union(staying[name] for name in kept))
        consumers = planned.get(section, left)
        if not left or not consumers or section in revoked.sections or not _covers(left, consumers):
            continue
        names[section] = names.get(section, frozenset()) | kept
        places[_ref_of(route)] = overlap(left, consumers)
    entries = [
        entry
        for entry in live_clients(facts.live, "ServiceEntry")
        if section_of(entry) in names and section_of(entry) not in planned
    ]
    for entry in entries:
        places[_ref_of(entry)] = union(staying[name] for name in hosts_of(entry) & names[section_of(entry)])
    exported = {ref: namespaces_of_export(facts.live[ref], own) for ref in places}
    narrower = {ref: overlap(exported[ref], places[ref]) for ref in places}
    return HandedOver(
        names, {ref: tuple(export_to(left, own)) for ref, left in narrower.items() if left != exported[ref]}
    )


def _staying(facts: Facts, name: str, places: frozenset[str]) -> frozenset[str]:
    until = facts.handovers.get(name)
    if until is None or until <= facts.now:
        return frozenset()
    heirs = heirs_of(facts, name)
    # Without one, another object's edit may be on its way: both are often applied together.
    return overlap(places, union(each.inherits[name] for each in heirs)) if heirs else places


def _covers(places: frozenset[str], others: frozenset[str]) -> bool:
    return EVERY_NAMESPACE in places or others <= places


def _ref_of(found: Manifest) -> ObjectRef:
    return ObjectRef(found["kind"], found["metadata"]["namespace"], found["metadata"]["name"])


def _on_ports_of(spec: EgressGatewaySpec, facts: Facts) -> Iterator[str]:
    """
    Names on a TCP port that the spec asks for now for another host: TCP carries no name, so their clients would reach
    that one.
    """
    if facts.mesh_config.dns_capture:
        return
    wanted = ports_for(
        (port.port, str(port.protocol), EVERYONE)
        for destination in spec.destinations
        for port in destination.contended_ports
    )
    for entry in live_clients(facts.live, "ServiceEntry"):
        if meet_on_a_port(ports_of([entry]), wanted):
            yield from hosts_of(entry)


def _asked(spec: EgressGatewaySpec) -> frozenset[str]:
    return frozenset(name for destination in spec.destinations for name in destination.claimed)
