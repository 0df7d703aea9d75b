"""
Draining: hops that must go on working although no spec asks for them any more.

The Gateway, the hop's DestinationRule and the NetworkPolicy hold all hops of a gateway in one object. A hop is removed
from them only after its clients were withdrawn and istiod has pushed that; until then its live entries are carried
over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from egressgateway.live.children import LiveChildren, hosts_of, namespaces_of_export, section_of, subsets_of, ways_of
from egressgateway.names import (
    access_part,
    callers_name,
    callers_part,
    headers_part,
    is_private,
    remote_name,
    upgrades_part,
    way_out_name,
)
from egressgateway.namespaces import union
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.gateway.target import GatewayTarget
from egressgateway.refs import Manifest, ObjectRef


@dataclass(frozen=True, slots=True)
class Draining:
    """
    The live children, or entries of them, that stay beside the plan's own.

    Attributes:
        children: those of kept sections, to be left as they are.
        narrowed: clients' ServiceEntries and VirtualServices of kept sections, less the hosts that are no longer
            steered, or that another section steers.
        servers: of the Gateway, to be carried over; likewise `subsets` of the DestinationRule, `rules` of the
            AuthorizationPolicy for the draining hops, `identity_rules` all of its rules that name clients,
            `service_ports` of the hop's Service, and `ports` at the destinations that the NetworkPolicy leaves open.
        consumers: namespaces whose clients are sent to a kept section.
        leaving: namespaces whose clients the live children send to the hop, or sent until just now, whatever the plan
            says: they need its DestinationRule, and the NetworkPolicy, until istiod has pushed the change.
        guarded_names: private server names that stay forbidden to other clients: those of `servers`, and at a shared
            gateway all that the live Gateway still serves; `clean_names` those among them that an EnvoyFilter keeps
            from leaving the mesh, `upgrade_names` those by which WebSockets pass.
        callers: patches of the live EnvoyFilter that say who may open a connection by one of `guarded_names`.
        draining: some of this is kept only until istiod has pushed; a later plan of the same spec holds less.
    """

    children: frozenset[ObjectRef] = frozenset()
    narrowed: tuple[Manifest, ...] = ()
    servers: tuple[Manifest, ...] = ()
    subsets: tuple[Manifest, ...] = ()
    rules: tuple[Manifest, ...] = ()
    identity_rules: tuple[Manifest, ...] = ()
    service_ports: tuple[Manifest, ...] = ()
    ports: frozenset[int] = frozenset()
    consumers: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    guarded_names: frozenset[str] = frozenset()
    clean_names: frozenset[str] = frozenset()
    upgrade_names: frozenset[str] = frozenset()
    callers: tuple[Manifest, ...] = ()
    draining: bool = False


def plan_drain(
    live: LiveChildren,
    hops: Iterable[Hop],
    kept: frozenset[str],
    target: GatewayTarget,
    conflicted: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Draining:
    """
    What to keep beside the children for `hops`.

    Args:
        kept: sections whose clients stay where they are, except for hosts that `hops` serve: most of them cannot be
            planned.
        conflicted: for some of these, the names to which that is limited.
    """
    hops = tuple(hops)
    planned = frozenset(hop.name for hop in hops)
    servers_now = live.items_of("Gateway", target.object_name, "servers")
    servers = _left_over(live, planned, {_port_name(item): item for item in servers_now})
    subsets_now = live.items_of("DestinationRule", target.object_name, "subsets")
    planned_subsets = planned | {hop.upgrade_name for hop in hops if hop.upgradable and target.upgrade_subsets}
    subsets = _left_over(live, planned_subsets, {item.get("name", ""): item for item in subsets_now})
    ports = _ports_in_use(live)
    staying = _staying_routes(live, frozenset(hop.host for hop in hops), kept, conflicted)
    names_for_good = _all_hosts(staying) - frozenset(_given_up(staying, conflicted)) | _private_names(live, staying)
    ways_for_good = frozenset(way for found in staying for way in ways_of(found))
    subsets_for_good = frozenset(subset for found in staying for subset in subsets_of(found))
    ports_for_good = frozenset(_ports_to(live, names_for_good)) | {hop.target_port for hop in hops}
    carried_names = _server_names(servers.values())
    # Other clients stay denied until the server is gone: the Gateway is written after the policies.
    leaving = [item for item in servers_now if not target.dedicated and _port_name(item) not in planned]
    guarded_names = carried_names | _server_names(leaving)
    of_this_target = planned | {_port_name(item) for item in servers_now}
    return Draining(
        children=_untouched(live, kept, names_for_good) | _other_targets(live, target, ways_for_good - of_this_target),
        narrowed=tuple(_narrowed(live, kept, staying, names_for_good, {hop.destination for hop in hops})),
        servers=tuple(servers.values()),
        subsets=tuple(subsets.values()),
        rules=_rules_for(live, target, guarded_names),
        identity_rules=_identity_rules(live, target),
        service_ports=_service_ports(live, target) if servers else (),
        ports=ports,
        consumers=union(namespaces_of_export(found, live.key.namespace) for found in staying),
        leaving=_leaving(live, target),
        guarded_names=guarded_names,
        clean_names=guarded_names & frozenset(_filtered_names(live, target, headers_part(target.id))),
        upgrade_names=guarded_names & frozenset(_filtered_names(live, target, upgrades_part(target.id))),
        callers=_callers_for(live, target, guarded_names),
        draining=bool(
            servers.keys() - ways_for_good
            or subsets.keys() - subsets_for_good
            or ports - ports_for_good
            or guarded_names - carried_names
        ),
    )


def _left_over(live: LiveChildren, planned: frozenset[str], named: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """The entries of `named` that the plan lacks and clients may still use, in a stable order."""
    in_use = frozenset(subset for found in live.routes for subset in subsets_of(found))
    return {
        name: item
        for name, item in sorted(named.items())
        if name not in planned and (name in in_use or not live.clients_pushed)
    }


def _leaving(live: LiveChildren, target: GatewayTarget) -> frozenset[str]:
    """Where a DestinationRule is narrower than a route, clients without it get a 503 (notes "istio-recipes" §7)."""
    own = live.key.namespace
    users = list(live.mesh_routes)
    rule = live.named("DestinationRule", target.object_name)
    if rule is not None and target.dedicated and not live.clients_pushed:
        users.append(rule)
    return union(namespaces_of_export(found, own) for found in users if any(ways_of(found)) or found is rule)


def _staying_routes(
    live: LiveChildren, served: frozenset[str], kept: frozenset[str], conflicted: Mapping[str, frozenset[str]]
) -> list[Manifest]:
    """
    Clients' VirtualServices of kept sections, except for hosts that another section has taken over, or no spec asks
    for.
    """
    return [
        found
        for found in live.routes
        if section_of(found) in kept
        and not hosts_of(found) & served
        and (section_of(found) not in conflicted or hosts_of(found) & conflicted[section_of(found)])
    ]


def _given_up(staying: Iterable[Manifest], conflicted: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Aliases in one route with a host that stays, that the section does not ask for any more."""
    for found in staying:
        asked = conflicted.get(section_of(found))
        if asked is not None:
            yield from (name for name in hosts_of(found) - asked if not is_private(name))


def _untouched(live: LiveChildren, kept: frozenset[str], staying: frozenset[str]) -> frozenset[ObjectRef]:
    """Children of kept sections all of whose names, public or private, the section still steers."""
    return frozenset(
        ref for ref, found in live.objects.items() if section_of(found) in kept and hosts_of(found) <= staying
    )


def _other_targets(live: LiveChildren, target: GatewayTarget, ways: frozenset[str]) -> frozenset[ObjectRef]:
    """
    The children that serve every section at another gateway of the object, while clients of a kept section use it.

    The class changed, and the section cannot move: its gateway, with all that belongs to it, stays until it can.
    """
    if not ways:
        return frozenset()
    return frozenset(
        ref for ref, found in live.objects.items() if not section_of(found) and ref.name != target.object_name
    )


def _narrowed(
    live: LiveChildren,
    kept: frozenset[str],
    routes: Iterable[Manifest],
    staying: frozenset[str],
    planned: Set[str],
) -> Iterator[Manifest]:
    """
    A host that is registered without being steered would bypass the gateway. A section that is `planned` has an entry
    of its own.
    """
    entries = (entry for entry in live.entries if section_of(entry) not in planned)
    for found in (*entries, *routes):
        hosts = hosts_of(found)
        if section_of(found) in kept and hosts & staying and hosts - staying:
            yield {**found, "spec": {**found["spec"], "hosts": sorted(hosts & staying)}}


def _ports_in_use(live: LiveChildren) -> frozenset[int]:
    """Ports of the destinations to whose private names clients are sent, or were until just now."""
    if not live.clients_pushed:
        return frozenset(_ports_of(live.ways_out))
    return frozenset(_ports_to(live, _private_names(live, live.routes)))


def _ports_to(live: LiveChildren, private_names: frozenset[str]) -> Iterator[int]:
    return _ports_of(found for found in live.ways_out if hosts_of(found) & private_names)


def _private_names(live: LiveChildren, routes: Iterable[Manifest]) -> frozenset[str]:
    """The gateway's names of the hops that clients' VirtualServices send to: they are in its own entries."""
    refs = (
        ObjectRef("ServiceEntry", live.key.namespace, way_out_name(live.key, section_of(route), host, way))
        for route in routes
        for way in ways_of(route)
        for host in hosts_of(route)
    )
    entered = _all_hosts(live.objects[ref] for ref in refs if ref in live.objects)
    # The gateway's route for a wildcard has the wildcard itself, its entry has the requested names.
    return entered | {name.removeprefix("*.") for name in entered}


def _all_hosts(manifests: Iterable[Manifest]) -> frozenset[str]:
    return frozenset(host for found in manifests for host in hosts_of(found))


def _ports_of(entries: Iterable[Manifest]) -> Iterator[int]:
    for entry in entries:
        for port in (entry.get("spec") or {}).get("ports") or ():
            yield port.get("targetPort") or port["number"]


def _server_names(servers: Iterable[Manifest]) -> frozenset[str]:
    return frozenset(host.removeprefix("./") for server in servers for host in server.get("hosts") or ())


def _rules_for(live: LiveChildren, target: GatewayTarget, names: frozenset[str]) -> tuple[Manifest, ...]:
    """Rules of the live policy about a hop that is carried over, and about no other hop."""
    return tuple(
        {**rule, "when": [{**condition, "values": sorted(names & set(condition["values"]))}]}
        for rule in _live_rules(live, target)
        for condition in rule.get("when") or ()
        if names & set(condition.get("values") or ())
    )


def _live_rules(live: LiveChildren, target: GatewayTarget) -> list[Manifest]:
    """Rules of the own gateway's policy, which allows; of the one beside a shared gateway, which denies."""
    if target.dedicated:
        return live.items_of("AuthorizationPolicy", target.object_name, "rules")
    found = _remote_specs(live, target, "AuthorizationPolicy", access_part(target.id))
    return [rule for spec in found if spec.get("action") == "DENY" for rule in spec.get("rules") or ()]


def _callers_for(live: LiveChildren, target: GatewayTarget, names: frozenset[str]) -> tuple[Manifest, ...]:
    """Patches about a hop that is carried over: who may open a connection there."""
    if target.dedicated:
        found = live.items_of("EnvoyFilter", callers_name(target.object_name), "configPatches")
    else:
        specs = _remote_specs(live, target, "EnvoyFilter", callers_part(target.id))
        found = [patch for spec in specs for patch in spec.get("configPatches") or ()]
    return tuple(patch for patch in found if _patched_name(patch) in names)


def _filtered_names(live: LiveChildren, target: GatewayTarget, what: str) -> Iterator[str]:
    """Server names in one of the live EnvoyFilters on a shared gateway."""
    for spec in _remote_specs(live, target, "EnvoyFilter", what):
        yield from map(_patched_name, spec.get("configPatches") or ())


def _patched_name(patch: Manifest) -> str:
    """The server name whose filter chain a patch of an EnvoyFilter changes; empty for one of all chains."""
    found = ((patch.get("match") or {}).get("listener") or {}).get("filterChain") or {}
    name: str = found.get("sni", "")
    return name


def _remote_specs(live: LiveChildren, target: GatewayTarget, kind: str, what: str) -> list[Manifest]:
    """
    Specs of the live children in a shared gateway's namespace, the object's own included.

    Objects come back from a backup without their status, which names these: the plan's own then counts by its name.
    """
    if target.dedicated:
        return []
    wanted = ObjectRef(kind, target.namespace, remote_name(live.key, what))
    found = [live.objects[wanted]] if wanted in live.objects else []
    if wanted in live.others and target.namespace != live.key.namespace:
        found.append(live.others[wanted])
    return [item.get("spec") or {} for item in found]


def _identity_rules(live: LiveChildren, target: GatewayTarget) -> tuple[Manifest, ...]:
    """Rules of the live AuthorizationPolicy that grant something to an identity, except those for ports."""
    rules = live.items_of("AuthorizationPolicy", target.object_name, "rules")
    return tuple(rule for rule in rules if "from" in rule)


def _service_ports(live: LiveChildren, target: GatewayTarget) -> tuple[Manifest, ...]:
    return tuple(live.items_of("Service", target.service, "ports"))


def _port_name(server: Manifest) -> str:
    name: str = (server.get("port") or {}).get("name", "")
    return name
