"""
The status of an object, from its findings and from what was observed (api.md "Status of EgressGateway").

Its sections are judged first (`sections`), then the object by them (`readiness`); `fields` has all fields but the
conditions.
"""

from __future__ import annotations

from egressgateway.facts import Facts
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.findings import exposed_section
from egressgateway.plan.ir import Plan
from egressgateway.status.condition import Condition, Observed, Section, Summary
from egressgateway.status.fields import is_expired, remote_children, remote_refs, status_fields
from egressgateway.status.readiness import object_conditions
from egressgateway.status.sections import SectionView

__all__ = ["Condition", "Observed", "Section", "Summary", "remote_children", "remote_refs", "summarize"]


def summarize(facts: Facts, acceptance: Acceptance, plan: Plan, observed: Observed) -> Summary:
    """The status of one object at this moment."""
    spec = facts.gateway.spec
    view = SectionView(facts, acceptance, plan, observed)
    sections = tuple((found.name, view.destination(found)) for found in (spec.destinations if spec else ()))
    exposed = tuple((found.name, view.exposed(found)) for found in (spec.expose if spec else ()))
    counted = (
        *((name, conditions) for name, conditions in sections if not is_expired(acceptance, name)),
        *((exposed_section(name), conditions) for name, conditions in exposed),
    )
    conditions = object_conditions(facts, acceptance, counted)
    return Summary(conditions, sections, status_fields(facts, acceptance, plan, sections), exposed)
