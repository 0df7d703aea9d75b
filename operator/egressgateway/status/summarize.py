"""
Conditions of an object and of its parts, from what was found and what was seen (api.md "Status of EgressGateway").

`True` is only what was observed: Programmed, that every object of the part stands as planned; Steered, that clients are
sent through the gateway and a pod serves them. A part that is kept although it is not accepted is judged by what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason, stalls
from egressgateway.api.scalars import format_instant
from egressgateway.diff.steering import Hold
from egressgateway.facts import Facts
from egressgateway.plan.accept import Acceptance
from egressgateway.plan.findings import Finding
from egressgateway.plan.ir import Plan, Stage
from egressgateway.plan.names import workload_name
from egressgateway.plan.retain import hosts_of, live_clients, part_of, ways_of
from egressgateway.plan.workload import desired_replicas, effective_settings
from egressgateway.refs import ObjectRef

_PART_TYPES: Final = (
    ConditionType.ACCEPTED,
    ConditionType.RESOLVED_REFS,
    ConditionType.PROGRAMMED,
    ConditionType.STEERED,
)
_OBJECT_TYPES: Final = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED)
_MAX_MESSAGE: Final = 512
_MAX_HOSTS: Final = 256


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

    `failures` are the server's refusals, `unanswered` what it could not do just now; both in its words.
    """

    missing: frozenset[ObjectRef] = frozenset()
    failures: Mapping[ObjectRef, str] = field(default_factory=dict)
    unanswered: Mapping[ObjectRef, str] = field(default_factory=dict)
    foreign: frozenset[ObjectRef] = frozenset()
    held: Mapping[ObjectRef, Hold] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the status says, without times of transition."""

    conditions: tuple[Condition, ...]
    parts: tuple[tuple[str, tuple[Condition, ...]], ...]
    fields: Mapping[str, Any]


def summarize(facts: Facts, acceptance: Acceptance, plan: Plan, observed: Observed) -> Summary:
    """The status of one object at this moment."""
    names = [destination.name for destination in facts.gateway.spec.destinations] if facts.gateway.spec else []
    parts = tuple((name, _part_conditions(facts, acceptance, plan, observed, name)) for name in names)
    conditions = _object_conditions(facts, acceptance, parts)
    return Summary(conditions, parts, _fields(facts, acceptance, parts))


def _part_conditions(
    facts: Facts, acceptance: Acceptance, plan: Plan, observed: Observed, part: str
) -> tuple[Condition, ...]:
    findings = (*acceptance.of_object, *acceptance.of_part(part))
    accepted = _judged(ConditionType.ACCEPTED, findings)
    resolved = _judged(ConditionType.RESOLVED_REFS, findings)
    if findings:
        running = _runs(facts, part) and (acceptance.keep_all or part in acceptance.kept)
        return accepted, resolved, _kept_programmed(running), _steered(facts, running, None)
    children = [child for child in plan.children if child.part in ("", part)]
    clients = {child.ref for child in children if child.part == part and child.stage is Stage.CLIENTS}
    hold = next((observed.held[ref] for ref in sorted(clients) if ref in observed.held), None)
    steered = bool(clients) and not clients & (observed.missing | observed.foreign)
    return accepted, resolved, _programmed([child.ref for child in children], observed), _steered(facts, steered, hold)


def _judged(type_: ConditionType, findings: Sequence[Finding]) -> Condition:
    own = [finding for finding in findings if finding.condition is type_]
    if not own:
        return _succeeded(type_)
    return Condition(type_, "False", own[0].reason, _joined(finding.message for finding in own))


def _programmed(refs: Iterable[ObjectRef], observed: Observed) -> Condition:
    wanted = sorted(refs)
    foreign = [ref for ref in wanted if ref in observed.foreign]
    failed = [ref for ref in wanted if ref in observed.failures]
    if foreign:
        message = f"{foreign[0]} exists and is not the operator's; delete or rename it, or rename this object"
        return Condition(ConditionType.PROGRAMMED, "False", Reason.RESOURCE_CONFLICT, message)
    if failed:
        return Condition(ConditionType.PROGRAMMED, "False", Reason.APPLY_FAILED, observed.failures[failed[0]])
    if any(ref in observed.missing for ref in wanted):
        why = next((f": {observed.unanswered[ref]}" for ref in wanted if ref in observed.unanswered), "")
        return Condition(ConditionType.PROGRAMMED, "False", Reason.PENDING, f"not every object is in place yet{why}")
    return _succeeded(ConditionType.PROGRAMMED)


def _kept_programmed(running: bool) -> Condition:
    if running:
        return Condition(
            ConditionType.PROGRAMMED, "True", Reason.PROGRAMMED, "what was programmed before is left as it was"
        )
    return Condition(
        ConditionType.PROGRAMMED, "False", Reason.PENDING, "nothing is programmed for what is not accepted"
    )


def _steered(facts: Facts, in_place: bool, hold: Hold | None) -> Condition:
    if facts.workload.ready == 0:
        message = "no gateway pod is ready" if in_place else Hold.GATEWAY_NOT_READY.value
        return Condition(ConditionType.STEERED, "False", Reason.GATEWAY_NOT_READY, message)
    if in_place:
        return _succeeded(ConditionType.STEERED)
    return Condition(
        ConditionType.STEERED,
        "False",
        Reason.PENDING,
        hold.value if hold else "clients are not sent through the gateway",
    )


def _object_conditions(
    facts: Facts, acceptance: Acceptance, parts: tuple[tuple[str, tuple[Condition, ...]], ...]
) -> tuple[Condition, ...]:
    counted = [(name, conditions) for name, conditions in parts if not _is_expired(acceptance, name)]
    own = tuple(_of_object(type_, acceptance, counted) for type_ in _OBJECT_TYPES)
    ready = _ready(facts, acceptance, own, counted)
    return (*own, ready, *_abnormal(acceptance, ready))


def _of_object(
    type_: ConditionType, acceptance: Acceptance, parts: Sequence[tuple[str, tuple[Condition, ...]]]
) -> Condition:
    """True when it is true of every part; else the first reason, with the parts' names."""
    findings = [finding for finding in acceptance.of_object if finding.condition is type_]
    if findings:
        return Condition(type_, "False", findings[0].reason, _joined(finding.message for finding in findings))
    bad = [(name, condition) for name, conditions in parts for condition in conditions if _is_bad(condition, type_)]
    if bad:
        message = _joined(f"{name}: {condition.message}" for name, condition in bad)
        return Condition(type_, "False", bad[0][1].reason, message)
    if not parts and acceptance.of_object:
        # A spec that cannot be read has no parts to speak for it.
        return Condition(type_, "Unknown", Reason.PENDING, "not looked at: the object is not accepted")
    return _succeeded(type_)


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
    parts: Sequence[tuple[str, tuple[Condition, ...]]],
) -> Condition:
    bad = [condition for condition in own if condition.status != "True"]
    unsteered = [c for _, conditions in parts for c in conditions if _is_bad(c, ConditionType.STEERED)]
    if not bad and not unsteered:
        return Condition(ConditionType.READY, "True", Reason.READY, _ready_message(facts, acceptance, len(parts)))
    serving = sum(_serves(conditions) for _, conditions in parts)
    if serving:
        message = f"{serving}/{len(parts)} destinations serve; " + _joined(
            f"{c.type}: {c.message}" for c in bad or unsteered
        )
        return Condition(ConditionType.READY, "False", Reason.PARTIALLY_READY, message)
    # While nothing serves, pods that are not ready say more than objects that wait for them.
    waiting = [c for c in unsteered if c.reason is Reason.GATEWAY_NOT_READY]
    first = next((c for c in bad if c.reason is not Reason.PENDING), None) or (waiting or bad or unsteered)[0]
    return Condition(ConditionType.READY, "False", first.reason, first.message)


def _ready_message(facts: Facts, acceptance: Acceptance, parts: int) -> str:
    if not acceptance.served:
        return "no destination is left to serve"
    routed = f"{parts} destination{'' if parts == 1 else 's'} routed"
    return f"{facts.workload.ready}/{_replicas(facts)} gateway pods ready, {routed}"


def _abnormal(acceptance: Acceptance, ready: Condition) -> tuple[Condition, ...]:
    """Reconciling or Stalled, only while abnormal and never both: kstatus and Flux read them so."""
    if ready.status == "True":
        return ()
    stalling = [
        finding for finding in acceptance.findings if stalls(finding.reason) and finding.reason is not Reason.EXPIRED
    ]
    if stalling:
        return (Condition(ConditionType.STALLED, "True", stalling[0].reason, _joined(f.message for f in stalling)),)
    return (Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, ready.message),)


def _fields(
    facts: Facts, acceptance: Acceptance, parts: tuple[tuple[str, tuple[Condition, ...]], ...]
) -> dict[str, Any]:
    counted = [conditions for name, conditions in parts if not _is_expired(acceptance, name)]
    serving = sum(_serves(conditions) for conditions in counted)
    hosts = sorted({host for d in (facts.gateway.spec.destinations if facts.gateway.spec else ()) for host in d.hosts})
    fields: dict[str, Any] = {
        "className": facts.class_.name or None,
        "provider": "Istio" if facts.class_.spec is not None else None,
        "summary": {"destinations": f"{serving}/{len(counted)}", "hosts": _shortened(hosts)},
        "claims": [
            {"host": claim.host, "claimedAt": format_instant(claim.claimed_at)} for claim in acceptance.claims.held
        ],
        "consumers": _consumers(facts, acceptance),
        "gateway": _gateway(facts, acceptance),
    }
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _gateway(facts: Facts, acceptance: Acceptance) -> dict[str, Any] | None:
    if not acceptance.served and not facts.live:
        return None
    return {
        "namespace": facts.key.namespace,
        "service": workload_name(facts.key),
        "replicas": _replicas(facts),
        "readyReplicas": facts.workload.ready,
    }


def _consumers(facts: Facts, acceptance: Acceptance) -> list[dict[str, str]]:
    """Namespaces that are served, and since when; who loses the last claim serves nobody."""
    if not acceptance.claims.held:
        return []
    since = {entry.get("namespace"): entry.get("since") for entry in facts.gateway.status.get("consumers") or ()}
    own = facts.key.namespace
    return [{"namespace": own, "since": since.get(own) or format_instant(facts.now)}]


def _replicas(facts: Facts) -> int:
    return facts.workload.replicas or desired_replicas(effective_settings(facts))


def _runs(facts: Facts, part: str) -> bool:
    """Whether every host that clients know of by the part is sent to a hop."""
    routes = [found for found in live_clients(facts.live, "VirtualService") if part_of(found) == part]
    entries = [found for found in live_clients(facts.live, "ServiceEntry") if part_of(found) == part]
    routed = {host for found in routes if any(ways_of(found)) for host in hosts_of(found)}
    return bool(entries) and all(hosts_of(found) <= routed for found in entries)


def _is_expired(acceptance: Acceptance, part: str) -> bool:
    return any(finding.reason is Reason.EXPIRED for finding in acceptance.of_part(part))


def _is_bad(condition: Condition, type_: ConditionType) -> bool:
    return condition.type is type_ and condition.status != "True"


def _serves(conditions: Sequence[Condition]) -> bool:
    return all(condition.status == "True" for condition in conditions)


def _joined(messages: Iterable[str]) -> str:
    return cut("; ".join(message for message in messages if message))


def cut(message: str) -> str:
    """`message`, at most 512 characters (api.md)."""
    return message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…"


def _shortened(hosts: Sequence[str]) -> str:
    text = ",".join(hosts)
    if len(text) <= _MAX_HOSTS:
        return text
    shown = text[: _MAX_HOSTS - len(",+9999")].rsplit(",", 1)[0]
    return f"{shown},+{len(hosts) - shown.count(',') - 1}"
