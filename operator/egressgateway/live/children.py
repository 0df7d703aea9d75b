"""What live children say of themselves: stage, destination, hosts, ports, consumers. Whose they are says `evidence`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from egressgateway.facts import Ports
from egressgateway.live.ports import ports_for
from egressgateway.names import LABEL_PART, LABEL_STAGE
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage

_STAGES: Final = {stage.label: stage for stage in Stage}


def stage_of(manifest: Manifest) -> Stage:
    """Stage of a live child, from its label; one without counts as foundation, which goes last."""
    return _STAGES.get(_label(manifest, LABEL_STAGE), Stage.FOUNDATION)


def part_of(manifest: Manifest) -> str:
    """Destination that a live child serves, from its label; empty when it serves all."""
    return _label(manifest, LABEL_PART)


def ways_of(virtual_service: Manifest) -> Iterator[str]:
    """Names of the hops that a clients' VirtualService sends to."""
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


def live_clients(live: Mapping[ObjectRef, Manifest], kind: str) -> list[Manifest]:
    """Live children of `kind` that mesh clients go by."""
    return [found for ref, found in live.items() if ref.kind == kind and stage_of(found) is Stage.CLIENTS]


def mesh_routes(live: Mapping[ObjectRef, Manifest]) -> list[Manifest]:
    """Live VirtualServices by which sidecars steer; those for ingress gateways left out."""
    return [
        found
        for found in live_clients(live, "VirtualService")
        if "mesh" in ((found.get("spec") or {}).get("gateways") or ("mesh",))
    ]


def namespaces_of_export(manifest: Manifest, own: str) -> frozenset[str]:
    """Namespaces that a routing object is exported to; absent means every one."""
    export_to = (manifest.get("spec") or {}).get("exportTo") or (EVERY_NAMESPACE,)
    return frozenset(own if namespace == "." else namespace for namespace in export_to)


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
    )


def _label(manifest: Manifest, label: str) -> str:
    value: str = (manifest["metadata"].get("labels") or {}).get(label, "")
    return value
