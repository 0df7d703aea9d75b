"""Conditions of destinations and exposed hosts: what is known of each, judged by the tables of `section_rules`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.diff.steering import DeferReason
from egressgateway.facts import Answers, Facts, Reached, Receipt
from egressgateway.live.children import (
    hosts_of,
    live_clients,
    mesh_routes,
    ports_to,
    section_of,
    targets_of,
    ways_of,
)
from egressgateway.live.controller_status import RouteAcceptance, route_statuses
from egressgateway.namespaces import EVERYONE
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.context import context_of
from egressgateway.plan.findings import Consequence, Finding, exposed_section, stored_condition
from egressgateway.plan.gateway.credentials import receipts_of
from egressgateway.plan.gateway.references import shared_service
from egressgateway.plan.gateway.target import target_of, workload_of
from egressgateway.plan.ir import Plan
from egressgateway.plan.providers import CONTROLLERS, provider_of
from egressgateway.refs import ObjectRef
from egressgateway.stages import Stage
from egressgateway.status.client_scopes import Sought, with_scopes
from egressgateway.status.clients import ClientEvidence, client_evidence, clients_fields, evidence_in
from egressgateway.status.condition import Condition, Observed, succeeded
from egressgateway.status.messages import joined, told_by_type
from egressgateway.status.section_rules import BY_TIME, PROGRAMMED, ROUTED, STEERED, SectionState

_UNCONNECTED: Final = frozenset({Reason.INGRESS_CLASS_NOT_FOUND, Reason.INGRESS_CLASS_INVALID})
_BY_CONTROLLER: Final = frozenset({DeferReason.NOT_TAKEN, DeferReason.HANDING_OVER})
_NOT_PROBED: Final = Reached("Unknown", Reason.PENDING, "the first checks have not finished")


@dataclass(frozen=True, slots=True)
class SectionView:
    """What is known of one object's sections."""

    facts: Facts
    acceptance: Acceptance
    plan: Plan
    observed: Observed

    def destination(self, destination: Destination) -> tuple[Condition, ...]:
        """The conditions of a destination."""
        section = destination.name
        if self.acceptance.is_rejected(section):
            by_this_gateway = not _goes_elsewhere(self.facts, section)
            rejected = self._rejected(section, _runs(self.facts, section), by_this_gateway=by_this_gateway)
            rejected = replace(rejected, severed=_severed(self.facts, section))
            return self._judged(
                section, replace(rejected, clients=self._clients(destination)) if rejected.retained else rejected
            )
        children = [child for child in self.plan.children if child.section in ("", section)]
        clients = {child.ref for child in children if child.section == section and child.stage is Stage.CLIENTS}
        written = self._written(section, (child.ref for child in children))
        was_steered = _before(self.facts, section, ConditionType.STEERED).get("status", "False") != "False"
        # A route that the gateway may not have is no way for clients; one that it had, it still has.
        gateway_has_routes = written.unaccepted is None or was_steered
        state = replace(
            written,
            conflicts=tuple(_of_type(ConditionType.STEERED, self.acceptance.of_section(section))),
            severed=_severed(self.facts, section),
            on_previous_route=self._is_on_previous_route(section, clients),
            in_place=self._stands(clients) and gateway_has_routes,
            pushing=section in self.facts.pushing,
            was_steered=was_steered,
            deferred=self._deferred(clients) or ("" if gateway_has_routes else _waiting_for(written).value),
            clients=self._clients(destination),
            lacking=self._lacking(section) if self.facts.gateway_pushed else "",
            asking=self._is_asking(section),
            by_time=self._is_by_time(section),
        )
        return (*self._judged(section, state), *self._reached(destination))

    def exposed(self, entry: ExposedHost) -> tuple[Condition, ...]:
        """The conditions of an exposed host."""
        section = exposed_section(entry.name)
        if self.acceptance.is_rejected(section):
            running = any(section_of(found) == section for found in self.facts.live.values())
            return self._judged(section, self._rejected(section, running, by_this_gateway=True))
        own = {child.ref for child in self.plan.children if child.section == section}
        shared = {child.ref for child in self.plan.children if not child.section}
        needs_pods = entry.gateway_ref is None or entry.backend.destination is not None
        written = self._written(section, own | shared if needs_pods else own)
        was_steered = _before(self.facts, section, ConditionType.STEERED).get("status", "False") != "False"
        gateway_has_routes = written.unaccepted is None or (written.push_failure is not None and written.was_programmed)
        state = replace(
            written,
            on_previous_route=self._stands(own) and not gateway_has_routes and was_steered,
            in_place=self._stands(own) and gateway_has_routes,
            deferred=self._deferred(own) or ("" if gateway_has_routes else _waiting_for(written).value),
            needs_pods=needs_pods,
        )
        return self._judged(section, state)

    def _judged(self, section: str, state: SectionState) -> tuple[Condition, ...]:
        findings = (*self.acceptance.of_object, *self.acceptance.of_section(section))
        accepted, resolved = (
            self._with_notices(section, _by_findings(type_, findings))
            for type_ in (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS)
        )
        return accepted, resolved, PROGRAMMED.judge(state), STEERED.judge(state)

    def _with_notices(self, section: str, condition: Condition) -> Condition:
        """What is True, and what should be known all the same."""
        notices = [each for each in self.acceptance.advisories if each.section == section]
        said = dict.fromkeys(each.message for each in notices if each.condition is condition.type)
        if condition.status != "True" or not said:
            return condition
        return replace(condition, message=joined((condition.message, *said)))

    def _rejected(self, section: str, running: bool, *, by_this_gateway: bool) -> SectionState:
        """`by_this_gateway`: according to what runs, requests use the class's gateway as it is now."""
        running = running and (self.acceptance.keep_all or section in self.acceptance.kept)
        unconnected = self._unconnected() if running and by_this_gateway else None
        return SectionState(
            rejected=True,
            retained=running and unconnected is None,
            unserved=self._unserved(section, by_this_gateway=by_this_gateway) if running else "",
            unconnected=unconnected,
            conflicts=tuple(_denials(self.facts)) if running and by_this_gateway else (),
            in_place=running,
            ready_pods=workload_of(self.facts).ready,
            obstacle=workload_of(self.facts).obstacle,
        )

    def _clients(self, destination: Destination) -> ClientEvidence:
        consumers = self.acceptance.consumers.get(destination.name, frozenset())
        # The object's own namespace exists: the object is in it.
        existing = {name for name in consumers if name in self.facts.namespaces or name == self.facts.key.namespace}
        before = evidence_in(_before(self.facts, destination.name, ConditionType.STEERED), ROUTED, BY_TIME)
        evidence = client_evidence(consumers, existing, self.facts.client_pods, before)
        target = target_of(self.facts)
        sought = Sought(
            namespace=self.facts.key.namespace,
            names=destination.names,
            ports=[port.port for port in destination.ports],
            gateway=target.namespace,
            hop=target.service_host,
            hop_ports=[target.hop_port, target.plain_port],
            by_rule=target.dedicated,
        )
        return with_scopes(evidence, consumers, self.facts.client_scopes, sought)

    def _lacking(self, section: str) -> str:
        """What a gateway pod lacks of the ways out of a destination, by its own word."""
        pod = self.facts.acknowledgement.lacking.get(section)
        if pod is not None:
            return f"{DeferReason.NOT_ACKNOWLEDGED.value}: {pod}"
        return DeferReason.WITHOUT_SECRET.value if Receipt.LACKING in receipts_of(self.facts, section) else ""

    def _is_asking(self, section: str) -> bool:
        """Whether pods are being asked for what clients of a destination need."""
        awaited = self.facts.acknowledgement.answers is Answers.AWAITED
        return awaited or Receipt.AWAITED in receipts_of(self.facts, section)

    def _is_by_time(self, section: str) -> bool:
        """
        Whether some gateway pod does not tell that it has the section's configuration. What the status says of it holds
        until all tell: a restart changes nothing, nor does an edit of another section.
        """
        answers, before = self.facts.acknowledgement.answers, _before(self.facts, section, ConditionType.STEERED)
        if before.get("status") == "True":
            return answers is not Answers.COMPLETE and BY_TIME in before.get("message", "")
        return answers is Answers.MISSING

    def _unserved(self, section: str, *, by_this_gateway: bool) -> str:
        """Why what runs does not serve clients all the same; empty where no reason is known."""
        context = context_of(self.facts)
        if context is None:
            return ""
        return provider_of(context.class_spec).why_unserved(context, section, by_this_gateway=by_this_gateway)

    def _unconnected(self) -> Finding | None:
        """Why APISIX has no routes, or gets none; None with another provider."""
        return next((each for each in self.acceptance.of_object if each.reason in _UNCONNECTED), None)

    def _written(self, section: str, refs: Iterable[ObjectRef]) -> SectionState:
        """The result of writing the section's objects."""
        wanted, observed, class_spec = sorted(refs), self.observed, self.facts.class_.spec or EgressGatewayClassSpec()
        open_ = [
            each for each in route_statuses(self.facts, wanted, CONTROLLERS) if each.word is not RouteAcceptance.PUSHED
        ]
        word = open_[0].word if open_ else RouteAcceptance.PUSHED
        return SectionState(
            foreign=next((ref for ref in wanted if ref in observed.foreign), None),
            failure=next((observed.failures[ref] for ref in wanted if ref in observed.failures), None),
            # If only a controller's answer is missing, its message says so.
            missing=any(ref in observed.missing and observed.held.get(ref) not in _BY_CONTROLLER for ref in wanted),
            error=next((observed.transient_errors[ref] for ref in wanted if ref in observed.transient_errors), None),
            unaccepted=open_[0].ref if open_ else None,
            refusal=open_[0].message if word is RouteAcceptance.REJECTED else None,
            push_failure=open_[0].message if word is RouteAcceptance.PUSH_FAILED else None,
            push_timeout=class_spec.push_timeout if word is RouteAcceptance.PUSHING else None,
            unknown_conditions=next((each.unknown_conditions for each in open_ if each.unknown_conditions), ()),
            was_programmed=_was_programmed(self.facts, section),
            overdue=any(each.overdue for each in open_),
            controller=open_[0].controller.name if open_ else "",
            version=open_[0].controller.version if open_ else "",
            why_silent=provider_of(class_spec).why_silent(class_spec),
            ready_pods=workload_of(self.facts).ready,
            obstacle=workload_of(self.facts).obstacle,
        )

    def _reached(self, destination: Destination) -> Iterator[Condition]:
        """For a destination with a probe. It describes the external side, and is no part of Ready."""
        if destination.probe is not None:
            found = self.facts.reached.get(destination.name) or _NOT_PROBED
            yield Condition(ConditionType.REACHABLE, found.status, found.reason, found.message)

    def _is_on_previous_route(self, section: str, clients: Set[ObjectRef]) -> bool:
        """Whether clients keep using the previous route, and are served there, while another is made ready."""
        if self._stands(clients) or not _runs(self.facts, section):
            return False
        return workload_of(self.facts).ready > 0 or _goes_elsewhere(self.facts, section)

    def _stands(self, refs: Set[ObjectRef]) -> bool:
        return bool(refs) and not refs & (self.observed.missing | self.observed.foreign)

    def _deferred(self, refs: Set[ObjectRef]) -> str:
        return next((self.observed.held[ref].value for ref in sorted(refs) if ref in self.observed.held), "")


def count_is_no_news(facts: Facts, consumers: Mapping[str, frozenset[str]]) -> bool:
    """
    Whether the first count of clients leaves the status as it was before they were counted.

    `consumers`: the namespaces that each destination serves.
    """
    status, pods, own = facts.gateway.status, facts.client_pods, facts.key.namespace
    for name, served in consumers.items():
        existing = {place for place in served if place in facts.namespaces or place == own}
        before = evidence_in(_before(facts, name, ConditionType.STEERED), ROUTED, BY_TIME)
        if client_evidence(served, existing, pods, before) != client_evidence(served, existing, None, before):
            return False
    before_counts = status.get("clients") or {}
    counts = clients_fields(frozenset[str]().union(*consumers.values()) - EVERYONE, pods, before_counts)
    return _kinds_of(counts) == _kinds_of(before_counts) and bool(counts) == bool(before_counts)


def _kinds_of(counts: Mapping[str, int]) -> set[str]:
    return {name for name, count in counts.items() if count}


def _by_findings(type_: ConditionType, findings: Iterable[Finding]) -> Condition:
    own = _of_type(type_, findings)
    if not own:
        return succeeded(type_)
    told = told_by_type(type_, (("", finding.message) for finding in own))
    return Condition(type_, own[0].status, own[0].reason, told)


def _of_type(type_: ConditionType, findings: Iterable[Finding]) -> Sequence[Finding]:
    # The finding that rejects the section comes first, above all one that ends it: other tools and people need it.
    return sorted((finding for finding in findings if finding.condition is type_), key=_weight)


def _weight(finding: Finding) -> tuple[bool, bool, bool]:
    return finding.unknown, finding.partial, finding.consequence is Consequence.KEEP


def _before(facts: Facts, section: str, type_: ConditionType) -> Mapping[str, Any]:
    """The stored condition of a section; empty for one that the status does not name."""
    return stored_condition(facts.gateway.status, section, type_)


def _waiting_for(written: SectionState) -> DeferReason:
    """For what a route waits that a controller has not handed over."""
    return DeferReason.NOT_TAKEN if written.push_timeout is None else DeferReason.HANDING_OVER


def _was_programmed(facts: Facts, section: str) -> bool:
    """Whether all was in place at this generation, and the status has not said since that it is not."""
    before = _before(facts, section, ConditionType.PROGRAMMED)
    return before.get("status", "False") != "False" and before.get("observedGeneration") == facts.gateway.generation


def _runs(facts: Facts, section: str) -> bool:
    """Whether every host that clients know of the section is sent to a hop."""
    routes = [found for found in mesh_routes(facts.live) if section_of(found) == section]
    entries = [found for found in live_clients(facts.live, "ServiceEntry") if section_of(found) == section]
    routed = {host for found in routes if any(ways_of(found)) for host in hosts_of(found)}
    return bool(entries) and all(hosts_of(found) <= routed for found in entries)


def _severed(facts: Facts, section: str) -> str:
    """
    Which port of the class's shared gateway clients of the section use, though its Service does not have it any more.

    Whatever the class says now: what counts is the port that the routes send to.
    """
    ref = shared_service(facts.class_.spec)
    if ref is None or ref not in facts.references.objects:
        return ""
    service, host = facts.references.objects[ref], target_of(facts).service_host
    routes = [found for found in mesh_routes(facts.live) if section_of(found) == section]
    used = frozenset(port for found in routes for port in ports_to(found, host))
    lost = sorted(used - {port["port"] for port in ((service or {}).get("spec") or {}).get("ports") or ()})
    if not lost:
        return ""
    why = "does not exist" if service is None else "has no such port"
    return f"clients are sent to port {lost[0]} of Service {ref.namespace}/{ref.name}, which {why}"


def _denials(facts: Facts) -> Iterator[Finding]:
    """
    Policies of the gateway by which it refuses every request: istiod makes such of an AuthorizationPolicy with the
    action CUSTOM whose provider the mesh does not know.
    """
    known = facts.mesh_config.authorizers
    for ref, found in facts.live.items():
        provider = ((found.get("spec") or {}).get("provider") or {}).get("name")
        if ref.kind == "AuthorizationPolicy" and provider and known is not None and provider not in known:
            message = f"the gateway refuses every request: the mesh has no extensionProvider {provider!r} any more"
            yield Finding(ConditionType.STEERED, Reason.AUTHORIZER_NOT_FOUND, message)


def _goes_elsewhere(facts: Facts, section: str) -> bool:
    """Whether clients of the section are sent to another gateway than its class gives it now."""
    service = target_of(facts).service_host
    routes = [found for found in mesh_routes(facts.live) if section_of(found) == section]
    return any(target != service for found in routes for target in targets_of(found))
