"""
Who may open a TCP connection through the gateway, judged in the TLS handshake of the hop.

Envoy's RBAC filter judges a connection by its first bytes. The gateway connects to the destination before these come,
so a server that speaks first would be heard by a client that the policy refuses ("istio-recipes" §6). A handshake that
fails lets no byte through. Gateway's `subjectAltNames` are exact names; a namespace needs a pattern, so an EnvoyFilter
says who. The AuthorizationPolicy stays and says the same: what one of them forbids is forbidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from egressgateway.names import callers_name, callers_part
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop, build_hops
from egressgateway.plan.ir import Child
from egressgateway.plan.istio.access import Callers, Visitor, callers_of
from egressgateway.plan.routing.children import remote_child, shared_child
from egressgateway.stages import Stage

MAX_CALLERS: Final = 4_096
"""Most patterns in the filter, over all hops, about 150 bytes each: an object has to stay below `bounds.MAX_BYTES`."""

_TEMPLATE = "envoyfilter-callers"
_SCHEME: Final = "spiffe://"
_NOBODY: Final = "spiffe://nobody.invalid/"
"""No authority issues it: `.invalid` is nobody's (RFC 2606). Envoy takes an empty list for everybody."""

Matcher = dict[str, Any]
"""Envoy's `StringMatcher`."""


def plan_callers(
    context: PlanContext, hops: Sequence[Hop], visitors: Sequence[Visitor], retained: Draining
) -> Iterator[Child]:
    """The EnvoyFilter that names, for each TCP hop, who may open a connection; with that of hops on their way out."""
    judged = _judged(context, hops, visitors)
    patches = [_patch(context, hop, callers) for hop, callers in judged] if _are_few(context, judged) else []
    if not patches and not retained.callers:
        return
    values = {"site": context.target, "patches": patches, "retained_patches": retained.callers}
    if context.target.dedicated:
        name = callers_name(context.target.object_name)
        yield shared_child(context.owner, name, "EnvoyFilter", Stage.FOUNDATION, values, _TEMPLATE)
        return
    place, part = context.target.namespace, callers_part(context.target.id)
    yield remote_child(context.owner, place, "EnvoyFilter", part, Stage.FOUNDATION, values, _TEMPLATE)


def are_judged_first(context: PlanContext) -> bool:
    """Whether the filter names the callers of the object's TCP hops: under mutual TLS, where they are not too many."""
    hops = build_hops(context.key, context.spec.destinations, context.target)
    return context.target.strict and _are_few(context, _judged(context, hops, ()))


def _judged(context: PlanContext, hops: Sequence[Hop], visitors: Sequence[Visitor]) -> list[tuple[Hop, list[Callers]]]:
    """TCP hops: clients of HTTP and TLS speak first, so the policy judges them before a server says anything."""
    return [(hop, callers) for hop, callers in callers_of(context, hops, visitors) if hop.strict and not hop.tls]


def _are_few(context: PlanContext, judged: Sequence[tuple[Hop, Sequence[Callers]]]) -> bool:
    patterns = sum(len(each.principals) * max(1, len(each.within)) for _, callers in judged for each in callers)
    return patterns * len(_domains(context)) <= MAX_CALLERS


def _domains(context: PlanContext) -> tuple[str, ...]:
    return context.mesh.trust_domain, *context.mesh_config.trust_domain_aliases


def _patch(context: PlanContext, hop: Hop, callers: Sequence[Callers]) -> dict[str, Any]:
    found: dict[str, Matcher] = {}
    for each in callers:
        for matcher in _matchers_of(each, _domains(context)):
            found.setdefault(repr(matcher), matcher)
    matchers = list(found.values()) or [{"exact": _NOBODY}]
    return {"sni": hop.sni, "matchers": [{"san_type": "URI", "matcher": matcher} for matcher in matchers]}


def _matchers_of(callers: Callers, domains: Sequence[str]) -> Iterator[Matcher]:
    if not callers.within:
        yield from map(_matcher, _everywhere(callers.principals, domains))
        return
    for outer in _everywhere(callers.within, domains):
        for principal in callers.principals:
            # The one ends in a star, the other begins with it.
            pattern = f"{re.escape(_SCHEME + outer.removesuffix('*'))}.*{re.escape(principal.removeprefix('*'))}"
            yield {"safe_regex": {"regex": pattern}}


def _everywhere(principals: Iterable[str], domains: Sequence[str]) -> Iterator[str]:
    """As Istio reads principals of the mesh's own trust domain: those of its aliases are the same."""
    own, *aliases = domains
    for principal in principals:
        yield principal
        domain, slash, rest = principal.partition("/")
        if domain == own:
            yield from (f"{alias}{slash}{rest}" for alias in aliases)


def _matcher(principal: str) -> Matcher:
    if principal.endswith("*"):
        return {"prefix": _SCHEME + principal.removesuffix("*")}
    return {"exact": _SCHEME + principal}
