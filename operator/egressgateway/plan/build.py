"""From facts to a plan: which destinations are served, and by which objects."""

from __future__ import annotations

from egressgateway.facts import Facts
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.ir import Plan
from egressgateway.plan.istio import plan_dedicated
from egressgateway.plan.names import LABEL_PART
from egressgateway.plan.retain import live_clients


def build_plan(facts: Facts, acceptance: Acceptance) -> Plan:
    """
    The children that should exist.

    Without a destination to serve there is nothing to run: what is kept stays as it is, everything else goes.
    """
    if facts.gateway.deleting:
        return Plan()
    if acceptance.keep_all:
        return Plan(keep_all=True)
    if not acceptance.served:
        return Plan(keep_all=bool(acceptance.kept & _running(facts)))
    return Plan(children=plan_dedicated(facts, acceptance.served), kept=acceptance.kept)


def _running(facts: Facts) -> frozenset[str]:
    """Parts of which clients are steered now."""
    return frozenset(
        (found["metadata"].get("labels") or {}).get(LABEL_PART, "")
        for found in live_clients(facts.live, "VirtualService")
    )
