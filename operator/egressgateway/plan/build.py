"""From facts to a plan: which parts are served, and by which objects."""

from __future__ import annotations

from egressgateway.facts import Facts
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.ir import Plan
from egressgateway.plan.istio.provider import plan_istio, plan_kept
from egressgateway.plan.retain import live_clients, part_of


def build_plan(facts: Facts, acceptance: Acceptance) -> Plan:
    """
    The children that should exist.

    Without a part to serve, and none that is kept and has clients, there is nothing to run: everything goes.
    """
    if facts.gateway.deleting:
        return Plan()
    if acceptance.keep_all:
        return plan_kept(facts)
    if not acceptance.served and not acceptance.exposed and not acceptance.kept & _running(facts):
        return Plan()
    return plan_istio(facts, acceptance)


def _running(facts: Facts) -> frozenset[str]:
    """Parts of which clients are steered now."""
    return frozenset(part_of(found) for found in live_clients(facts.live, "VirtualService"))
