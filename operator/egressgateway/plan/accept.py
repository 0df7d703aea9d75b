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
from egressgateway.contention.claims import (
    Claims,
    PortClaim,
    Stakes,
    claim_ports,
    consented,
    own_rights,
    resolve_claims,
)
from egressgateway.contention.consumers import Consumers, asks_nobody, consumers_of, entries_of
from egressgateway.contention.succession import let_go
from egressgateway.facts import Claimed, ClaimedPort, Facts, Rights
from egressgateway.live.children import section_of, steered_names
from egressgateway.live.controller_status import next_answer_due
from egressgateway.namespaces import overlap, union
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.checks.class_policy import guard_consumers, guard_destination, guard_exposed, guard_object
from egressgateway.plan.checks.conflicts import exposed_conflicts, host_conflicts, route_conflicts
from egressgateway.plan.checks.external import external_notices
from egressgateway.plan.checks.port_conflicts import exposed_port_conflicts, port_conflicts
from egressgateway.plan.checks.references import (
    next_certificate_end,
    resolve_destination,
    resolve_exposed,
    unchecked_references,
)
from egressgateway.plan.checks.trial import trial_findings
from egressgateway.plan.context import PlanContext, context_of
from egressgateway.plan.findings import Advisory, Consequence, Finding, exposed_section
from egressgateway.plan.gateway.references import exposed_on, wanted_references
from egressgateway.plan.handover import names_handed_over
from egressgateway.plan.held import claims_to_keep, ports_to_keep, registered_ports, still_held
from egressgateway.plan.provider import Provider
from egressgateway.plan.providers import CONTROLLERS, provider_of
from egressgateway.plan.revoked import NOTHING, Revoked, revoked_from, revoked_of
from egressgateway.plan.succession import new_owners
from egressgateway.plan.unsupported import unsupported_in_destination, unsupported_in_exposed
from egressgateway.plan.whole_object import object_findings

_ACCEPTED: Final = ConditionType.ACCEPTED
_RESOLVED: Final = ConditionType.RESOLVED_REFS


def accept(facts: Facts) -> Acceptance:
    """Judge the object as a whole, then each of its sections."""
    context = context_of(facts)
    of_object = tuple(object_findings(facts, context))
    if context is None or of_object:
        spec = facts.gateway.spec
        withdraw = any(finding.consequence is Consequence.WITHDRAW for finding in of_object)
        revoked = NOTHING if withdraw else revoked_from(facts)
        withdraw = withdraw or revoked.everything
        claims = claims_to_keep(facts, revoked, withdraw=withdraw)
        return Acceptance(
            (*of_object, *revoked.findings),
            (),
            claims,
            keep_all=not withdraw,
            revoked=revoked,
            next_look=None if spec is None or withdraw else _next_end(facts, spec),
        )
    return _Judge(facts, context, provider_of(context.class_spec)).accept()


def _next_end(facts: Facts, spec: EgressGatewaySpec) -> datetime | None:
    """When the next destination expires."""
    moments = (found.expires_at for found in spec.destinations)
    return min((moment for moment in moments if moment is not None and moment > facts.now), default=None)


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
        planned = {name: places for name, places in served.items() if name not in out}
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
            revoked=replace(
                revoked, exports={**revoked.exports, **late.exports}, given_up=frozenset(new_owners(self.facts))
            ),
            handed_over=names_handed_over(self.facts, self._revoked_of_all(), planned),
            advisories=(*self._notices(), *self.provider.advisories(self.context, asked)),
            next_look=self._next_look(),
        )

    def _revoked_of_all(self) -> Revoked:
        """What the class does not allow of all that runs; where no name moves, nobody asks for it."""
        if not self.facts.handovers:
            return NOTHING
        return revoked_of(self.facts, self.class_spec, frozenset(map(section_of, self.facts.live.values())))

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
                        consented(self.facts, steered[name])
                        if before.is_blank
                        else still_held(before.names.get(name, {}), steered[name])
                    )
        exposes = frozenset(
            Claimed(host, gateway)
            for exposed in self.spec.expose
            if (exposed_section(exposed.name) not in out or _keeps(findings, exposed_section(exposed.name)))
            and (gateway := exposed_on(self.facts, exposed))
            for host in exposed.hosts
        )
        return Stakes(serves, exposes, steered, let_go(self.facts.gateway, before.names))

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
                yield from ports_to_keep(self.facts, before, name)

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
