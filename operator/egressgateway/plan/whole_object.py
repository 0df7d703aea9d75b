"""Checks of an object as a whole: its spec, its class, and what all of its sections need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.facts import Facts
from egressgateway.plan.checks.bounds import over_bounds
from egressgateway.plan.checks.class_policy import guard_object
from egressgateway.plan.checks.references import resolve_class
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Finding
from egressgateway.plan.providers import provider_of
from egressgateway.plan.unsupported import unsupported_in_class, unsupported_in_spec

_ACCEPTED: Final = ConditionType.ACCEPTED
_RESOLVED: Final = ConditionType.RESOLVED_REFS


def object_findings(facts: Facts, context: PlanContext | None) -> Iterator[Finding]:
    """Findings about the object as a whole, in the order in which they are reported."""
    yield from _spec_is_known(facts)
    yield from _spec_is_valid(facts)
    yield from _class_exists(facts)
    if context is not None:
        yield from (finding for finding in guard_object(context) if not finding.section)
    yield from _is_supported(facts, context)
    yield from _is_within_bounds(context)
    yield from _kinds_are_served(facts)
    yield from _class_is_resolved(facts)
    yield from _injection_is_enabled(facts)


def _spec_is_known(facts: Facts) -> Iterator[Finding]:
    if facts.gateway.left_out:
        message = (
            f"namespace {facts.key.namespace}: its EgressGateways exceed the operator's memory limit for a namespace, "
            "so the operator does not read this one; delete or shorten some, or ask a platform admin to raise "
            "--namespace-memory-mib"
        )
        yield Finding(_ACCEPTED, Reason.INVALID, message)


def _spec_is_valid(facts: Facts) -> Iterator[Finding]:
    for error in facts.gateway.errors:
        # Nothing of it can be planned, so harmful values are withdrawn with the rest of the object.
        yield Finding(_ACCEPTED, Reason.INVALID, str(error), withdraws=error.harmful)


def _class_exists(facts: Facts) -> Iterator[Finding]:
    class_, spec = facts.class_, facts.gateway.spec
    if class_.errors:
        yield Finding(_ACCEPTED, Reason.CLASS_NOT_FOUND, f"{class_} is not valid: {class_.errors[0]}")
    elif class_.spec is None and class_.name and spec is not None and spec.class_name is None:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            f"spec.className: not set, and {class_}, which served the object until now, is no longer the default "
            "class; name a class",
        )
    elif class_.spec is None and class_.name:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            f"spec.className: there is no EgressGatewayClass {class_.name!r}; correct the name, or ask a platform "
            "admin for the classes that there are",
        )
    elif class_.spec is None:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            "spec.className: not set, no EgressGatewayClass is marked as default, and the built-in class is not "
            "available; name a class",
        )


def _is_supported(facts: Facts, context: PlanContext | None) -> Iterator[Finding]:
    if facts.class_.spec is not None:
        for message in unsupported_in_class(facts.class_.spec, str(facts.class_), facts.mesh_config):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message)
    if context is not None:
        for message in unsupported_in_spec(context):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message)


def _is_within_bounds(context: PlanContext | None) -> Iterator[Finding]:
    if context is not None:
        for message in over_bounds(context.key, context.spec, context.class_spec, context.namespaces):
            yield Finding(_ACCEPTED, Reason.INVALID, message)


def _class_is_resolved(facts: Facts) -> Iterator[Finding]:
    if facts.class_.spec is not None:
        yield from resolve_class(facts, facts.class_.spec)


def _injection_is_enabled(facts: Facts) -> Iterator[Finding]:
    shared = facts.class_.spec is not None and facts.class_.spec.shared is not None
    if not shared and (facts.namespace_labels or {}).get("istio-injection") == "disabled":
        yield Finding(
            _RESOLVED,
            Reason.INJECTION_DISABLED,
            f"namespace {facts.key.namespace} has the label istio-injection=disabled: Istio would not inject the "
            "gateway's pods, and their image would stay `auto`; remove the label",
        )


def _kinds_are_served(facts: Facts) -> Iterator[Finding]:
    for requirement in provider_of(facts.class_.spec).requirements(facts.gateway.spec):
        missing = facts.unserved & requirement.kinds
        if missing:
            yield Finding(
                _RESOLVED,
                Reason.PROVIDER_UNAVAILABLE,
                f"{facts.class_}: the API server does not serve {', '.join(sorted(missing))} to the operator; "
                f"{requirement.remedy}; no further action is needed",
            )
