"""What live children say: stage, section, hosts, ports, consumers. `evidence` decides which object owns them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from egressgateway.api.destination import Protocol
from egressgateway.facts import Facts, Ports
from egressgateway.live.ports import ports_for
from egressgateway.names import LABEL_PART, LABEL_STAGE, hop_of_subset
from egressgateway.namespaces import EVERY_NAMESPACE, union
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.stages import Stage

_STAGES: Final = {stage.label: stage for stage in Stage}


@dataclass(frozen=True, slots=True)
class LiveChildren:
    """
    The live children of one object, read once for all code that plans what happens to them.

    Attributes:
        key: of the object.
        objects: all of them.
        others: objects that carry their labels and are not known to be the object's.
        routes: VirtualServices that clients use, `mesh_routes` those among them that sidecars follow.
        entries: ServiceEntries that clients use, `ways_out` those with which the gateway knows its upstreams.
        clients_pushed: istiod has had the time to push the last change on the clients' side.
    """

    key: Key
    objects: Mapping[ObjectRef, Manifest]
    others: Mapping[ObjectRef, Manifest]
    routes: tuple[Manifest, ...]
    mesh_routes: tuple[Manifest, ...]
    entries: tuple[Manifest, ...]
    ways_out: tuple[Manifest, ...]
    clients_pushed: bool

    @classmethod
    def of(cls, facts: Facts) -> LiveChildren:
        """The live children of the object of `facts`."""
        routes = live_clients(facts.live, "VirtualService")
        entries = [found for ref, found in facts.live.items() if ref.kind == "ServiceEntry"]
        return cls(
            key=facts.key,
            objects=facts.live,
            others=facts.others,
            routes=tuple(routes),
            mesh_routes=tuple(filter(_is_for_sidecars, routes)),
            entries=tuple(found for found in entries if stage_of(found) is Stage.CLIENTS),
            ways_out=tuple(found for found in entries if stage_of(found) is not Stage.CLIENTS),
            clients_pushed=facts.clients_pushed,
        )

    def named(self, kind: str, name: str) -> Manifest | None:
        """The child of this name in the object's own namespace."""
        return self.objects.get(ObjectRef(kind, self.key.namespace, name))

    def items_of(self, kind: str, name: str, field: str) -> list[Manifest]:
        """A list in the spec of that child; empty without it."""
        found = self.named(kind, name) or {}
        items: list[Manifest] = (found.get("spec") or {}).get(field) or []
        return items

    @property
    def sections(self) -> frozenset[str]:
        """Sections that have a child; the empty one stands for all."""
        return frozenset(map(section_of, self.objects.values()))


def stage_of(manifest: Manifest) -> Stage:
    """Stage of a live child, from its label; a child without one counts as foundation, which is deleted last."""
    return _STAGES.get(_label(manifest, LABEL_STAGE), Stage.FOUNDATION)


def section_of(manifest: Manifest) -> str:
    """Section that a live child serves, from its label; empty when it serves all."""
    return _label(manifest, LABEL_PART)


def ways_of(virtual_service: Manifest) -> Iterator[str]:
    """Names of the hops that a clients' VirtualService sends to."""
    return map(hop_of_subset, subsets_of(virtual_service))


def subsets_of(virtual_service: Manifest) -> Iterator[str]:
    """Subsets that a VirtualService sends to: those of hops, and of their WebSockets."""
    spec = virtual_service.get("spec") or {}
    for route in (route for family in ("http", "tls", "tcp") for route in spec.get(family) or ()):
        for target in route.get("route") or ():
            subset = (target.get("destination") or {}).get("subset")
            if subset:
                yield subset


def targets_of(virtual_service: Manifest) -> Iterator[str]:
    """Hosts that a VirtualService sends to."""
    spec = virtual_service.get("spec") or {}
    for route in (route for family in ("http", "tls", "tcp") for route in spec.get(family) or ()):
        for target in route.get("route") or ():
            yield (target.get("destination") or {}).get("host", "")


def ports_to(virtual_service: Manifest, host: str) -> Iterator[int]:
    """Ports of `host` that a VirtualService sends to."""
    spec = virtual_service.get("spec") or {}
    for route in (route for family in ("http", "tls", "tcp") for route in spec.get(family) or ()):
        for target in route.get("route") or ():
            destination = target.get("destination") or {}
            if destination.get("host") == host and "number" in (destination.get("port") or {}):
                yield destination["port"]["number"]


def live_clients(live: Mapping[ObjectRef, Manifest], kind: str) -> list[Manifest]:
    """Live children of `kind` that mesh clients use."""
    return [found for ref, found in live.items() if ref.kind == kind and stage_of(found) is Stage.CLIENTS]


def mesh_routes(live: Mapping[ObjectRef, Manifest]) -> list[Manifest]:
    """Live VirtualServices with which sidecars steer, without those for ingress gateways."""
    return list(filter(_is_for_sidecars, live_clients(live, "VirtualService")))


def _is_for_sidecars(virtual_service: Manifest) -> bool:
    return "mesh" in ((virtual_service.get("spec") or {}).get("gateways") or ("mesh",))


def namespaces_of_export(manifest: Manifest, own: str) -> frozenset[str]:
    """Namespaces that a routing object is exported to; without the field it is every one."""
    export_to = (manifest.get("spec") or {}).get("exportTo") or (EVERY_NAMESPACE,)
    return frozenset(own if namespace == "." else namespace for namespace in export_to)


def steered_names(facts: Facts) -> dict[str, frozenset[str]]:
    """Names that live children of the object steer now, and the namespaces of the clients that they steer."""
    return steered_of(mesh_routes(facts.live), facts.key.namespace)


def steered_of(routes: Iterable[Manifest], own: str) -> dict[str, frozenset[str]]:
    """
    Names that `routes` of the namespace `own` steer, and the namespaces of the clients that they steer; likewise names
    that ServiceEntries register.
    """
    steered: dict[str, frozenset[str]] = {}
    for route in routes:
        for host in hosts_of(route):
            steered[host] = union((steered.get(host, frozenset()), namespaces_of_export(route, own)))
    return steered


def ways_in_use(live: Mapping[ObjectRef, Manifest]) -> frozenset[str]:
    """Hops that a live VirtualService of the clients still sends to."""
    return frozenset(way for found in live_clients(live, "VirtualService") for way in ways_of(found))


def hosts_of(manifest: Manifest) -> frozenset[str]:
    """Hosts that a ServiceEntry registers or a VirtualService routes."""
    return frozenset((manifest.get("spec") or {}).get("hosts") or ())


def ports_of(entries: Iterable[Manifest]) -> Ports:
    """Ports that ServiceEntries of clients register, and the namespaces that see them."""
    return ports_for(
        (port["number"], port.get("protocol", ""), namespaces_of_export(entry, entry["metadata"]["namespace"]))
        for entry in entries
        for port in (entry.get("spec") or {}).get("ports") or ()
        # Behind an address of its own TCP takes nothing from others.
        if not (port.get("protocol") == Protocol.TCP and (entry.get("spec") or {}).get("addresses"))
    )


def protocols_of(entries: Iterable[Manifest]) -> dict[str, dict[int, str]]:
    """By host that ServiceEntries register, what clients speak on which port."""
    found: dict[str, dict[int, str]] = {}
    for entry in entries:
        ports = {port["number"]: str(port.get("protocol", "")) for port in (entry.get("spec") or {}).get("ports") or ()}
        for host in hosts_of(entry):
            found[host] = {**found.get(host, {}), **ports}
    return found


def _label(manifest: Manifest, label: str) -> str:
    value: str = (manifest["metadata"].get("labels") or {}).get(label, "")
    return value
