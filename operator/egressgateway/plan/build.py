"""From facts to a plan: which sections are served, and by which objects."""

from __future__ import annotations

from egressgateway.facts import Facts
from egressgateway.live.children import LiveChildren, live_clients, section_of
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.context import context_of, owner_of
from egressgateway.plan.gateway.target import target_of
from egressgateway.plan.ir import Plan
from egressgateway.plan.kept import plan_kept
from egressgateway.plan.providers import provider_of


def build_plan(facts: Facts, acceptance: Acceptance) -> Plan:
    """
    The children that should exist.

    If no section is served, and none is kept and has clients, nothing needs to run: all children are removed.
    """
    if facts.gateway.deleting:
        return Plan()
    if acceptance.keep_all:
        return plan_kept(owner_of(facts), LiveChildren.of(facts), target_of(facts), acceptance.revoked)
    if not acceptance.served and not acceptance.exposed and not acceptance.staying & _running(facts):
        return Plan()
    context = context_of(facts)
    return provider_of(context.class_spec).plan(context, acceptance) if context is not None else Plan()


def _running(facts: Facts) -> frozenset[str]:
    """Sections that steer clients now."""
    return frozenset(section_of(found) for found in live_clients(facts.live, "VirtualService"))
