"""
Which requests APISIX takes for one (host, port), and what happens to their headers: an ApisixRoute for each.

APISIX chooses by host and path, and knows neither the port that a client dialled nor the client. It may also be an
ingress for the whole world. So the sidecars of consumers mark each request for its hop, a route takes requests with its
mark alone, and the mark is removed. The same route rejects requests that are marked and not granted: a request that no
rule takes would go on to whatever else APISIX has for the host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from egressgateway.names import DESTINATIONS, section_name
from egressgateway.plan.apisix.limits import grants_of
from egressgateway.plan.apisix.upstreams import within_of
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import section_child
from egressgateway.plan.routing.headers import stripped_headers
from egressgateway.plan.routing.upstreams import Upstream
from egressgateway.stages import Stage

MARK_HEADER: Final = "x-egressgateway-way"
EVERY_PATH: Final = "/*"
_MARK_LENGTH: Final = 32


def plan_routes(context: PlanContext, upstreams: Sequence[Upstream]) -> Iterator[Child]:
    """One for each hop, for the reasons of `plan_upstreams`."""
    for upstream in upstreams:
        hop = upstream.hop
        granted = _methods_by_path(context, hop)
        if not granted:
            # Used by a chain alone, which has a route of its own.
            continue
        values = {
            "ingress_class": context.class_spec.ingress_class,
            "hosts": list(hop.names),
            "rules": list(_rules(granted)),
            "refused_paths": _refused_paths(granted),
            "refusal": json.dumps({"error_msg": f"403 Not Granted: see spec.access of EgressGateway {context.key}"}),
            "mark": mark_of(context, hop),
            "upstream": upstream_name(context, hop),
            "headers": request_headers(context, upstream),
        }
        within = within_of(hop)
        yield section_child(
            context.owner, "ApisixRoute", Stage.GATEWAY, hop.destination, within, values, "apisix/apisixroute"
        )


def mark_of(context: PlanContext, hop: Hop) -> str:
    """
    The header value that distinguishes requests of one hop from all others at APISIX.

    Only clients that can read the object can know it, because of the uid. For those it is no secret.
    """
    return hashlib.sha256(f"{context.owner.uid}\0{hop.name}".encode()).hexdigest()[:_MARK_LENGTH]


def upstream_name(context: PlanContext, hop: Hop) -> str:
    """Name of the ApisixUpstream of a hop."""
    return section_name(context.key, DESTINATIONS, hop.destination, *within_of(hop))


def request_headers(context: PlanContext, upstream: Upstream) -> dict[str, Any]:
    """Headers that plugin proxy-rewrite sets and removes; the mark is always removed."""
    own = upstream.destination.request_headers
    set_ = {header.name: header.value for header in own.set_} if own else {}
    kept = {name.lower() for name in set_}
    removed = [name for name in (MARK_HEADER, *stripped_headers(context)) if name not in kept]
    removed += [name for name in (own.remove if own else ()) if name.lower() not in removed]
    return {"set": set_, "remove": removed}


def _methods_by_path(context: PlanContext, hop: Hop) -> dict[str, tuple[str, ...]]:
    """
    Granted paths, and the methods on each, none being every one; `limits` makes sure that they are the same for all
    callers.

    APISIX tries the longest path first. A grant on a shorter path that covers it counts for the longer one, too, so
    that all other requests can be rejected there.
    """
    granted = [(methods, paths or (EVERY_PATH,)) for methods, paths in _conditions(context, hop)]
    methods_by_path: dict[str, tuple[str, ...]] = {}
    for path in sorted({path for _, paths in granted for path in paths}):
        found = [methods for methods, paths in granted if any(_covers(pattern, path) for pattern in paths)]
        methods_by_path[path] = tuple(sorted({name for methods in found for name in methods})) if all(found) else ()
    return methods_by_path


def _conditions(context: PlanContext, hop: Hop) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    return {grant.conditions for grant in grants_of(context, hop.destination)}


def _covers(pattern: str, path: str) -> bool:
    """Whether all that `path` takes is taken by `pattern`; both are paths, or prefixes that end with `*`."""
    return path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _rules(granted: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """A rule for each combination of methods."""
    for index, methods in enumerate(sorted(set(granted.values()))):
        paths = [path for path, of_path in granted.items() if of_path == methods]
        yield {"name": f"way-{index}", "methods": list(methods), "paths": paths}


def _refused_paths(granted: Mapping[str, tuple[str, ...]]) -> list[str]:
    """
    Paths where requests that no rule takes are rejected; none if every request is granted.

    On paths of the rules, too: an unmanaged route for the same path, or one in between, would precede `/*`.
    """
    limited = {path for path, methods in granted.items() if methods}
    return sorted(limited | ({EVERY_PATH} - granted.keys()))
