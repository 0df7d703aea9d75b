"""
What clients of an object go on to use of names that it lets go, or has lost, until another one of its namespace serves
them.

A route stays only if all of its names move to one object, which asks for them for all of its clients; it stays for a
limited time (`Facts.handovers`: the engine has the clock). Everything else ends at once: what the class forbids, what
clients reach by TCP or by an address, and what nobody asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

from egressgateway.api.destination import Destination, Protocol
from egressgateway.contention.claims import own_rights
from egressgateway.facts import NEVER, Facts, Handover, Rights, since_in
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, namespaces_of_export, section_of
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.revoked import Revoked
from egressgateway.plan.succession import wanted_names
from egressgateway.refs import Manifest, ref_of

Names = Mapping[str, frozenset[str]]
"""Names by the section whose children steer them."""

_STAYS = frozenset({Handover.LINGERS, Handover.WAITS})


def names_handed_over(facts: Facts, revoked: Revoked, planned: Mapping[str, frozenset[str]]) -> Names:
    """
    Names that stay for now, by section.

    Args:
        revoked: what the class does not allow of all that runs.
        planned: consumers of the destinations that are served.
    """
    if revoked.everything or not facts.handovers:
        return {}
    before = own_rights(facts)
    destinations = {each.name: each for each in (facts.gateway.spec.destinations if facts.gateway.spec else ())}
    staying: dict[str, frozenset[str]] = {}
    for route in mesh_routes(facts.live):
        section, names = section_of(route), hosts_of(route)
        stays = (
            names <= facts.handovers.keys()
            and _is_allowed(route, revoked)
            and _is_claimed(facts, route, before)
            and _is_waited_for(facts, route)
            and _is_reached_by_name(facts, section)
            and (section not in planned or _fits(facts, route, destinations[section], planned[section]))
        )
        if stays:
            staying[section] = staying.get(section, frozenset()) | names
    return staying


def _is_allowed(route: Manifest, revoked: Revoked) -> bool:
    ref = ref_of(route)
    return section_of(route) not in revoked.sections and ref not in revoked.refs and ref not in revoked.exports


def _is_claimed(facts: Facts, route: Manifest, before: Rights) -> bool:
    """Whether the claims of the object cover a route: no other namespace's object may get its names meanwhile."""
    places = namespaces_of_export(route, facts.key.namespace)
    return all(since_in(before.names.get(name, {}), place) != NEVER for name in hosts_of(route) for place in places)


def _is_waited_for(facts: Facts, route: Manifest) -> bool:
    """Whether the next object is there and needs time; or an edit may be on its way, for which no deletion waits."""
    names, places = hosts_of(route), namespaces_of_export(route, facts.key.namespace)
    stages = {facts.handovers.get(name) for name in names}
    if any(names <= each.takes_over.keys() and _cover(each.takes_over, names, places) for each in facts.contenders):
        return stages <= _STAYS
    asked = names & wanted_names(facts)
    return stages == {Handover.LINGERS} and not asked and not facts.gateway.deleting


def _cover(wanted: Names, names: frozenset[str], places: frozenset[str]) -> bool:
    return all(EVERY_NAMESPACE in wanted[name] or places <= wanted[name] for name in names)


def _is_reached_by_name(facts: Facts, section: str) -> bool:
    """
    Whether clients of a section tell the gateway the name, and go on to do so: a port on which the spec asks for TCP
    now is TCP for every name.
    """
    destinations = facts.gateway.spec.destinations if facts.gateway.spec and not facts.gateway.deleting else ()
    taken = {port.port for each in destinations for port in each.contended_ports if port.protocol is Protocol.TCP}
    specs = [entry.get("spec") or {} for entry in _entries(facts, section)]
    ports = [port for spec in specs for port in spec.get("ports") or ()]
    return not any(spec.get("addresses") for spec in specs) and not any(
        port.get("protocol") == Protocol.TCP or port["number"] in taken for port in ports
    )


def _fits(facts: Facts, route: Manifest, destination: Destination, consumers: frozenset[str]) -> bool:
    """Whether the entry of a destination that goes on without a name may register it: ports and consumers are alike."""
    if destination.addresses:
        return False
    wanted = {(port.port, str(port.protocol)) for port in destination.ports}
    found = {
        (port["number"], port.get("protocol"))
        for entry in _entries(facts, destination.name)
        for port in (entry.get("spec") or {}).get("ports") or ()
    }
    return wanted == found and namespaces_of_export(route, facts.key.namespace) == consumers


def _entries(facts: Facts, section: str) -> list[Manifest]:
    return [entry for entry in live_clients(facts.live, "ServiceEntry") if section_of(entry) == section]
