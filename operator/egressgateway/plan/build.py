"""From facts to a plan: which parts are served, and by which objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec, Provider
from egressgateway.facts import Facts
from egressgateway.live.children import live_clients, part_of
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.apisix.provider import plan_apisix
from egressgateway.plan.ir import Plan
from egressgateway.plan.istio.provider import plan_frozen, plan_istio, plan_kept

__all__ = ["build_plan", "plan_frozen"]

_PROVIDERS: Final[Mapping[Provider, Callable[[Facts, Acceptance], Plan]]] = {
    Provider.ISTIO: plan_istio,
    Provider.APISIX: plan_apisix,
}


def build_plan(facts: Facts, acceptance: Acceptance) -> Plan:
    """
    The children that should exist.

    Without a part to serve, and none that is kept and has clients, there is nothing to run: everything goes.
    """
    if facts.gateway.deleting:
        return Plan()
    if acceptance.keep_all:
        return plan_kept(facts, acceptance.revoked)
    if not acceptance.served and not acceptance.exposed and not acceptance.kept & _running(facts):
        return Plan()
    class_spec = facts.class_.spec or EgressGatewayClassSpec()
    return _PROVIDERS[class_spec.data_plane](facts, acceptance)


def _running(facts: Facts) -> frozenset[str]:
    """Parts of which clients are steered now."""
    return frozenset(part_of(found) for found in live_clients(facts.live, "VirtualService"))
