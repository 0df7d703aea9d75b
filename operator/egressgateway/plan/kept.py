"""Plans of objects that are not judged section by section: what runs stays, except for what is not allowed any more."""

from __future__ import annotations

from collections.abc import Mapping

from egressgateway.live.children import LiveChildren, section_of, stage_of
from egressgateway.plan.gateway.draining import Draining, plan_drain
from egressgateway.plan.gateway.target import GatewayTarget
from egressgateway.plan.handover import Names
from egressgateway.plan.ir import Owner, Plan
from egressgateway.plan.revoked import Revoked, less_revoked
from egressgateway.plan.routing.clients import plan_narrowed
from egressgateway.refs import Manifest, ObjectRef
from egressgateway.stages import Stage


def plan_kept(owner: Owner, live: LiveChildren, target: GatewayTarget, revoked: Revoked) -> Plan:
    """
    Everything stays as it is, except for what is not allowed any more.

    Hosts that are registered with clients and not routed any more are removed, too.
    """
    sections = live.sections - revoked.sections
    retained = less_revoked(plan_drain(live, (), sections, target), live.objects, revoked)
    stays = frozenset(
        ref
        for ref, found in live.objects.items()
        if section_of(found) in sections
        and ref not in revoked.refs
        and (stage_of(found) is not Stage.CLIENTS or ref in retained.children)
    )
    return Plan(tuple(plan_narrowed(owner, retained.narrowed)), stays)


def plan_leaving(owner: Owner, live: LiveChildren, target: GatewayTarget, handed_over: Names) -> Plan:
    """Of an object that is being deleted, what its clients use until another one serves them."""
    retained = plan_drain(live, (), frozenset(handed_over), target, handed_over)
    return Plan(tuple(plan_narrowed(owner, retained.narrowed)), retained.children)


def plan_frozen(owner: Owner, live: Mapping[ObjectRef, Manifest], revoked: Revoked) -> Plan:
    """Nothing of a suspended object is written, whatever changed; only what is not allowed any more is removed."""
    if revoked.everything:
        return Plan()
    stays = frozenset(
        ref for ref, found in live.items() if section_of(found) not in revoked.sections and ref not in revoked.refs
    )
    retained = less_revoked(Draining(children=stays), live, revoked)
    return Plan(tuple(plan_narrowed(owner, retained.narrowed)), retained.children)
