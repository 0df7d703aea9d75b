"""
What still runs of an object whose spec is not judged, and is not allowed any more.

What runs of an object stays while it is suspended, while its spec or class cannot be read, or while it cannot be served
now. But what the class forbids ends in all these cases, or an author could keep it by an edit. So the live children
themselves are judged: where they send clients, which clients, and by what means.

For an object whose class cannot be read, the policy of the class that served it last applies.

Of a child only the name may be known, because its namespace takes too much memory. Then the claims and consumers in the
status are judged in its place: a tenant who fills a namespace keeps nothing that is forbidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec, Feature
from egressgateway.api.reserved import parsed_address, reserved_name
from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.consumers import allowed_consumers, consumers_of
from egressgateway.contention.hostnames import is_wildcard
from egressgateway.contention.rights import read_claims
from egressgateway.facts import Facts
from egressgateway.live.children import hosts_of, namespaces_of_export, section_of, stage_of
from egressgateway.names import is_private
from egressgateway.namespaces import EVERY_NAMESPACE, export_to
from egressgateway.plan.checks.class_policy import (
    allows_address,
    allows_exposed_host,
    allows_feature,
    allows_gateway,
    allows_host,
    guard_consumers,
    guard_destination,
    guard_exposed,
    guard_namespace,
    guard_object,
)
from egressgateway.plan.checks.suffixes import is_public_suffix
from egressgateway.plan.context import PlanContext, context_of
from egressgateway.plan.findings import Consequence, Finding, exposed_section
from egressgateway.plan.gateway.draining import Draining
from egressgateway.plan.succession import new_owners
from egressgateway.refs import Key, Manifest, ObjectRef
from egressgateway.stages import Stage

_ACCEPTED: Final = ConditionType.ACCEPTED
_EXPOSED: Final = exposed_section("")
_CLIENT_KINDS: Final = ("ServiceEntry", "VirtualService")
_REMEDY: Final = "it is withdrawn; ask a platform admin to allow it, or remove it"


@dataclass(frozen=True, slots=True)
class Revoked:
    """
    Which of an object's live children are removed, though the others stay as they are.

    Attributes:
        findings: why, for the status.
        everything: all of them, as the object as a whole is not allowed.
        sections: sections whose children are all removed; `refs` are single children to remove: somebody removed their
            label of a section.
        exports: by ref, for clients' children that stay: an `exportTo` with the namespaces that are allowed.
        names: hosts and aliases that are removed; `namespaces` those whose clients are removed.
        given_up: names that another object of the namespace serves by now (`plan.succession`): they are removed, too.
    """

    findings: tuple[Finding, ...] = ()
    everything: bool = False
    sections: frozenset[str] = frozenset()
    refs: frozenset[ObjectRef] = frozenset()
    exports: Mapping[ObjectRef, tuple[str, ...]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()


NOTHING: Final = Revoked()


def revoked_from(facts: Facts, *, suspended: bool = False) -> Revoked:
    """
    What must be removed of an object that is kept as it is.

    Args:
        suspended: destinations do not expire, and the spec counts only where it runs: an edit takes no effect.
    """
    forbidden, owners = _forbidden_by_class(facts, suspended=suspended), new_owners(facts)
    findings = (*forbidden.findings, *_lost_to(owners, facts.gateway.spec))
    return replace(forbidden, findings=findings, given_up=frozenset(owners))


def _lost_to(owners: Mapping[str, Key], spec: EgressGatewaySpec | None) -> Iterator[Finding]:
    """What the spec still asks for of the names that other objects serve."""
    for index, destination in enumerate(spec.destinations if spec is not None else ()):
        for name in owners.keys() & set(destination.names):
            message = (
                f"spec.destinations[{index}].hosts: {name} belongs to EgressGateway {owners[name]}, which claimed it "
                "first; remove it from one of the two"
            )
            yield Finding(_ACCEPTED, Reason.HOST_CONFLICT, message, destination.name)


def _forbidden_by_class(facts: Facts, *, suspended: bool) -> Revoked:
    judged = _by_its_class(facts)
    if judged is None or judged.class_.spec is None:
        return NOTHING
    class_spec = judged.class_.spec
    context = context_of(judged)
    if context is None:
        found = guard_namespace(class_spec, str(judged.class_), judged.key.namespace, judged.namespace_labels)
    else:
        found = guard_object(context)
    ends = tuple(each for each in found if not each.section and _withdraws(each))
    if ends:
        return Revoked(ends, everything=True)
    by_spec = list(_by_spec(context, suspended=suspended)) if context is not None else []
    return _revoked(judged, class_spec, by_spec, frozenset(map(section_of, judged.live.values())))


def revoked_of(facts: Facts, class_spec: EgressGatewayClassSpec, kept: Collection[str]) -> Revoked:
    """
    What must be removed of the sections `kept` of an object whose other sections are served: they still run by its
    former spec.
    """
    return _revoked(facts, class_spec, [], kept) if kept else NOTHING


def less_revoked(retained: Draining, live: Mapping[ObjectRef, Manifest], revoked: Revoked) -> Draining:
    """`retained` without clients that are not allowed any more, or that another object serves."""
    narrowed = {ObjectRef(found["kind"], *_name_of(found)): found for found in retained.narrowed}
    for ref, exported in revoked.exports.items():
        if ref in narrowed or ref in retained.children:
            found = narrowed.get(ref, live[ref])
            narrowed[ref] = {**found, "spec": {**found["spec"], "exportTo": list(exported)}}
    ended = set[ObjectRef]()
    for ref in retained.children | narrowed.keys() if revoked.given_up else ():
        found = narrowed.get(ref, live[ref])
        if _sends_clients(ref, found) and hosts_of(found) & revoked.given_up:
            left = hosts_of(found) - revoked.given_up
            narrowed[ref] = {**found, "spec": {**found["spec"], "hosts": sorted(left)}}
            if not left:
                ended.add(ref)
    return replace(
        retained,
        children=retained.children - narrowed.keys(),
        narrowed=tuple(found for ref, found in narrowed.items() if ref not in ended),
        # The gateway's side for those clients is removed after they have been withdrawn.
        draining=retained.draining or bool(revoked.exports or revoked.given_up),
    )


def _by_its_class(facts: Facts) -> Facts | None:
    """`facts` with the class that may forbid something; None when no class can be read."""
    if facts.class_.spec is not None:
        return facts
    return None if facts.last_class is None else replace(facts, class_=facts.last_class)


def _withdraws(finding: Finding) -> bool:
    return finding.consequence is Consequence.WITHDRAW


def _by_spec(context: PlanContext, *, suspended: bool) -> Iterator[Finding]:
    """Findings about the sections of the spec."""
    spec, live = context.spec, context.live.objects
    steered = frozenset(host for found in _clients(live) for host in hosts_of(found))
    unread = any(map(_is_unread, _clients(live)))
    running = context.live.sections
    consumers = consumers_of(context.key, spec, context.class_spec, context.namespaces)
    for index, destination in enumerate(spec.destinations):
        if suspended and not unread and steered.isdisjoint(destination.names):
            continue
        where, end = f"spec.destinations[{index}]", destination.expires_at
        if not suspended and end is not None and end <= context.now:
            message = (
                f"{where}.expiresAt: expired at {format_instant(end)}; remove the destination, or set a later time"
            )
            yield Finding(_ACCEPTED, Reason.EXPIRED, message, destination.name)
        yield from filter(_withdraws, guard_destination(context, destination, where))
        # Partial, even if the spec leaves no consumer: the section's live children show whether one is left.
        denied = guard_consumers(context.class_name, consumers, destination)
        yield from (replace(found, partial=True) for found in denied)
    for found in guard_object(context):
        if (found.section in running or not suspended) and _withdraws(found) and found.section:
            yield found
    for index, exposed in enumerate(spec.expose):
        if exposed_section(exposed.name) in running or not suspended:
            yield from filter(_withdraws, guard_exposed(context, exposed, f"spec.expose[{index}]"))


def _revoked(
    facts: Facts, class_spec: EgressGatewayClassSpec, by_spec: list[Finding], judged: Collection[str]
) -> Revoked:
    findings, sections_in_spec = list(by_spec), _sections_in_spec(facts.gateway.spec)
    exports: dict[ObjectRef, tuple[str, ...]] = {}
    denied: set[str] = set(_denied(facts, class_spec, _consumers_before(facts.gateway.status)))
    gone, refs = {found.section for found in findings if not found.partial}, set[ObjectRef]()
    told = {(found.section, found.reason) for found in findings}

    def tell(ref: ObjectRef, section: str, reason: Reason, message: str, *, partial: bool = False) -> None:
        if not partial and section:
            gone.add(section)
        elif not partial:
            refs.add(ref)
        if (section, reason) not in told:
            told.add((section, reason))
            findings.append(
                Finding(_ACCEPTED, reason, message, section if section in sections_in_spec else "", partial)
            )

    for ref, found in sorted(facts.live.items()):
        section = section_of(found)
        if section not in judged:
            continue
        for reason, what in _forbidden(facts, class_spec, ref, found):
            tell(ref, section, reason, f"{ref}: {facts.class_} {what}; {_REMEDY}")
        if not _sends_clients(ref, found) or _is_unread(found):
            continue
        exported = namespaces_of_export(found, facts.key.namespace)
        not_allowed = _denied(facts, class_spec, exported)
        if not_allowed:
            left = allowed_consumers(facts.key, class_spec, facts.namespaces, exported)
            denied |= not_allowed
            message = (
                f"{ref}: {facts.class_} does not allow {_listed(not_allowed)} as a consumer; clients there are no "
                "longer sent through the gateway; ask a platform admin to add it to allowedConsumers"
            )
            tell(ref, section, Reason.CONSUMER_NOT_ALLOWED, message, partial=bool(left))
            if left:
                exports[ref] = tuple(export_to(left, facts.key.namespace))
    return Revoked(
        tuple(findings),
        sections=frozenset(gone),
        refs=frozenset(refs),
        exports={ref: to for ref, to in exports.items() if section_of(facts.live[ref]) not in gone and ref not in refs},
        names=frozenset(_names_of(facts, gone)) | _claims_not_allowed(facts.gateway.status, class_spec),
        namespaces=frozenset(denied),
    )


def _forbidden(
    facts: Facts, class_spec: EgressGatewayClassSpec, ref: ObjectRef, found: Manifest
) -> Iterator[tuple[Reason, str]]:
    """What the class forbids of one live child: reason, and the end of a sentence about the class."""
    if _is_unread(found) and _sends_clients(ref, found):
        yield from _forbidden_by_status(facts, class_spec)
    elif section_of(found).startswith(_EXPOSED):
        yield from _forbidden_to_expose(facts.key.namespace, class_spec, ref, found)
    elif _sends_clients(ref, found):
        yield from _forbidden_to_clients(class_spec, found)
    elif ref.kind == "ServiceEntry":
        for endpoint in (found.get("spec") or {}).get("endpoints") or ():
            address = endpoint.get("address") or ""
            if not allows_address(class_spec, address):
                named = parsed_address(address) is None
                yield Reason.HOST_NOT_ALLOWED if named else Reason.ENDPOINT_NOT_ALLOWED, f"does not allow {address}"
    elif ref.kind == "DestinationRule" and _skips_verification(found.get("spec")):
        yield from _denied_feature(class_spec, Feature.INSECURE_SKIP_VERIFY)


def _is_unread(found: Manifest) -> bool:
    """Whether only the name of a child is known: all children of ours that steer clients have a spec."""
    return "spec" not in found


def _forbidden_by_status(facts: Facts, class_spec: EgressGatewayClassSpec) -> Iterator[tuple[Reason, str]]:
    """What the class forbids of the object's claims, or of its consumers."""
    for host in sorted(_claims_not_allowed(facts.gateway.status, class_spec)):
        yield Reason.HOST_NOT_ALLOWED, f"does not allow {host}"
    denied = _denied(facts, class_spec, _consumers_before(facts.gateway.status))
    if denied:
        yield Reason.CONSUMER_NOT_ALLOWED, f"does not allow {_listed(denied)} as a consumer"


def may_be_steered(class_spec: EgressGatewayClassSpec, found: Manifest) -> bool:
    """
    Whether the class allows what a live child sends its clients.

    A child that its author wrote by hand may name what no spec could: then it is no evidence of what the object had.
    """
    public = [host for host in hosts_of(found) if not is_private(host)]
    return not any(_forbidden_to_clients(class_spec, found)) and not any(
        reserved_name(host) or _is_too_wide(class_spec, host) for host in public
    )


def _is_too_wide(class_spec: EgressGatewayClassSpec, host: str) -> bool:
    """Whether it takes names that the public may register, and no class allows it."""
    return is_public_suffix(host.removeprefix("*.")) and host not in (class_spec.allowed_hosts or ())


def _forbidden_to_clients(class_spec: EgressGatewayClassSpec, found: Manifest) -> Iterator[tuple[Reason, str]]:
    public = sorted(host for host in hosts_of(found) if not is_private(host))
    for host in public:
        if not allows_host(class_spec, host):
            yield Reason.HOST_NOT_ALLOWED, f"does not allow {host}"
    if any(map(is_wildcard, public)):
        yield from _denied_feature(class_spec, Feature.WILDCARDS)
    ports = (found.get("spec") or {}).get("ports") or ()
    addresses = (found.get("spec") or {}).get("addresses") or ()
    if any(port.get("protocol") == "TCP" for port in ports):
        yield from _denied_feature(class_spec, Feature.TCP)
        if not addresses:
            yield from _denied_feature(class_spec, Feature.TCP_WITHOUT_ADDRESSES)
    for address in addresses:
        if not allows_address(class_spec, address):
            yield Reason.ENDPOINT_NOT_ALLOWED, f"does not allow {address}"


def _denied_feature(class_spec: EgressGatewayClassSpec, feature: Feature) -> Iterator[tuple[Reason, str]]:
    if not allows_feature(class_spec, feature):
        yield Reason.FEATURE_NOT_ALLOWED, f"denies {feature}"


def _forbidden_to_expose(
    own: str, class_spec: EgressGatewayClassSpec, ref: ObjectRef, found: Manifest
) -> Iterator[tuple[Reason, str]]:
    yield from _denied_feature(class_spec, Feature.EXPOSE)
    if ref.kind != "VirtualService":
        return
    for host in sorted(hosts_of(found)):
        if not allows_exposed_host(class_spec, host):
            yield Reason.HOST_NOT_ALLOWED, f"does not allow {host} in allowedExposedHosts"
    for gateway in (found.get("spec") or {}).get("gateways") or ():
        namespace, slash, _ = gateway.partition("/")
        if slash and namespace != own and not allows_gateway(class_spec, gateway):
            yield Reason.GATEWAY_NOT_ALLOWED, f"does not allow {gateway} in allowedGateways"


def _skips_verification(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("insecureSkipVerify") is True or any(map(_skips_verification, value.values()))
    return isinstance(value, list) and any(map(_skips_verification, value))


def _denied(facts: Facts, class_spec: EgressGatewayClassSpec, served: frozenset[str]) -> frozenset[str]:
    """
    Those of `served` that the class does not allow. A namespace that does not exist has no clients, and is skipped.
    """
    known = frozenset(name for name in served if name == EVERY_NAMESPACE or name in facts.namespaces)
    return known - allowed_consumers(facts.key, class_spec, facts.namespaces, known)


def _consumers_before(status: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(str(entry.get("namespace", "")) for entry in status.get("consumers") or ())


def _sections_in_spec(spec: EgressGatewaySpec | None) -> frozenset[str]:
    """Sections that the status has an entry for; other findings count for the object."""
    if spec is None:
        return frozenset()
    return frozenset(
        (*(each.name for each in spec.destinations), *(exposed_section(each.name) for each in spec.expose))
    )


def _names_of(facts: Facts, sections: Collection[str]) -> Iterator[str]:
    for found in _clients(facts.live):
        if section_of(found) in sections:
            yield from (host for host in hosts_of(found) if not is_private(host))
    for destination in facts.gateway.spec.destinations if facts.gateway.spec else ():
        if destination.name in sections:
            yield from destination.names


def _claims_not_allowed(status: Mapping[str, Any], class_spec: EgressGatewayClassSpec) -> frozenset[str]:
    """For an object whose spec cannot be read: its claims alone show what it asks for."""
    hosts = (claim.host for claim in read_claims(status) if not claim.gateway)
    # Addresses of hosts are claimed as names are.
    return frozenset(host for host in hosts if not allows_address(class_spec, host))


def _clients(live: Mapping[ObjectRef, Manifest]) -> Iterable[Manifest]:
    return [found for ref, found in live.items() if _sends_clients(ref, found)]


def _sends_clients(ref: ObjectRef, found: Manifest) -> bool:
    exposed = section_of(found).startswith(_EXPOSED)
    return not exposed and ref.kind in _CLIENT_KINDS and stage_of(found) is Stage.CLIENTS


def _name_of(found: Manifest) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _listed(namespaces: frozenset[str]) -> str:
    return "every namespace" if EVERY_NAMESPACE in namespaces else f"namespace {', '.join(sorted(namespaces)[:5])}"
