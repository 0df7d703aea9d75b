"""
Judges an object: a chain of pure checks, each of which reports everything that it finds.

A finding rejects one section, the whole object, or only something of a section; the rest is planned. Nothing here is
raised, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination, Protocol
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.contention.claims import Claims, PortClaim, Stakes, claim_ports, own_rights, resolve_claims
from egressgateway.contention.consumers import (
    Consumers,
    allowed_consumers,
    asks_nobody,
    consumers_of,
    entries_of,
)
from egressgateway.facts import NEVER, Claimed, ClaimedPort, Facts, Rights, Since, places_of, since_in
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, namespaces_of_export, ports_of, section_of
from egressgateway.live.controller_status import next_answer_due
from egressgateway.names import is_private
from egressgateway.namespaces import overlap, union
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.checks.bounds import over_bounds
from egressgateway.plan.checks.class_policy import guard_consumers, guard_destination, guard_exposed, guard_object
from egressgateway.plan.checks.conflicts import (
    exposed_conflicts,
    exposed_port_conflicts,
    host_conflicts,
    port_conflicts,
    route_conflicts,
)
from egressgateway.plan.checks.external import external_notices
from egressgateway.plan.checks.references import (
    next_certificate_end,
    resolve_class,
    resolve_destination,
    resolve_exposed,
    unchecked_references,
)
from egressgateway.plan.checks.trial import trial_findings
from egressgateway.plan.context import PlanContext, context_of
from egressgateway.plan.findings import Advisory, Consequence, Finding, exposed_section
from egressgateway.plan.gateway.references import exposed_on, wanted_references
from egressgateway.plan.gateway.target import target_of
from egressgateway.plan.provider import Provider
from egressgateway.plan.providers import CONTROLLERS, provider_of
from egressgateway.plan.revoked import NOTHING, Revoked, may_be_steered, revoked_from, revoked_of
from egressgateway.plan.unsupported import (
    unsupported_in_class,
    unsupported_in_destination,
    unsupported_in_exposed,
    unsupported_in_spec,
)
from egressgateway.refs import Manifest

_ACCEPTED: Final = ConditionType.ACCEPTED
_RESOLVED: Final = ConditionType.RESOLVED_REFS


def accept(facts: Facts) -> Acceptance:
    """Judge the object as a whole, then each of its sections."""
    context = context_of(facts)
    of_object = tuple(_object_findings(facts, context))
    if context is None or of_object:
        spec = facts.gateway.spec
        withdraw = any(finding.consequence is Consequence.WITHDRAW for finding in of_object)
        revoked = NOTHING if withdraw else revoked_from(facts)
        withdraw = withdraw or revoked.everything
        claims = _claims_to_keep(facts, revoked, withdraw=withdraw)
        return Acceptance(
            (*of_object, *revoked.findings),
            (),
            claims,
            keep_all=not withdraw,
            revoked=revoked,
            next_look=None if spec is None or withdraw else _next_end(facts, spec),
        )
    return _Judge(facts, context, provider_of(context.class_spec)).accept()


def steered_names(facts: Facts) -> dict[str, frozenset[str]]:
    """Names that live children of the object steer now, and the namespaces of the clients that they steer."""
    return steered_of(mesh_routes(facts.live), facts.key.namespace)


def steered_of(routes: Iterable[Manifest], own: str) -> dict[str, frozenset[str]]:
    """Names that `routes` of the namespace `own` steer, and the namespaces of the clients that they steer."""
    steered: dict[str, frozenset[str]] = {}
    for route in routes:
        for host in hosts_of(route):
            steered[host] = union((steered.get(host, frozenset()), namespaces_of_export(route, own)))
    return steered


def _next_end(facts: Facts, spec: EgressGatewaySpec) -> datetime | None:
    """When the next destination expires."""
    moments = (found.expires_at for found in spec.destinations)
    return min((moment for moment in moments if moment is not None and moment > facts.now), default=None)


def _claims_to_keep(facts: Facts, revoked: Revoked, *, withdraw: bool) -> Claims:
    """
    While an object cannot be judged it keeps its claims on what it still asks for or steers, and claims nothing new.

    It keeps a revoked claim for as long as its clients are still steered.
    """
    before, live = own_rights(facts), registered_ports(facts)
    claims = resolve_claims(facts, Stakes() if withdraw else _stakes_to_keep(facts, before, revoked), before)
    kept = () if withdraw else _ports_to_keep(facts, before)
    ports, leaving = claim_ports(facts, before, kept, live)
    return claims.with_ports(ports, leaving=leaving)


def _stakes_to_keep(facts: Facts, before: Rights, revoked: Revoked) -> Stakes:
    spec, steered = facts.gateway.spec, steered_names(facts)
    asked = frozenset(name for destination in spec.destinations for name in destination.names) if spec else None
    serves = {
        name: _still_held(since, steered[name]) if name in steered else places_of(since)
        for name, since in before.names.items()
        if asked is None or name in asked or name in steered
    }
    if before.is_blank:
        # The status was lost: claim again what clients use now, as far as the class allows it.
        routes = [route for route in mesh_routes(facts.live) if _may_be_steered(facts, route)]
        allowed = steered_of(routes, facts.key.namespace)
        serves = {name: _consented(facts, served) for name, served in allowed.items() if not is_private(name)}
    serves = {name: served - revoked.namespaces for name, served in serves.items() if name not in revoked.names}
    exposes = frozenset(found for found in before.exposed if asked is None or found.host in asked)
    return Stakes(serves, exposes, steered)


def _ports_to_keep(facts: Facts, before: Rights, section: str | None = None) -> Iterator[PortClaim]:
    """
    The ports that clients are told of now (by `section`), as far as the object has claimed them.

    The status records a claim before the first child is written, so the author wrote by hand what goes beyond the
    claims.
    """
    if before.is_blank:
        entries = (found for found in _entries_of(facts, section) if _may_be_steered(facts, found))
        for port, served in ports_by_kind(entries).items():
            kept = _consented(facts, served)
            yield PortClaim(port, kept, frozenset(), kept)
        return
    for port, served in registered_ports(facts, section).items():
        since = before.ports.get(port, {})
        kept = _still_held(since, served)
        yield PortClaim(port, kept, frozenset(since) - places_of(since), kept)


def _still_held(since: Since, live: frozenset[str]) -> frozenset[str]:
    """Namespaces whose clients use what is claimed there."""
    return frozenset(place for place in overlap(live, places_of(since)) if since_in(since, place) != NEVER)


def _may_be_steered(facts: Facts, found: Manifest) -> bool:
    """
    Whether the class allows to send clients where a live child sends them; a class that cannot be read counts as
    allowing.
    """
    class_spec = facts.class_.spec
    return class_spec is None or may_be_steered(class_spec, found)


def _consented(facts: Facts, served: frozenset[str]) -> frozenset[str]:
    return allowed_consumers(facts.key, facts.class_.spec, facts.namespaces, served)


def registered_ports(facts: Facts, section: str | None = None) -> dict[ClaimedPort, frozenset[str]]:
    """Ports that clients are told of now (by `section`), and the namespaces of these clients."""
    return ports_by_kind(_entries_of(facts, section))


def _entries_of(facts: Facts, section: str | None) -> list[Manifest]:
    entries = live_clients(facts.live, "ServiceEntry")
    return [entry for entry in entries if section is None or section_of(entry) == section]


def ports_by_kind(entries: Iterable[Manifest]) -> dict[ClaimedPort, frozenset[str]]:
    """Ports that ServiceEntries register, and the namespaces of their clients."""
    live = ports_of(entries)
    return {
        ClaimedPort(number, tcp): served for tcp in (True, False) for number, served in live.speaking(tcp=tcp).items()
    }


def _object_findings(facts: Facts, context: PlanContext | None) -> Iterator[Finding]:
    """Findings about the object as a whole, in the order in which they are reported."""
    yield from _spec_is_known(facts)
    yield from _spec_is_valid(facts)
    yield from _class_exists(facts)
    if context is not None:
        yield from (finding for finding in guard_object(context) if not finding.section)
    yield from _is_supported(facts, context)
    yield from _is_within_bounds(context)
    yield from _class_is_resolved(facts)
    yield from _injection_is_enabled(facts)
    yield from _kinds_are_served(facts)


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
        yield from resolve_class(
            facts.class_.spec, str(facts.class_), target_of(facts), facts.references, facts.mesh_config
        )


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


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges the sections of one object that is accepted as a whole."""

    facts: Facts
    context: PlanContext
    provider: Provider

    @property
    def spec(self) -> EgressGatewaySpec:
        return self.context.spec

    @property
    def class_spec(self) -> EgressGatewayClassSpec:
        return self.context.class_spec

    def accept(self) -> Acceptance:
        asked = consumers_of(self.facts.key, self.spec, self.class_spec, self.facts.namespaces)
        consumers = asked.less(self.provider.excluded_namespaces(self.context), self.facts.namespaces)
        findings = [*self._own_findings(consumers), *self._excluded_consumers(asked, consumers)]
        before = own_rights(self.facts)
        findings += port_conflicts(self.facts, self.spec, consumers.served, _kept(findings), before)
        kept = _kept(findings)
        revoked = revoked_of(self.facts, self.class_spec, kept)
        findings += revoked.findings
        claims = resolve_claims(self.facts, self._stakes(findings, consumers, before), before)
        served = {
            destination.name: _won(claims, destination, consumers.served[destination.name])
            for destination in self.spec.destinations
        }
        findings += self._conflicted(findings, claims, served)
        late = revoked_of(self.facts, self.class_spec, _kept(findings) - kept)
        findings += late.findings
        out = _rejected_sections(findings)
        wanted = self._port_claims(findings, claims, consumers, served, before)
        ports, leaving = claim_ports(self.facts, before, wanted, registered_ports(self.facts))
        claims = claims.with_ports(ports, leaving=leaving)
        return Acceptance(
            findings=tuple(findings),
            served=tuple(destination for destination in self.spec.destinations if destination.name not in out),
            claims=claims,
            exposed=tuple(exposed for exposed in self.spec.expose if exposed_section(exposed.name) not in out),
            consumers=served,
            kept=_kept(findings) - self._orphaned(consumers),
            conflicted={
                destination.name: frozenset(destination.names)
                for destination in self.spec.destinations
                if _is_conflicted(findings, destination.name)
            },
            revoked=replace(revoked, exports={**revoked.exports, **late.exports}),
            advisories=(*self._notices(), *self.provider.advisories(self.context, asked)),
            next_look=self._next_look(),
        )

    def _orphaned(self, consumers: Consumers) -> frozenset[str]:
        """
        Destinations that still steer clients, but have no consumers any more: these left `access`.

        Their routes are not kept; otherwise the next object that serves these clients would find the names steered.
        """
        steered = steered_names(self.facts)
        return frozenset(
            destination.name
            for destination in self.spec.destinations
            if (reached := union(steered.get(name, frozenset()) for name in destination.names))
            and not overlap(reached, consumers.served[destination.name])
        )

    def _own_findings(self, consumers: Consumers) -> Iterator[Finding]:
        yield from (found for found in guard_object(self.context) if found.section)
        for index, destination in enumerate(self.spec.destinations):
            yield from self._destination(destination, f"spec.destinations[{index}]", consumers)
        for index, exposed in enumerate(self.spec.expose):
            yield from self._exposed(exposed, f"spec.expose[{index}]")
        yield from exposed_port_conflicts(self.spec)

    def _excluded_consumers(self, asked: Consumers, consumers: Consumers) -> Iterator[Finding]:
        """Namespaces that the spec names and that this gateway cannot serve; the others are served."""
        excluded = self.provider.excluded_namespaces(self.context)
        for destination in self.spec.destinations:
            if excluded & asked.served[destination.name]:
                message = f"spec.access.from: {self.provider.excluded_message(self.context)}"
                partial = bool(consumers.served[destination.name])
                yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message, destination.name, partial)

    def _destination(self, destination: Destination, where: str, consumers: Consumers) -> Iterator[Finding]:
        expires = destination.expires_at
        if expires is not None and expires <= self.facts.now:
            message = (
                f"{where}.expiresAt: expired at {format_instant(expires)}; remove the destination, or set a later time"
            )
            yield Finding(_ACCEPTED, Reason.EXPIRED, message, destination.name)
            return
        yield from guard_destination(self.context, destination, where)
        yield from guard_consumers(self.context.class_name, consumers, destination)
        if not consumers.served[destination.name]:
            yield from self._without_consumers(destination, where)
        for message in unsupported_in_destination(self.context, destination, where):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message, destination.name)
        yield from resolve_destination(self.context, destination, where)

    def _without_consumers(self, destination: Destination, where: str) -> Iterator[Finding]:
        """The destination is programmed anyway, and serves as soon as a namespace gets a matching label."""
        if not asks_nobody(self.facts.key, self.spec, destination.name, self.facts.namespaces):
            return
        selectors = [str(entry.namespace_selector) for entry in entries_of(self.spec, destination.name)]
        if selectors:
            why = f"no namespace has the labels {' or '.join(selectors)}; add them to one, or name it in namespaces"
        else:
            why = "every entry is for other destinations; add this one to the destinations of an entry, or remove it"
        message = f"spec.access.from: no client in the mesh may use {where}: {why}"
        yield Finding(ConditionType.STEERED, Reason.NO_CONSUMERS, message, destination.name, partial=True)

    def _exposed(self, exposed: ExposedHost, where: str) -> Iterator[Finding]:
        section = exposed_section(exposed.name)
        yield from guard_exposed(self.context, exposed, where)
        for message in unsupported_in_exposed(self.context, exposed, where):
            yield Finding(_ACCEPTED, Reason.UNSUPPORTED_VALUE, message, section)
        yield from resolve_exposed(self.context, exposed, where)

    def _stakes(self, findings: list[Finding], consumers: Consumers, before: Rights) -> Stakes:
        """Names of what is served, and of what is not served and still steered: no other object may have those yet."""
        out, steered = _rejected_sections(findings), steered_names(self.facts)
        serves: dict[str, frozenset[str]] = {}
        for destination in self.spec.destinations:
            for name in destination.claimed:
                if destination.name not in out:
                    serves[name] = consumers.served[destination.name]
                elif _keeps(findings, destination.name) and name in steered:
                    serves[name] = (
                        _consented(self.facts, steered[name])
                        if before.is_blank
                        else _still_held(before.names.get(name, {}), steered[name])
                    )
        exposes = frozenset(
            Claimed(host, gateway)
            for exposed in self.spec.expose
            if (exposed_section(exposed.name) not in out or _keeps(findings, exposed_section(exposed.name)))
            and (gateway := exposed_on(self.facts, exposed))
            for host in exposed.hosts
        )
        return Stakes(serves, exposes, steered)

    def _port_claims(
        self,
        findings: list[Finding],
        claims: Claims,
        consumers: Consumers,
        served: Mapping[str, frozenset[str]],
        before: Rights,
    ) -> Iterator[PortClaim]:
        """Ports of what is served, and of what is not served and continues as it is."""
        out = _rejected_sections(findings)
        for destination in self.spec.destinations:
            name = destination.name
            if name not in out:
                lost = frozenset(place for host in destination.claimed for place in claims.lost.get(host, ()))
                for port in destination.contended_ports:
                    claimed = ClaimedPort(port.port, port.protocol is Protocol.TCP)
                    yield PortClaim(claimed, consumers.served[name], lost, served[name])
            elif _keeps(findings, name):
                yield from _ports_to_keep(self.facts, before, name)

    def _conflicted(
        self, findings: list[Finding], claims: Claims, served: Mapping[str, frozenset[str]]
    ) -> list[Finding]:
        out = _rejected_sections(findings)
        found: list[Finding] = []
        for index, destination in enumerate(self.spec.destinations):
            if destination.name not in out:
                where, left = f"spec.destinations[{index}]", served[destination.name]
                found += host_conflicts(claims, destination, where, left)
                found += route_conflicts(self.facts, destination, where, left)
        for index, exposed in enumerate(self.spec.expose):
            gateway = exposed_on(self.facts, exposed)
            if gateway and exposed_section(exposed.name) not in out:
                found += exposed_conflicts(claims, exposed, gateway, f"spec.expose[{index}]")
        out |= _rejected_sections(found)
        for index, exposed in enumerate(self.spec.expose):
            behind = exposed.backend.destination
            if behind is not None and behind.name in out and exposed_section(exposed.name) not in out:
                message = (
                    f"spec.expose[{index}].backend.destination: destination {behind.name} is not served; correct what "
                    "its own conditions report"
                )
                found.append(Finding(_RESOLVED, Reason.PENDING, message, exposed_section(exposed.name)))
        return found

    def _notices(self) -> Iterator[Advisory]:
        for index, destination in enumerate(self.spec.destinations):
            for number, port in enumerate(destination.ports):
                if port.tls is not None and port.tls.insecure_skip_verify:
                    message = (
                        f"spec.destinations[{index}].ports[{number}].tls.insecureSkipVerify: the certificate of "
                        f"{destination.hosts[0]} is not verified, so anyone on the network path can read and answer "
                        "requests"
                    )
                    yield Advisory(message, destination.name, Reason.INSECURE_SKIP_VERIFY)
        if self.facts.left_out:
            yield Advisory(
                f"namespace {self.facts.key.namespace}: the operator treats {self.facts.left_out} VirtualServices, "
                "ServiceEntries or objects with its own labels as empty, because they are too large or too many; "
                "delete unused ones, or ask a platform admin to raise --namespace-memory-mib"
            )
        for found in trial_findings(self.facts) or ():
            yield Advisory(f"not in force yet: {found.message}", found.section)
        yield from external_notices(self.context)
        yield from unchecked_references(self.context, wanted_references(self.facts))
        if self.facts.mesh_config.outbound_policy == "ALLOW_ANY":
            yield Advisory(
                "the mesh's outboundTrafficPolicy is ALLOW_ANY: traffic to ports that are not listed here leaves the "
                "mesh directly"
            )
        limited = self.spec.access is not None and any(entry.paths for entry in self.spec.access.from_)
        if limited and not self.facts.mesh_config.normalizes_slashes:
            yield Advisory(
                "access.from.paths: an encoded slash (%2F) in a path is compared without decoding it; set the mesh's "
                "pathNormalization to DECODE_AND_MERGE_SLASHES"
            )

    def _next_look(self) -> datetime | None:
        end, certificate = _next_end(self.facts, self.spec), next_certificate_end(self.facts.references, self.facts.now)
        silence = next_answer_due(self.facts, CONTROLLERS)
        later = [moment for moment in (end, certificate, silence) if moment is not None and moment > self.facts.now]
        return min(later, default=None)


def _won(claims: Claims, destination: Destination, served: frozenset[str]) -> frozenset[str]:
    """Of the namespaces that a destination serves, those in which the object has the right to all of its names."""
    for name in destination.claimed:
        served = overlap(served, claims.won.get(name, served))
    return served


def _rejected_sections(findings: Iterable[Finding]) -> frozenset[str]:
    return frozenset(finding.section for finding in findings if finding.section and not finding.partial)


def _is_conflicted(findings: Iterable[Finding], section: str) -> bool:
    own = [finding for finding in findings if finding.section == section and not finding.partial]
    return bool(own) and all(finding.reason is Reason.HOST_CONFLICT for finding in own)


def _kept(findings: Collection[Finding]) -> frozenset[str]:
    """Sections that are not planned and continue as they are."""
    return frozenset(section for section in _rejected_sections(findings) if _keeps(findings, section))


def _keeps(findings: Iterable[Finding], section: str) -> bool:
    own = [finding for finding in findings if finding.section == section and not finding.partial]
    return bool(own) and all(finding.consequence is Consequence.KEEP for finding in own)
