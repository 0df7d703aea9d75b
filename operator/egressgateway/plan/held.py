"""
What an object holds while it is not judged, or in part: claims on what its clients use, and nothing new.

Its children show what clients use now. Only claims in its status are believed, as every tenant can write such children.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from egressgateway.contention.claims import (
    Claims,
    PortClaim,
    Stakes,
    claim_ports,
    consented,
    own_rights,
    resolve_claims,
)
from egressgateway.contention.succession import let_go
from egressgateway.facts import NEVER, ClaimedPort, Facts, Rights, Since, places_of, since_in
from egressgateway.live.children import live_clients, mesh_routes, ports_of, section_of, steered_names, steered_of
from egressgateway.names import is_private
from egressgateway.namespaces import overlap
from egressgateway.plan.revoked import Revoked, may_be_steered
from egressgateway.refs import Manifest


def claims_to_keep(facts: Facts, revoked: Revoked, *, withdraw: bool) -> Claims:
    """
    While an object cannot be judged it keeps its claims on what it still asks for or steers, and claims nothing new.

    It keeps a revoked claim for as long as its clients are still steered.
    """
    before, live = own_rights(facts), registered_ports(facts)
    claims = resolve_claims(facts, Stakes() if withdraw else _stakes_to_keep(facts, before, revoked), before)
    kept = () if withdraw else ports_to_keep(facts, before)
    ports, leaving = claim_ports(facts, before, kept, live)
    return claims.with_ports(ports, leaving=leaving)


def _stakes_to_keep(facts: Facts, before: Rights, revoked: Revoked) -> Stakes:
    spec, steered = facts.gateway.spec, steered_names(facts)
    asked = frozenset(name for destination in spec.destinations for name in destination.names) if spec else None
    lets_go = let_go(facts.gateway, before.names)
    serves = {
        name: still_held(since, steered[name]) if name in steered else places_of(since)
        for name, since in before.names.items()
        if name not in lets_go and (asked is None or name in asked or name in steered)
    }
    if before.is_blank:
        # The status was lost: claim again what clients use now, as far as the class allows it.
        routes = [route for route in mesh_routes(facts.live) if _may_be_steered(facts, route)]
        allowed = steered_of(routes, facts.key.namespace)
        serves = {name: consented(facts, served) for name, served in allowed.items() if not is_private(name)}
    ended = revoked.names | revoked.given_up
    serves = {name: served - revoked.namespaces for name, served in serves.items() if name not in ended}
    exposes = frozenset(found for found in before.exposed if asked is None or found.host in asked)
    return Stakes(serves, exposes, steered, lets_go)


def ports_to_keep(facts: Facts, before: Rights, section: str | None = None) -> Iterator[PortClaim]:
    """
    The ports that clients are told of now (by `section`), as far as the object has claimed them.

    The status records a claim before the first child is written, so the author wrote by hand what goes beyond the
    claims.
    """
    if before.is_blank:
        entries = (found for found in _entries_of(facts, section) if _may_be_steered(facts, found))
        for port, served in ports_by_kind(entries).items():
            kept = consented(facts, served)
            yield PortClaim(port, kept, frozenset(), kept)
        return
    for port, served in registered_ports(facts, section).items():
        since = before.ports.get(port, {})
        kept = still_held(since, served)
        yield PortClaim(port, kept, frozenset(since) - places_of(since), kept)


def still_held(since: Since, live: frozenset[str]) -> frozenset[str]:
    """Namespaces whose clients use what is claimed there."""
    return frozenset(place for place in overlap(live, places_of(since)) if since_in(since, place) != NEVER)


def _may_be_steered(facts: Facts, found: Manifest) -> bool:
    """
    Whether the class allows to send clients where a live child sends them; a class that cannot be read counts as
    allowing.
    """
    class_spec = facts.class_.spec
    return class_spec is None or may_be_steered(class_spec, found)


def registered_ports(facts: Facts, section: str | None = None) -> dict[ClaimedPort, frozenset[str]]:
    """Ports that clients are told of now (by `section`), and the namespaces of these clients."""
    return ports_by_kind(_entries_of(facts, section))


def _entries_of(facts: Facts, section: str | None) -> list[Manifest]:
    entries = live_clients(facts.live, "ServiceEntry")
    return [entry for entry in entries if section is None or section_of(entry) == section]


def ports_by_kind(entries: Iterable[Manifest]) -> dict[ClaimedPort, frozenset[str]]:
    """Ports that ServiceEntries register, and the namespaces of their clients."""
    live = ports_of(entries)
    return {
        ClaimedPort(number, tcp): served for tcp in (True, False) for number, served in live.speaking(tcp=tcp).items()
    }
