"""
Conditions of the whole object, from those of its sections: `Ready` as an ordered table, `Reconciling`, `Stalled`.

api.md "Status of EgressGateway".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason, stalls
from egressgateway.facts import Facts
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.findings import Finding
from egressgateway.plan.gateway.target import workload_of
from egressgateway.status.condition import (
    NOT_PROGRAMMED,
    Condition,
    Section,
    is_bad,
    serves,
    serves_somebody,
    succeeded,
)
from egressgateway.status.fields import has_gateway, replicas
from egressgateway.status.messages import joined, told_by_type, told_once
from egressgateway.status.rules import Rule, Table, otherwise

_OBJECT_TYPES: Final = (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS, ConditionType.PROGRAMMED)


@dataclass(frozen=True, slots=True)
class ObjectState:
    """
    What is known of an object once its sections are judged.

    Attributes:
        failing: conditions of the object that are not True; `causes`: without those that follow from another one.
        unsteered: `Steered` of sections where it is not True.
        serving: number of `sections` (sections) whose clients are sent through the gateway.
        serves_somebody: requests of a section go through the gateway, even if only for some consumers.
        success: the message when nothing is wrong.
        obstacle: why pods of the gateway do not start, beside those that serve.
    """

    failing: tuple[Condition, ...] = ()
    causes: tuple[Condition, ...] = ()
    unsteered: tuple[Condition, ...] = ()
    serving: int = 0
    sections: int = 0
    serves_somebody: bool = False
    success: str = ""
    obstacle: str = ""


def _is_ready(state: ObjectState) -> bool:
    return not state.failing and not state.unsteered


def _is_changing(state: ObjectState) -> bool:
    """What ran before still runs: Ready is neither lost nor won."""
    pending = all(condition.reason is Reason.PENDING or condition.status == "Unknown" for condition in state.failing)
    return pending and all(condition.status == "Unknown" for condition in state.unsteered)


def _why_changing(state: ObjectState) -> Reason:
    return next((each.reason for each in state.failing if each.reason is not Reason.PENDING), Reason.PENDING)


def _changes(state: ObjectState) -> str:
    return joined({condition.message: None for condition in (*state.failing, *state.unsteered)})


def _what_is_missing(state: ObjectState) -> str:
    told = state.causes or state.failing
    if not _false(told):
        # What could not be looked at explains nothing of what is not steered.
        told = (*(_false(state.unsteered) if told else state.unsteered), *told)
    told_of = [f"{each.type}: {each.message}" for each in told]
    unsaid = "" if any(state.obstacle in each for each in told_of) else state.obstacle
    return joined((f"{state.serving}/{state.sections} parts serve", *told_of, unsaid))


def _false(conditions: Sequence[Condition]) -> list[Condition]:
    return [condition for condition in conditions if condition.status == "False"]


def _final(state: ObjectState) -> list[Condition]:
    return [condition for condition in _false(state.failing) if condition.reason is not Reason.PENDING]


def _without_pods(state: ObjectState) -> list[Condition]:
    return [condition for condition in state.unsteered if condition.reason is Reason.GATEWAY_NOT_READY]


READY: Final[Table[ObjectState]] = Table(
    ConditionType.READY,
    (
        Rule(_is_ready, "True", Reason.READY, lambda it: it.success),
        Rule(_is_changing, "Unknown", _why_changing, _changes),
        # From here on something is False, and what is decides: what is not known is no reason for False.
        Rule(lambda it: it.serves_somebody, "False", Reason.PARTIALLY_READY, _what_is_missing),
        Rule(lambda it: bool(_final(it)), "False", lambda it: _final(it)[0].reason, lambda it: _final(it)[0].message),
        # While nothing serves, pods that are not ready explain more than objects that wait for them.
        Rule(
            lambda it: bool(_without_pods(it)),
            "False",
            Reason.GATEWAY_NOT_READY,
            lambda it: _without_pods(it)[0].message,
        ),
        Rule(lambda it: bool(_false(it.failing)), "False", Reason.PENDING, lambda it: _false(it.failing)[0].message),
        Rule(
            otherwise,
            "False",
            lambda it: _false(it.unsteered)[0].reason,
            lambda it: _false(it.unsteered)[0].message,
        ),
    ),
)
"""Whether the object is all that its spec asks for."""


def object_conditions(facts: Facts, acceptance: Acceptance, sections: Sequence[Section]) -> tuple[Condition, ...]:
    """The conditions of an object with these sections; expired ones do not count."""
    own = tuple(_of_object(type_, acceptance, sections) for type_ in _OBJECT_TYPES)
    ready = READY.judge(_state(facts, acceptance, own, sections))
    return (*own, ready, *abnormal(acceptance.findings, ready))


def abnormal(findings: Sequence[Finding], ready: Condition) -> tuple[Condition, ...]:
    """Reconciling or Stalled, only while abnormal and never both: kstatus and Flux expect that."""
    if ready.status == "True":
        return ()
    stalling = [
        finding
        for finding in findings
        if (finding.needs_edit or stalls(finding.reason)) and finding.reason is not Reason.EXPIRED
    ]
    if stalling:
        message = told_once((finding.section, finding.message) for finding in stalling)
        return (Condition(ConditionType.STALLED, "True", stalling[0].reason, message),)
    return (replace(ready, type=ConditionType.RECONCILING, status="True", reason=Reason.PROGRESSING),)


def _state(facts: Facts, acceptance: Acceptance, own: Sequence[Condition], sections: Sequence[Section]) -> ObjectState:
    failing = tuple(condition for condition in own if condition.status != "True")
    return ObjectState(
        failing=failing,
        causes=_causes(acceptance, sections) if failing else (),
        unsteered=tuple(c for _, conditions in sections for c in conditions if is_bad(c, ConditionType.STEERED)),
        serving=sum(serves(conditions) for _, conditions in sections),
        sections=len(sections),
        serves_somebody=any(serves_somebody(conditions) for _, conditions in sections),
        success=_success(facts, acceptance),
        obstacle=workload_of(facts).obstacle,
    )


def _causes(acceptance: Acceptance, sections: Sequence[Section]) -> tuple[Condition, ...]:
    """What is wrong with the object, without what follows from another cause."""
    causes = [(name, tuple(c for c in conditions if c != NOT_PROGRAMMED)) for name, conditions in sections]
    own = (_of_object(type_, acceptance, causes) for type_ in _OBJECT_TYPES)
    return tuple(condition for condition in own if condition.status != "True")


def _of_object(type_: ConditionType, acceptance: Acceptance, sections: Sequence[Section]) -> Condition:
    """True when it is true of every section; otherwise the first reason, with the sections' names."""
    findings = [finding for finding in acceptance.of_object if finding.condition is type_]
    own = [Condition(type_, finding.status, finding.reason, finding.message) for finding in findings]
    if _false(own):
        return replace(own[0], message=joined(condition.message for condition in own))
    bad = [(name, condition) for name, conditions in sections for condition in conditions if is_bad(condition, type_)]
    # What is False of one section is False of the object; otherwise what is not known of one is not known.
    bad.sort(key=lambda of: of[1].status == "Unknown")
    if own or bad:
        of_sections = (
            (name, message)
            for name, condition in bad
            for message in _messages(name, condition, acceptance, without=own)
        )
        told = (*(("", condition.message) for condition in own), *of_sections)
        first = bad[0][1] if bad else own[0]
        return Condition(type_, first.status, first.reason, told_by_type(type_, told))
    if not sections and any(not finding.partial for finding in acceptance.of_object):
        # A spec that cannot be read has no sections to speak for it.
        return Condition(type_, "Unknown", Reason.PENDING, "not evaluated: the object is not accepted")
    return _with_notices(succeeded(type_), acceptance)


def _with_notices(condition: Condition, acceptance: Acceptance) -> Condition:
    """What sections say of what they refer to. What they accept with a notice is said by themselves alone."""
    notices = [each for each in acceptance.advisories if each.condition is condition.type]
    if not notices or condition.type is ConditionType.ACCEPTED:
        return condition
    said = told_by_type(condition.type, ((each.section, each.message) for each in notices))
    return replace(condition, message=joined((condition.message, said)))


def _messages(name: str, condition: Condition, acceptance: Acceptance, *, without: Sequence[Condition]) -> list[str]:
    """
    The messages that `condition` of section `name` joins: the findings behind it, otherwise its own message; `without`
    what is said of the object as a whole, which each section says as well.
    """
    found = [item for item in acceptance.of_section(name) if item.condition is condition.type]
    told = [item.message for item in sorted(found, key=lambda item: (item.unknown, item.partial))]
    return told or ([] if without else [condition.message])


def _success(facts: Facts, acceptance: Acceptance) -> str:
    if not acceptance.served and not acceptance.exposed:
        return "no destination is left to serve"
    counts = [
        f"{workload_of(facts).ready}/{replicas(facts)} gateway pods ready" if has_gateway(acceptance) else "",
        _counted(len(acceptance.served), "destination", "routed"),
        _counted(len(acceptance.exposed), "host entry", "exposed"),
    ]
    advisories = (notice.message for notice in acceptance.advisories if not notice.section)
    obstacle = workload_of(facts).obstacle if has_gateway(acceptance) else ""
    return joined((", ".join(filter(None, counts)), obstacle, *advisories))


def _counted(number: int, noun: str, verb: str) -> str:
    if not number:
        return ""
    plural = {"destination": "destinations", "host entry": "host entries"}
    return f"{number} {noun if number == 1 else plural[noun]} {verb}"
