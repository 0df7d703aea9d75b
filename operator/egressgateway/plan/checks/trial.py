"""
What a class would forbid if its trial were in force: said in advance, and nothing is withdrawn or refused for it.

The policy of the class itself stays in force meanwhile, so that nothing is allowed that was not allowed before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from egressgateway.contention.consumers import consumers_of
from egressgateway.facts import Facts
from egressgateway.plan.checks.class_policy import guard_consumers, guard_destination, guard_exposed, guard_object
from egressgateway.plan.context import PlanContext, context_of
from egressgateway.plan.findings import Consequence, Finding


def trial_findings(facts: Facts) -> tuple[Finding, ...] | None:
    """What the class would withdraw or refuse of the object, without what it forbids already; None without a trial."""
    tried = facts.class_.spec.tried if facts.class_.spec is not None else None
    if tried is None:
        return None
    context = context_of(facts)
    if context is None or facts.gateway.deleting:
        return ()
    named = replace(context, class_name=f"the trial of {facts.class_}")
    known = set(_guards(named))
    return tuple(dict.fromkeys(found for found in _guards(replace(named, class_spec=tried)) if found not in known))


def _guards(context: PlanContext) -> Iterator[Finding]:
    """Every finding about what the class allows."""
    found = (*guard_object(context), *_of_sections(context))
    return (each for each in found if each.consequence is Consequence.WITHDRAW)


def _of_sections(context: PlanContext) -> Iterator[Finding]:
    spec = context.spec
    consumers = consumers_of(context.key, spec, context.class_spec, context.namespaces)
    for index, destination in enumerate(spec.destinations):
        if destination.expires_at is None or destination.expires_at > context.now:
            yield from guard_destination(context, destination, f"spec.destinations[{index}]")
            yield from guard_consumers(context.class_name, consumers, destination)
    for index, exposed in enumerate(spec.expose):
        yield from guard_exposed(context, exposed, f"spec.expose[{index}]")
