"""
Which requests APISIX takes for one (host, port), and what becomes of their headers: an ApisixRoute for each.

APISIX chooses by host and path, and knows neither the port that a client dialled nor whose client it is. It may also be
an ingress that the whole world can reach. So the sidecars of consumers mark each request for its way, a route takes
requests with its mark alone, and the mark does not leave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from egressgateway.facts import Facts
from egressgateway.plan.apisix.limits import grants_of
from egressgateway.plan.apisix.upstreams import within_of
from egressgateway.plan.hops import Hop
from egressgateway.plan.ir import Child, Stage
from egressgateway.plan.istio.children import DESTINATIONS, part_child
from egressgateway.plan.istio.routes import stripped_headers
from egressgateway.plan.istio.upstream import Upstream
from egressgateway.plan.names import part_name

MARK_HEADER: Final = "x-egressgateway-way"
EVERY_PATH: Final = "/*"
_MARK_LENGTH: Final = 32
_UNCONDITIONAL: Final = ((), ())


def plan_routes(facts: Facts, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """Each its own, for the reasons of `plan_upstreams`."""
    for upstream in upstreams:
        hop = upstream.hop
        rules = list(_rules(facts, hop))
        if not rules:
            # Of a chain alone, which has a route of its own.
            continue
        values = {
            "ingress_class": facts.class_.spec.ingress_class if facts.class_.spec else "",
            "hosts": list(hop.names),
            "rules": rules,
            "mark": mark_of(facts, hop),
            "upstream": upstream_name(facts, hop),
            "headers": request_headers(facts, upstream),
        }
        within = within_of(hop)
        yield part_child(facts, "ApisixRoute", Stage.GATEWAY, hop.destination, within, values, "apisix/apisixroute")


def mark_of(facts: Facts, hop: Hop) -> str:
    """
    What tells requests of one way from all others at APISIX.

    Nobody can guess it who cannot read the object, because of the uid. It is no secret to those who can.
    """
    return hashlib.sha256(f"{facts.gateway.uid}\0{hop.name}".encode()).hexdigest()[:_MARK_LENGTH]


def upstream_name(facts: Facts, hop: Hop) -> str:
    """Name of the ApisixUpstream of a way."""
    return part_name(facts.key, DESTINATIONS, hop.destination, *within_of(hop))


def request_headers(facts: Facts, upstream: Upstream) -> dict[str, Any]:
    """Headers that plugin proxy-rewrite sets and removes; the mark is always removed."""
    own = upstream.destination.request_headers
    set_ = {header.name: header.value for header in own.set_} if own else {}
    kept = {name.lower() for name in set_}
    removed = [name for name in (MARK_HEADER, *stripped_headers(facts)) if name not in kept]
    removed += [name for name in (own.remove if own else ()) if name.lower() not in removed]
    return {"set": set_, "remove": removed}


def _rules(facts: Facts, hop: Hop) -> Iterator[dict[str, Any]]:
    """A rule for each combination of methods and paths that is granted; `limits` saw to it that all have them alike."""
    granted = {grant.conditions for grant in grants_of(facts, hop.destination)}
    if _UNCONDITIONAL in granted:
        granted = {_UNCONDITIONAL}
    for index, (methods, paths) in enumerate(sorted(granted)):
        yield {"name": f"way-{index}", "methods": list(methods), "paths": list(paths) or [EVERY_PATH]}
