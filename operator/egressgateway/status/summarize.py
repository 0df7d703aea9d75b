"""
Conditions of an object and of its parts, from what was found and what was seen (api.md "Status of EgressGateway").

`True` is only what was observed: Programmed, that every object of the part stands as planned; Steered, that clients are
sent through the gateway and a pod serves them. A part that is kept although it is not accepted is judged by what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason, stalls
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.contention.rights import rights_fields
from egressgateway.diff.steering import DeferReason
from egressgateway.facts import Facts, Reached
from egressgateway.live.children import hosts_of, live_clients, mesh_routes, part_of, targets_of, ways_of
from egressgateway.live.controller_status import PATIENCE, RouteAcceptance, route_statuses
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.context import context_of
from egressgateway.plan.findings import Consequence, Finding, exposed_part
from egressgateway.plan.gateway.references import shared_service
from egressgateway.plan.gateway.target import target_of, workload_of
from egressgateway.plan.ir import Plan
from egressgateway.plan.pods.workload import desired_replicas, effective_settings, exposed_service_name
from egressgateway.plan.providers import CONTROLLERS, provider_of
from egressgateway.refs import CHILD_BY_KIND, Manifest, ObjectRef
from egressgateway.stages import Stage
from egressgateway.status.messages import joined, shortened, told_once

_OBJECT_TYPES: Final = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED)
_MOVING: Final = "clients are sent as before, until all that is asked for now is in place"
_NOT_PROBED: Final = Reached("Unknown", Reason.PENDING, "the first checks have not ended")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its times: `merge` knows what was there before."""

    type: ConditionType
    status: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """
    What became of a plan: refs that are not in place, and why as far as that is known.

    `failures` are the server's refusals, `transient_errors` what it could not do just now; both in its words.
    """

    missing: frozenset[ObjectRef] = frozenset()
    failures: Mapping[ObjectRef, str] = field(default_factory=dict)
    transient_errors: Mapping[ObjectRef, str] = field(default_factory=dict)
    foreign: frozenset[ObjectRef] = frozenset()
    held: Mapping[ObjectRef, DeferReason] = field(default_factory=dict)


Part = tuple[str, tuple[Condition, ...]]
"""A destination or exposed host by its name, and its conditions."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the status says, without times of transition. `parts` are destinations."""

    conditions: tuple[Condition, ...]
    parts: tuple[Part, ...]
    fields: Mapping[str, Any]
    exposed: tuple[Part, ...] = ()


def summarize(facts: Facts, acceptance: Acceptance, plan: Plan, observed: Observed) -> Summary:
    """The status of one object at this moment."""
    spec = facts.gateway.spec
    view = _View(facts, acceptance, plan, observed)
    parts = tuple((found.name, view.destination(found.name)) for found in (spec.destinations if spec else ()))
    exposed = tuple((found.name, view.exposed(found)) for found in (spec.expose if spec else ()))
    counted = (
        *((name, conditions) for name, conditions in parts if not _is_expired(acceptance, name)),
        *((exposed_part(name), conditions) for name, conditions in exposed),
    )
    conditions = _object_conditions(facts, acceptance, counted)
    return Summary(conditions, parts, _fields(facts, acceptance, plan, parts), exposed)


@dataclass(frozen=True, slots=True)
class _View:
    """What is known of one object's parts."""

    facts: Facts
    acceptance: Acceptance
    plan: Plan
    observed: Observed

    def destination(self, part: str) -> tuple[Condition, ...]:
        if self.acceptance.is_taken_out(part):
            by_this_gateway = not _goes_elsewhere(self.facts, part)
            return self._taken_out(part, _runs(self.facts, part), by_this_gateway=by_this_gateway)
        children = [child for child in self.plan.children if child.part in ("", part)]
        clients = {child.ref for child in children if child.part == part and child.stage is Stage.CLIENTS}
        return (
            *self._specs(part),
            _programmed(self.facts, [child.ref for child in children], self.observed),
            self._conflicting(part) or self._moving(part, clients) or self._steered(clients),
            *self._reached(part),
        )

    def exposed(self, entry: ExposedHost) -> tuple[Condition, ...]:
        part = exposed_part(entry.name)
        if self.acceptance.is_taken_out(part):
            running = any(part_of(found) == part for found in self.facts.live.values())
            return self._taken_out(part, running, by_this_gateway=True)
        own = {child.ref for child in self.plan.children if child.part == part}
        shared = {child.ref for child in self.plan.children if not child.part}
        stands, hold = self._stands(own), self._hold(own)
        needs_pods = entry.gateway_ref is None or entry.backend.destination is not None
        return (
            *self._specs(part),
            _programmed(self.facts, own | (shared if needs_pods else set()), self.observed),
            _steered(self.facts, stands, hold) if needs_pods or not stands else _succeeded(ConditionType.STEERED),
        )

    def _specs(self, part: str) -> tuple[Condition, Condition]:
        findings = (*self.acceptance.of_object, *self.acceptance.of_part(part))
        advisories = [notice.message for notice in self.acceptance.advisories if notice.part == part]
        accepted = _specs(ConditionType.ACCEPTED, findings)
        if accepted.status == "True" and advisories:
            accepted = replace(accepted, message=joined((accepted.message, *advisories)))
        return accepted, _specs(ConditionType.RESOLVED_REFS, findings)

    def _taken_out(self, part: str, running: bool, *, by_this_gateway: bool) -> tuple[Condition, ...]:
        """`by_this_gateway`: by what runs, requests go through the class's gateway as it is now."""
        running = running and (self.acceptance.keep_all or part in self.acceptance.kept)
        unserved = self._unserved(part, by_this_gateway=by_this_gateway) if running else ""
        if unserved:
            steered = Condition(ConditionType.STEERED, "False", Reason.UNSUPPORTED_VALUE, unserved)
        else:
            steered = _steered(self.facts, running, None)
        return (*self._specs(part), _kept_programmed(running), steered)

    def _unserved(self, part: str, *, by_this_gateway: bool) -> str:
        """Why what runs serves nobody for all that; empty where nothing is known against it."""
        context = context_of(self.facts)
        if context is None:
            return ""
        return provider_of(context.class_spec).why_unserved(context, part, by_this_gateway=by_this_gateway)

    def _reached(self, part: str) -> Iterator[Condition]:
        """Of a destination with a probe. It is the external side's condition, and no part of Ready."""
        spec = self.facts.gateway.spec
        if not any(found.name == part and found.probe is not None for found in (spec.destinations if spec else ())):
            return
        found = self.facts.reached.get(part) or _NOT_PROBED
        yield Condition(ConditionType.REACHABLE, found.status, found.reason, found.message)

    def _steered(self, clients: Set[ObjectRef]) -> Condition:
        return _steered(self.facts, self._stands(clients), self._hold(clients))

    def _moving(self, part: str, clients: Set[ObjectRef]) -> Condition | None:
        """
        Clients go on by the way that they had, while another is made ready: that they are not yet sent as asked is no
        reason to say that they are not sent.
        """
        if self._stands(clients) or not _runs(self.facts, part):
            return None
        if workload_of(self.facts).ready == 0 and not _goes_elsewhere(self.facts, part):
            return None
        return Condition(ConditionType.STEERED, "Unknown", Reason.PENDING, _MOVING)

    def _conflicting(self, part: str) -> Condition | None:
        """Somebody else's route in the way: whatever stands of ours, clients may go by that one."""
        found = [item for item in self.acceptance.of_part(part) if item.condition is ConditionType.STEERED]
        return _specs(ConditionType.STEERED, found) if found else None

    def _stands(self, refs: Set[ObjectRef]) -> bool:
        return bool(refs) and not refs & (self.observed.missing | self.observed.foreign)

    def _hold(self, refs: Set[ObjectRef]) -> DeferReason | None:
        return next((self.observed.held[ref] for ref in sorted(refs) if ref in self.observed.held), None)


def _specs(type_: ConditionType, findings: Sequence[Finding]) -> Condition:
    # What takes out the part comes first, above all what ends it: it is what others, and people, have to know.
    own = sorted((finding for finding in findings if finding.condition is type_), key=_weight)
    if not own:
        return _succeeded(type_)
    return Condition(type_, "False", own[0].reason, _told(type_, (("", finding.message) for finding in own)))


def _weight(finding: Finding) -> tuple[bool, bool]:
    return finding.partial, finding.consequence is Consequence.KEEP


def _told(type_: ConditionType, messages: Iterable[tuple[str, str]]) -> str:
    return told_once(messages, whatever_field=type_ is ConditionType.RESOLVED_REFS)


def _programmed(facts: Facts, refs: Iterable[ObjectRef], observed: Observed) -> Condition:
    wanted = sorted(refs)
    foreign = [ref for ref in wanted if ref in observed.foreign]
    failed = [ref for ref in wanted if ref in observed.failures]
    if foreign:
        message = (
            f"{foreign[0]} exists and is not this object's: made by hand, or owned by another; "
            "delete or rename it, or rename this object"
        )
        return Condition(ConditionType.PROGRAMMED, "False", Reason.RESOURCE_CONFLICT, message)
    if failed:
        return Condition(ConditionType.PROGRAMMED, "False", Reason.APPLY_FAILED, observed.failures[failed[0]])
    # What waits for a controller's word alone is told with that.
    if any(ref in observed.missing and observed.held.get(ref) is not DeferReason.NOT_TAKEN for ref in wanted):
        why = next((f": {observed.transient_errors[ref]}" for ref in wanted if ref in observed.transient_errors), "")
        return Condition(ConditionType.PROGRAMMED, "False", Reason.PENDING, f"not every object is in place yet{why}")
    return _by_verdict(facts, wanted) or _succeeded(ConditionType.PROGRAMMED)


def _by_verdict(facts: Facts, refs: Iterable[ObjectRef]) -> Condition | None:
    """What stands against objects that are in place: their own controller refuses one, or has not taken it."""
    open_ = [
        verdict for verdict in route_statuses(facts, refs, CONTROLLERS) if verdict.word is not RouteAcceptance.ACCEPTED
    ]
    if not open_:
        return None
    first = open_[0]
    controller = first.controller.name
    if first.word is RouteAcceptance.REJECTED:
        reason, message = Reason.ROUTE_REJECTED, f"{controller} refuses {first.ref}: {first.message}"
    elif any(verdict.overdue for verdict in open_):
        class_spec = facts.class_.spec or EgressGatewayClassSpec()
        question = provider_of(class_spec).why_silent(class_spec)
        reason = Reason.ROUTE_IGNORED
        message = f"no controller says anything of {first.ref}, for {PATIENCE.seconds} seconds and more; {question}"
    else:
        reason, message = Reason.PENDING, f"{controller} has not taken {first.ref} yet"
    return Condition(ConditionType.PROGRAMMED, "False", reason, message)


_NOT_PROGRAMMED: Final = Condition(
    ConditionType.PROGRAMMED, "False", Reason.PENDING, "nothing is programmed for what is not accepted"
)
"""Of a part that was taken out: a consequence of what is said elsewhere."""


def _kept_programmed(running: bool) -> Condition:
    if running:
        return Condition(
            ConditionType.PROGRAMMED, "True", Reason.PROGRAMMED, "what was programmed before is left as it was"
        )
    return _NOT_PROGRAMMED


def _steered(facts: Facts, in_place: bool, hold: DeferReason | None) -> Condition:
    if workload_of(facts).ready == 0:
        message = "no gateway pod is ready" if in_place else DeferReason.GATEWAY_NOT_READY.value
        return Condition(ConditionType.STEERED, "False", Reason.GATEWAY_NOT_READY, message)
    if in_place:
        return _succeeded(ConditionType.STEERED)
    return Condition(
        ConditionType.STEERED,
        "False",
        Reason.PENDING,
        hold.value if hold else "clients are not sent through the gateway",
    )


def _object_conditions(facts: Facts, acceptance: Acceptance, counted: Sequence[Part]) -> tuple[Condition, ...]:
    own = tuple(_of_object(type_, acceptance, counted) for type_ in _OBJECT_TYPES)
    ready = _ready(facts, acceptance, own, counted)
    return (*own, ready, *_abnormal(acceptance, ready))


def _of_object(type_: ConditionType, acceptance: Acceptance, parts: Sequence[Part]) -> Condition:
    """True when it is true of every part; else the first reason, with the parts' names."""
    findings = [finding for finding in acceptance.of_object if finding.condition is type_]
    if findings:
        return Condition(type_, "False", findings[0].reason, joined(finding.message for finding in findings))
    bad = [(name, condition) for name, conditions in parts for condition in conditions if _is_bad(condition, type_)]
    if bad:
        told = ((name, message) for name, condition in bad for message in _messages(name, condition, acceptance))
        return Condition(type_, "False", bad[0][1].reason, _told(type_, told))
    if not parts and acceptance.of_object:
        # A spec that cannot be read has no parts to speak for it.
        return Condition(type_, "Unknown", Reason.PENDING, "not looked at: the object is not accepted")
    return _succeeded(type_)


def _messages(name: str, condition: Condition, acceptance: Acceptance) -> list[str]:
    """What `condition` of part `name` joins: the findings that it is made of, else its own words."""
    found = [item for item in acceptance.of_part(name) if item.condition is condition.type]
    return [item.message for item in sorted(found, key=lambda item: item.partial)] or [condition.message]


_SUCCESS: Final = {
    ConditionType.ACCEPTED: (Reason.ACCEPTED, "the spec is valid and allowed"),
    ConditionType.RESOLVED_REFS: (Reason.RESOLVED_REFS, "everything that it needs is there"),
    ConditionType.PROGRAMMED: (Reason.PROGRAMMED, "every object is in place"),
    ConditionType.STEERED: (Reason.STEERED, "clients are sent through the gateway"),
}


def _succeeded(type_: ConditionType) -> Condition:
    reason, message = _SUCCESS[type_]
    return Condition(type_, "True", reason, message)


def _ready(
    facts: Facts,
    acceptance: Acceptance,
    own: Sequence[Condition],
    parts: Sequence[Part],
) -> Condition:
    bad = [condition for condition in own if condition.status != "True"]
    unsteered = [c for _, conditions in parts for c in conditions if _is_bad(c, ConditionType.STEERED)]
    if not bad and not unsteered:
        return Condition(ConditionType.READY, "True", Reason.READY, _ready_message(facts, acceptance))
    if all(condition.reason is Reason.PENDING for condition in bad) and all(c.status == "Unknown" for c in unsteered):
        # What ran before runs on: Ready is neither lost, nor is it won.
        return Condition(
            ConditionType.READY, "Unknown", Reason.PENDING, joined({c.message: None for c in (*bad, *unsteered)})
        )
    serving = sum(_serves(conditions) for _, conditions in parts)
    if any(_serves_somebody(conditions) for _, conditions in parts):
        message = joined(f"{c.type}: {c.message}" for c in _causes(acceptance, parts) or bad or unsteered)
        message = f"{serving}/{len(parts)} parts serve; {message}"
        return Condition(ConditionType.READY, "False", Reason.PARTIALLY_READY, message)
    # While nothing serves, pods that are not ready say more than objects that wait for them.
    waiting = [c for c in unsteered if c.reason is Reason.GATEWAY_NOT_READY]
    first = next((c for c in bad if c.reason is not Reason.PENDING), None) or (waiting or bad or unsteered)[0]
    return Condition(ConditionType.READY, "False", first.reason, first.message)


def _causes(acceptance: Acceptance, parts: Sequence[Part]) -> list[Condition]:
    """What is wrong with the object, without what only follows from it."""
    causes = [(name, tuple(c for c in conditions if c != _NOT_PROGRAMMED)) for name, conditions in parts]
    own = (_of_object(type_, acceptance, causes) for type_ in _OBJECT_TYPES)
    return [condition for condition in own if condition.status != "True"]


def _ready_message(facts: Facts, acceptance: Acceptance) -> str:
    if not acceptance.served and not acceptance.exposed:
        return "no destination is left to serve"
    counts = [
        f"{workload_of(facts).ready}/{_replicas(facts)} gateway pods ready" if _has_gateway(acceptance) else "",
        _counted(len(acceptance.served), "destination", "routed"),
        _counted(len(acceptance.exposed), "host entry", "exposed"),
    ]
    advisories = (notice.message for notice in acceptance.advisories if not notice.part)
    return joined((", ".join(filter(None, counts)), *advisories))


def _counted(number: int, noun: str, verb: str) -> str:
    if not number:
        return ""
    plural = {"destination": "destinations", "host entry": "host entries"}
    return f"{number} {noun if number == 1 else plural[noun]} {verb}"


def _has_gateway(acceptance: Acceptance) -> bool:
    """Whether some part goes through a gateway of the class; hosts on other people's Gateways need none."""
    return bool(acceptance.served) or any(entry.gateway_ref is None for entry in acceptance.exposed)


def _abnormal(acceptance: Acceptance, ready: Condition) -> tuple[Condition, ...]:
    """Reconciling or Stalled, only while abnormal and never both: kstatus and Flux read them so."""
    if ready.status == "True":
        return ()
    stalling = [
        finding
        for finding in acceptance.findings
        if (finding.needs_edit or stalls(finding.reason)) and finding.reason is not Reason.EXPIRED
    ]
    if stalling:
        message = told_once((finding.part, finding.message) for finding in stalling)
        return (Condition(ConditionType.STALLED, "True", stalling[0].reason, message),)
    return (Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, ready.message),)


def _fields(facts: Facts, acceptance: Acceptance, plan: Plan, parts: Sequence[Part]) -> dict[str, Any]:
    counted = [conditions for name, conditions in parts if not _is_expired(acceptance, name)]
    serving = sum(_serves(conditions) for conditions in counted)
    spec = facts.gateway.spec
    hosts = sorted({host for found in (spec.destinations if spec else ()) for host in found.hosts})
    hosts = hosts or sorted({host for found in (spec.expose if spec else ()) for host in found.hosts})
    fields: dict[str, Any] = {
        "className": _class_name(facts),
        "provider": str(facts.class_.spec.data_plane) if facts.class_.spec is not None else None,
        "summary": {"destinations": f"{serving}/{len(counted)}", "hosts": shortened(hosts)},
        **rights_fields(acceptance.claims.rights),
        "gateway": _gateway(facts, acceptance),
        "addresses": _addresses(facts, acceptance),
        "remoteChildren": remote_children(facts, plan),
    }
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _class_name(facts: Facts) -> str | None:
    """The class that serves the object; while the one that it names cannot be read, the one that did so last."""
    last = facts.gateway.status.get("className") if facts.class_.spec is None else None
    return str(last or facts.class_.name) or None


def remote_children(facts: Facts, plan: Plan) -> list[dict[str, str]]:
    """Children outside the own namespace, those that are about to be written among them."""
    return [
        {
            "apiVersion": CHILD_BY_KIND[ref.kind].api_version,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
        }
        for ref in sorted(remote_refs(facts, plan))
    ]


def remote_refs(facts: Facts, plan: Plan) -> frozenset[ObjectRef]:
    """Those children by their names."""
    refs = {child.ref for child in plan.children} | facts.live.keys()
    return frozenset(ref for ref in refs if ref.namespace != facts.key.namespace)


def _gateway(facts: Facts, acceptance: Acceptance) -> dict[str, Any] | None:
    if not _has_gateway(acceptance) and not facts.live:
        return None
    site, workload = target_of(facts), workload_of(facts)
    return {
        "namespace": site.namespace,
        "service": site.service,
        "replicas": _replicas(facts),
        "readyReplicas": workload.ready,
    }


def _addresses(facts: Facts, acceptance: Acceptance) -> list[dict[str, str]]:
    """Where the exposed ports are reached: at the load balancer, else inside of the cluster."""
    if not any(entry.gateway_ref is None for entry in acceptance.exposed):
        return []
    service = _exposed_service(facts)
    spec, status = service.get("spec") or {}, service.get("status") or {}
    balanced = (status.get("loadBalancer") or {}).get("ingress") or ()
    if spec.get("type") == "LoadBalancer":
        return [_address(entry) for entry in balanced if entry.get("ip") or entry.get("hostname")]
    return [_address({"ip": spec["clusterIP"]})] if spec.get("clusterIP") not in (None, "", "None") else []


def _exposed_service(facts: Facts) -> Manifest:
    """The Service of the exposed ports: the object's own, or that of the class's shared gateway."""
    shared = shared_service(facts.class_.spec)
    if shared is not None:
        return facts.references.objects.get(shared) or {}
    return facts.live.get(ObjectRef("Service", facts.key.namespace, exposed_service_name(facts.key)), {})


def _address(entry: Mapping[str, Any]) -> dict[str, str]:
    if entry.get("ip"):
        return {"type": "IPAddress", "value": entry["ip"]}
    return {"type": "Hostname", "value": entry["hostname"]}


def _replicas(facts: Facts) -> int:
    workload = workload_of(facts)
    return workload.replicas or (
        desired_replicas(effective_settings(facts.gateway.spec, facts.class_.spec)) if target_of(facts).dedicated else 0
    )


def _runs(facts: Facts, part: str) -> bool:
    """Whether every host that clients know of by the part is sent to a hop."""
    routes = [found for found in mesh_routes(facts.live) if part_of(found) == part]
    entries = [found for found in live_clients(facts.live, "ServiceEntry") if part_of(found) == part]
    routed = {host for found in routes if any(ways_of(found)) for host in hosts_of(found)}
    return bool(entries) and all(hosts_of(found) <= routed for found in entries)


def _goes_elsewhere(facts: Facts, part: str) -> bool:
    """Whether clients of the part are sent to another gateway than the one that the class gives it now."""
    service = target_of(facts).service_host
    routes = [found for found in mesh_routes(facts.live) if part_of(found) == part]
    return any(target != service for found in routes for target in targets_of(found))


def _is_expired(acceptance: Acceptance, part: str) -> bool:
    return any(finding.reason is Reason.EXPIRED for finding in acceptance.of_part(part))


def _is_bad(condition: Condition, type_: ConditionType) -> bool:
    return condition.type is type_ and condition.status != "True"


def _serves(conditions: Sequence[Condition]) -> bool:
    return all(condition.status == "True" for condition in conditions if condition.type is not ConditionType.REACHABLE)


def _serves_somebody(conditions: Sequence[Condition]) -> bool:
    """Whether requests go through the gateway, be it of some consumers only."""
    return all(
        condition.status == "True"
        for condition in conditions
        if condition.type in (ConditionType.PROGRAMMED, ConditionType.STEERED)
    )
