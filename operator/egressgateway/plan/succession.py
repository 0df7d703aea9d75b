"""
Names that an object steers, and that another one of its namespace has by now, or may take over
(`contention.succession`).

Both have a way for such a name for a while, so that its clients are never without one. In the end one of them does,
whatever became of the other meanwhile: it may have been suspended, its edit may have been rejected, or taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

from egressgateway.contention.claims import own_rights
from egressgateway.contention.succession import let_go
from egressgateway.facts import Facts, Handover, Since, since_in
from egressgateway.live.children import steered_names
from egressgateway.names import is_private
from egressgateway.namespaces import overlap
from egressgateway.refs import Key


def moving_names(facts: Facts, claimed: Mapping[str, Since]) -> dict[str, frozenset[str]]:
    """
    Names that the object steers, and lets go or another one has by a better right, and the namespaces of their clients.

    Args:
        claimed: by name, what it has claimed itself.
    """
    lets_go = let_go(facts.gateway, claimed)
    theirs = [each.rights.names for each in facts.contenders if each.key.namespace == facts.key.namespace]
    if not lets_go and not any(claimed.keys() & names.keys() for names in theirs):
        return {}
    return {
        name: places
        for name, places in _steered(facts).items()
        if name in lets_go or any(_is_better(names.get(name, {}), claimed.get(name, {}), places) for names in theirs)
    }


def wanted_names(facts: Facts) -> frozenset[str]:
    """Names that other objects of the namespace ask for or have claimed."""
    others = (each for each in facts.contenders if each.key.namespace == facts.key.namespace)
    return frozenset(name for each in others for name in (*each.serves, *each.rights.names))


def owner_by_routes(facts: Facts, name: str, places: frozenset[str], claimed: Mapping[str, Since]) -> Key | None:
    """
    Which object of the namespace serves clients of a name that this one steers, by a better right.

    Those of one of `places` suffice: the two could not share a name, for a route goes to all of its namespaces or none.
    """
    own = {} if let_go(facts.gateway, (name,)) else claimed.get(name, {})
    return next(
        (
            other.key
            for other in facts.contenders
            if _is_better(other.rights.names.get(name, {}), own, overlap(places, other.routed.get(name, frozenset())))
        ),
        None,
    )


def new_owners(facts: Facts) -> dict[str, Key]:
    """Names that other objects of the namespace serve by a better right, as the mesh knows by now; and by which one."""
    taken = [name for name, stage in facts.handovers.items() if stage is Handover.TAKEN]
    if not taken:
        return {}
    steered, claimed = _steered(facts), own_rights(facts).names
    owners = ((name, owner_by_routes(facts, name, steered.get(name, frozenset()), claimed)) for name in taken)
    return {name: owner for name, owner in owners if owner is not None}


def overlapped_sections(facts: Facts) -> frozenset[str]:
    """
    Destinations with a name that another object of the namespace serves, too. Its route may be the older one, which
    is what Istio follows.
    """
    others = [each.routed for each in facts.contenders if each.routed]
    if not others or facts.gateway.spec is None:
        return frozenset()
    steered = _steered(facts)
    return frozenset(
        destination.name
        for destination in facts.gateway.spec.destinations
        for name in destination.names
        if any(overlap(steered.get(name, frozenset()), routed.get(name, frozenset())) for routed in others)
    )


def _is_better(theirs: Since, own: Since, places: frozenset[str]) -> bool:
    """Whether their claim of a name is earlier than the own one, in one of `places`."""
    return any(since_in(theirs, place) < since_in(own, place) for place in places)


def _steered(facts: Facts) -> dict[str, frozenset[str]]:
    return {name: places for name, places in steered_names(facts).items() if not is_private(name)}
