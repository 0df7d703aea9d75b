"""
Everything that stands against an object: a chain of checks, each pure, each reporting all that it finds.

A finding takes out one part or the whole object; what is left is planned. Nothing here is raised, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.facts import Facts
from egressgateway.plan.claims import Claims, read_claims, resolve_claims
from egressgateway.plan.findings import Consequence, Finding
from egressgateway.plan.hosts import is_allowed
from egressgateway.plan.retain import live_clients
from egressgateway.plan.unsupported import unsupported_in_class, unsupported_in_destination, unsupported_in_spec

_ACCEPTED: Final = ConditionType.ACCEPTED
_RESOLVED: Final = ConditionType.RESOLVED_REFS


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    What may be planned.

    `served` are destinations without a finding; `kept` names those whose live children stay untouched. When a finding
    takes out the object, `keep_all` says whether its children stay.
    """

    findings: tuple[Finding, ...]
    served: tuple[Destination, ...]
    claims: Claims
    kept: frozenset[str] = frozenset()
    keep_all: bool = False
    next_expiry: datetime | None = None

    @property
    def of_object(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.part)

    def of_part(self, name: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.part == name)


def accept(facts: Facts) -> Acceptance:
    """Judge the object as a whole, then each destination."""
    of_object = tuple(_object_findings(facts))
    spec, class_spec = facts.gateway.spec, facts.class_.spec
    if spec is None or class_spec is None or of_object:
        withdraw = any(finding.consequence is Consequence.WITHDRAW for finding in of_object)
        names = () if withdraw else _names_to_keep(facts)
        return Acceptance(of_object, (), resolve_claims(facts, names, steered_hosts(facts)), keep_all=not withdraw)
    return _accept_destinations(facts, spec, class_spec)


def steered_hosts(facts: Facts) -> frozenset[str]:
    """Names that live children of the object steer now."""
    return frozenset(
        host
        for found in live_clients(facts.live, "VirtualService")
        for host in (found.get("spec") or {}).get("hosts", ())
    )


def _names_to_keep(facts: Facts) -> tuple[str, ...]:
    """While an object cannot be judged it keeps what it claims, asks for or steers, and takes nothing new."""
    spec, steered = facts.gateway.spec, steered_hosts(facts)
    asked = frozenset(name for destination in spec.destinations for name in destination.names) if spec else None
    claimed = read_claims(facts.gateway.status)
    return tuple(name for name in claimed if asked is None or name in asked or name in steered)


def _object_findings(facts: Facts) -> Iterator[Finding]:
    for check in _OBJECT_CHECKS:
        yield from check(facts)


def _spec_is_valid(facts: Facts) -> Iterator[Finding]:
    for error in facts.gateway.errors:
        yield Finding(_ACCEPTED, Reason.INVALID, str(error))


def _class_exists(facts: Facts) -> Iterator[Finding]:
    class_, spec = facts.class_, facts.gateway.spec
    if class_.errors:
        yield Finding(
            _ACCEPTED, Reason.CLASS_NOT_FOUND, f"EgressGatewayClass {class_.name} is not valid: {class_.errors[0]}"
        )
    elif class_.spec is None and class_.name and spec is not None and spec.class_name is None:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            f"spec.className: absent, and EgressGatewayClass {class_.name}, which served the object so far, is no "
            "longer there as the default; name a class",
        )
    elif class_.spec is None and class_.name:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            f"spec.className: there is no EgressGatewayClass {class_.name!r}; name one that "
            "`kubectl get egressgatewayclasses` lists",
        )
    elif class_.spec is None:
        yield Finding(
            _ACCEPTED,
            Reason.CLASS_NOT_FOUND,
            "spec.className: absent, no EgressGatewayClass is marked as default, and the built-in one is out of reach; "
            "name a class",
        )


def _namespace_is_allowed(facts: Facts) -> Iterator[Finding]:
    class_spec = facts.class_.spec
    allowed = class_spec.allowed_namespaces if class_spec else None
    if allowed is None or allowed.selector is None:
        return
    if facts.namespace_labels is None:
        yield Finding(_ACCEPTED, Reason.PENDING, f"namespace {facts.key.namespace} has not been seen yet")
        return
    if not allowed.selector.matches(facts.namespace_labels):
        yield Finding(
            _ACCEPTED,
            Reason.NAMESPACE_NOT_ALLOWED,
            f"spec.className: EgressGatewayClass {facts.class_.name} does not serve namespace {facts.key.namespace}: "
            "its allowedNamespaces selects others; ask the platform's admin, or name another class",
        )


def _class_is_supported(facts: Facts) -> Iterator[Finding]:
    if facts.class_.spec is not None:
        for message in unsupported_in_class(facts.class_.name, facts.class_.spec):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message)


def _spec_is_supported(facts: Facts) -> Iterator[Finding]:
    if facts.gateway.spec is not None:
        for message in unsupported_in_spec(facts.gateway.spec):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message)


def _gateway_settings_are_allowed(facts: Facts) -> Iterator[Finding]:
    spec, class_spec = facts.gateway.spec, facts.class_.spec
    if (
        spec is None
        or class_spec is None
        or spec.gateway is None
        or "GatewaySettings" not in (class_spec.denied_features or ())
    ):
        return
    free = {"replicas", "autoscaling", "resources"}
    for name in sorted(spec.gateway.model_fields_set - free):
        field = type(spec.gateway).model_fields[name].alias or name
        yield Finding(
            _ACCEPTED,
            Reason.FEATURE_NOT_ALLOWED,
            f"spec.gateway.{field}: EgressGatewayClass {facts.class_.name} denies GatewaySettings; remove the field",
        )


def _injection_is_enabled(facts: Facts) -> Iterator[Finding]:
    if (facts.namespace_labels or {}).get("istio-injection") == "disabled":
        yield Finding(
            _RESOLVED,
            Reason.INJECTION_DISABLED,
            f"namespace {facts.key.namespace} has the label istio-injection=disabled: Istio would not "
            "complete the gateway's pods, and their image would stay `auto`; remove the label",
        )


def _kinds_are_served(facts: Facts) -> Iterator[Finding]:
    if facts.unserved:
        kinds = ", ".join(sorted(facts.unserved))
        yield Finding(
            _RESOLVED,
            Reason.PROVIDER_UNAVAILABLE,
            f"the API server does not serve {kinds}: install Istio (its CRDs); this heals by itself",
        )


_OBJECT_CHECKS: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _spec_is_valid,
    _class_exists,
    _namespace_is_allowed,
    _gateway_settings_are_allowed,
    _class_is_supported,
    _spec_is_supported,
    _injection_is_enabled,
    _kinds_are_served,
)


def _accept_destinations(facts: Facts, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec) -> Acceptance:
    findings = [
        finding
        for index, destination in enumerate(spec.destinations)
        for finding in _destination_findings(facts, class_spec, destination, index)
    ]
    refused = {finding.part for finding in findings}
    wanted = [
        host for destination in spec.destinations if destination.name not in refused for host in destination.names
    ]
    kept_names = [
        name
        for destination in spec.destinations
        if _keeps(findings, destination.name)
        for name in destination.names
        if name in steered_hosts(facts)
    ]
    claims = resolve_claims(facts, [*wanted, *kept_names], steered_hosts(facts))
    findings += [
        finding
        for index, destination in enumerate(spec.destinations)
        if destination.name not in refused
        for finding in _host_conflicts(facts, claims, destination, index)
    ]
    refused = {finding.part for finding in findings}
    return Acceptance(
        findings=tuple(findings),
        served=tuple(destination for destination in spec.destinations if destination.name not in refused),
        claims=claims,
        kept=frozenset(name for name in refused if _keeps(findings, name)),
        next_expiry=min(
            (d.expires_at for d in spec.destinations if d.expires_at and d.expires_at > facts.now), default=None
        ),
    )


def _keeps(findings: list[Finding], part: str) -> bool:
    own = [finding for finding in findings if finding.part == part]
    return bool(own) and all(finding.consequence is Consequence.KEEP for finding in own)


def _destination_findings(
    facts: Facts, class_spec: EgressGatewayClassSpec, destination: Destination, index: int
) -> Iterator[Finding]:
    part, field = destination.name, f"spec.destinations[{index}]"
    if destination.expires_at is not None and destination.expires_at <= facts.now:
        yield Finding(
            _ACCEPTED,
            Reason.EXPIRED,
            f"{field}.expiresAt: {format_instant(destination.expires_at)} is over; "
            "remove the destination, or set a later time",
            part,
        )
        return
    for host in destination.names:
        if not is_allowed(host, _allowed_hosts(class_spec), class_spec.denied_hosts or ()):
            yield Finding(
                _ACCEPTED,
                Reason.HOST_NOT_ALLOWED,
                f"{field}.hosts: EgressGatewayClass {facts.class_.name} does not allow {host}; "
                "ask the platform's admin, or remove it",
                part,
            )
    for feature, used_by in _features_of(destination):
        if feature in (class_spec.denied_features or ()):
            yield Finding(
                _ACCEPTED,
                Reason.FEATURE_NOT_ALLOWED,
                f"{field}.{used_by}: EgressGatewayClass {facts.class_.name} denies {feature}; remove it",
                part,
            )
    for message in unsupported_in_destination(destination, field):
        yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message, part)


def _allowed_hosts(class_spec: EgressGatewayClassSpec) -> tuple[str, ...]:
    """Absent allows every host; an empty list, written down, allows none."""
    return ("*",) if class_spec.allowed_hosts is None else class_spec.allowed_hosts


def _features_of(destination: Destination) -> Iterator[tuple[str, str]]:
    if destination.has_tcp:
        yield "TCP", "ports"
    if destination.wildcard is not None:
        yield "Wildcards", "wildcard"
    if any(port.tls is not None and port.tls.insecure_skip_verify for port in destination.ports):
        yield "InsecureSkipVerify", "ports"


def _host_conflicts(facts: Facts, claims: Claims, destination: Destination, index: int) -> Iterator[Finding]:
    for host in destination.names:
        winner = claims.lost.get(host)
        if winner is not None:
            yield Finding(
                _ACCEPTED,
                Reason.HOST_CONFLICT,
                f"spec.destinations[{index}].hosts: {host} belongs to EgressGateway {winner} in namespace "
                f"{facts.key.namespace}, which has the older right to it; remove it from one of the two",
                destination.name,
            )
