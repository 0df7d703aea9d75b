"""
Who may use the gateway: identities by `principals`, destinations by the hop's server name (notes "istio-recipes" §6).

Principals, not namespaces: only they contain the trust domain. `connection.sni` selects the filter chain, so it cannot
be forged, and works for HTTP, TLS and TCP alike. The order of rules is that of the spec: a policy is never rewritten
without need, as each rewrite ends open connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from egressgateway.contention.consumers import all_entries, namespaces_of
from egressgateway.names import access_part
from egressgateway.namespaces import EVERY_NAMESPACE, union
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.gateway.target import GatewayTarget, listen_port
from egressgateway.plan.ir import Child
from egressgateway.plan.routing.children import remote_child, shared_child
from egressgateway.stages import Stage

_NO_PORT: Final = ["0"]
"""
Every port but this one, that is every port. `istioctl validate` and istiod's webhook warn about a denial by method or
path without ports, as they do not look at the server name.
"""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client besides the consumers that may use a hop: the ingress gateway of a chain."""

    principals: tuple[str, ...]
    sni: str


@dataclass(frozen=True, slots=True)
class _Grant:
    """
    One entry of `access`, compiled: which identities, which server names (none: all), which requests.

    `within`: patterns of which these identities have to match one, too; empty for none.
    """

    principals: list[str]
    within: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Callers:
    """
    Identities that may open a connection of one hop, as `_Grant` has them.

    `within`: patterns of which they have to match one, too; empty for none.
    """

    principals: tuple[str, ...]
    within: tuple[str, ...] = ()


def callers_of(
    context: PlanContext, hops: Sequence[Hop], visitors: Sequence[Visitor]
) -> Iterator[tuple[Hop, list[Callers]]]:
    """Who may open connections of each hop that is not HTTP, by the same rules as the policies."""
    # A rule about requests admits no connection.
    grants = [grant for grant in _grants(context, hops) if not (grant.methods or grant.paths)]
    for hop in hops:
        if not hop.http:
            granted = [
                Callers(tuple(grant.principals), tuple(grant.within))
                for grant in grants
                if not grant.names or hop.sni in grant.names
            ]
            yield hop, granted + [Callers(visitor.principals) for visitor in visitors if visitor.sni == hop.sni]


def plan_access(
    context: PlanContext,
    hops: Sequence[Hop],
    visitors: Sequence[Visitor],
    exposed_ports: Sequence[int],
    retained: Draining,
) -> Iterator[Child]:
    """The policies of the gateway's pods."""
    if context.target.strict and context.target.dedicated:
        values = {
            "site": context.target,
            "rules": [*_allow_rules(context, hops, visitors, exposed_ports), *_plain_rules(retained, context.target)],
            "retained_rules": retained.rules,
        }
        yield shared_child(context.owner, context.target.object_name, "AuthorizationPolicy", Stage.FOUNDATION, values)
    elif context.target.dedicated and any(_is_strict(server) for server in retained.servers):
        # Clients are leaving hops under mutual TLS; the policy of those would forbid them the new ones.
        ports = sorted({hop.hop_port for hop in hops} | set(exposed_ports))
        values = {
            "site": context.target,
            "rules": [_rule(ports=[str(listen_port(port)) for port in ports])],
            "retained_rules": retained.identity_rules,
        }
        yield shared_child(context.owner, context.target.object_name, "AuthorizationPolicy", Stage.FOUNDATION, values)
    elif context.target.strict and (hops or retained.rules):
        values = {
            "site": context.target,
            "rules": _deny_rules(context, hops, visitors),
            "every_port_but": _NO_PORT,
            "retained_rules": retained.rules,
        }
        yield remote_child(
            context.owner,
            context.target.namespace,
            "AuthorizationPolicy",
            access_part(context.target.id),
            Stage.FOUNDATION,
            values,
            "authorizationpolicy-deny",
        )
    yield from _authorizer(context, hops, retained)


def _allow_rules(
    context: PlanContext, hops: Sequence[Hop], visitors: Sequence[Visitor], exposed_ports: Sequence[int]
) -> Iterator[dict[str, Any]]:
    for grant in _grants(context, hops):
        yield {
            "principals": grant.principals,
            "within": grant.within,
            "names": grant.names,
            "methods": grant.methods,
            "paths": grant.paths,
            "ports": [],
        }
    for visitor in visitors:
        yield _rule(principals=list(visitor.principals), names=[visitor.sni])
    if exposed_ports:
        yield _rule(ports=[str(listen_port(port)) for port in exposed_ports])


def _plain_rules(retained: Draining, target: GatewayTarget) -> Iterator[dict[str, Any]]:
    """Hops without mutual TLS that clients are leaving: the policy cannot distinguish clients there."""
    ports: set[int] = {server["port"]["number"] for server in retained.servers} - {target.hop_port}
    if ports:
        yield _rule(ports=[str(listen_port(port)) for port in sorted(ports)])


def _is_strict(server: Mapping[str, Any]) -> bool:
    return (server.get("tls") or {}).get("mode") == "ISTIO_MUTUAL"


def _deny_rules(context: PlanContext, hops: Sequence[Hop], visitors: Sequence[Visitor]) -> list[dict[str, Any]]:
    """
    The opposite of what is granted, for the object's own server names alone: others use the gateway, too.

    Each rule denies on its own: first all identities without any grant, then those with conditions whatever does not
    meet these. (`unsupported` has made sure that a destination has one entry with conditions at most.)

    By the server name alone, on every port: the port behind the shared Service may have a name instead of a number,
    another number tomorrow, and other Services beside it. For TCP, a denial by method or path counts as if it had none
    ("istio-recipes" §6), but only for this server name; so connections by other names are not cut.
    """
    rules = []
    all_grants = list(_grants(context, hops))
    for hop in hops:
        grants = [grant for grant in all_grants if not grant.names or hop.sni in grant.names]
        free = {principal for visitor in visitors if visitor.sni == hop.sni for principal in visitor.principals}
        free |= {p for grant in grants if not (grant.methods or grant.paths) for p in grant.principals}
        known = free | {principal for grant in grants for principal in grant.principals}
        rules.append({"not_principals": sorted(known), "principals": [], "names": [hop.sni]})
        for grant in grants:
            # These conditions do not apply to an identity that another entry grants more, under whatever pattern.
            source = {"principals": grant.principals, "not_principals": sorted(free), "names": [hop.sni]}
            for condition, values in (("not_methods", grant.methods), ("not_paths", grant.paths)):
                if values:
                    rules.append({**source, condition: values})
    return [{"not_methods": [], "not_paths": [], **rule} for rule in rules]


def _grants(context: PlanContext, hops: Sequence[Hop]) -> Iterator[_Grant]:
    for entry in all_entries(context.spec):
        served = namespaces_of(context.key, entry, context.class_spec, context.namespaces)
        names = [hop.sni for hop in hops if hop.destination in entry.destinations]
        if not served or (entry.destinations and not names):
            continue
        principals, within = _identities(context, union([served]), entry.service_accounts)
        yield _Grant(
            principals=principals,
            within=within,
            names=names,
            methods=list(entry.methods),
            paths=list(entry.paths),
        )


def _identities(
    context: PlanContext, served: frozenset[str], service_accounts: Sequence[str]
) -> tuple[list[str], list[str]]:
    """
    Identities without their scheme, as policies write them, and patterns of which they have to match one, too.

    A star is allowed at an end only. Accounts of every namespace need two: one for the account, one for the trust
    domain. A list of the namespaces would grow with the cluster and be rewritten for each new one, and each rewrite
    ends open connections. The policy of a shared gateway denies what is not listed, and there a second pattern would
    need a denial of its own: behind those, namespaces are few (`MAX_CONSUMER_NAMESPACES`) and listed.
    """
    domain = context.mesh.trust_domain
    if EVERY_NAMESPACE in served and not service_accounts:
        return [f"{domain}/*"], []
    if EVERY_NAMESPACE in served and context.target.dedicated:
        return [f"*/sa/{account}" for account in service_accounts], [f"{domain}/ns/*"]
    if EVERY_NAMESPACE in served:
        every = sorted(context.namespaces)
        return [f"{domain}/ns/{namespace}/sa/{account}" for account in service_accounts for namespace in every], []
    accounts = [f"sa/{account}" for account in service_accounts] or ["*"]
    return [f"{domain}/ns/{namespace}/{account}" for namespace in sorted(served) for account in accounts], []


def _authorizer(context: PlanContext, hops: Sequence[Hop], retained: Draining) -> Iterator[Child]:
    """The class's external authorizer, for every request of the object."""
    authorizer = context.class_spec.external_authorization
    if authorizer is None:
        return
    names = [] if context.target.dedicated else [*(hop.sni for hop in hops), *sorted(retained.guarded_names)]
    values = {"site": context.target, "provider": authorizer.provider, "names": names}
    if context.target.dedicated:
        name = f"{context.target.object_name}-authorizer"
        yield shared_child(
            context.owner, name, "AuthorizationPolicy", Stage.FOUNDATION, values, "authorizationpolicy-custom"
        )
    elif names:
        yield remote_child(
            context.owner,
            context.target.namespace,
            "AuthorizationPolicy",
            f"authorizer-{context.target.id}",
            Stage.FOUNDATION,
            values,
            "authorizationpolicy-custom",
        )


def _rule(principals: Sequence[str] = (), names: Sequence[str] = (), ports: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "principals": list(principals),
        "within": [],
        "names": list(names),
        "methods": [],
        "paths": [],
        "ports": list(ports),
    }
