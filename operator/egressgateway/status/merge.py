"""
Turns a summary into the status to store: keeps times of transition, and makes a patch only when something changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from egressgateway.api.conditions import OBJECT_CONDITIONS, ConditionType, Reason
from egressgateway.api.scalars import format_instant
from egressgateway.api.status import MOST_TRIAL_FINDINGS, TRIAL_MESSAGE_LIMIT
from egressgateway.contention.rights import CLAIMS, read_rights, rights_fields
from egressgateway.diff.subset import merge_patch
from egressgateway.facts import ClaimedPort, Rights, Since
from egressgateway.plan.findings import Finding, exposed_section
from egressgateway.plan.revoked import NOTHING, Revoked
from egressgateway.refs import Key
from egressgateway.status.condition import Condition, Section, Summary
from egressgateway.status.messages import cut, joined, told_once

_SUSPENDED_MESSAGE: Final = (
    "spec.suspend is true: the operator writes only this status; traffic keeps its current route"
)
_NOT_STEERED: Final = "clients are not sent through the gateway"

_ENDED: Final = frozenset({*CLAIMS, "remoteChildren"})

_LEAVING_MESSAGE: Final = "the object is being deleted, and its clients are being moved off the gateway"


def merge_status(
    old: Mapping[str, Any], summary: Summary, generation: int, now: datetime, *, handled: str = ""
) -> dict[str, Any]:
    """
    The whole status for `summary`, at `generation`; a condition's time moves only with its status.

    `handled`: the request for a pass that this one answers, if any.
    """
    lists = {"destinations": summary.sections, "expose": summary.exposed}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": _timed(old.get("conditions") or (), summary.conditions, generation, now),
        **summary.fields,
    }
    for name, sections in lists.items():
        if sections:
            status[name] = _timed_sections(old.get(name) or (), sections, generation, now)
    answer = handled or old.get("lastHandledReconcileAt")
    if answer:
        status["lastHandledReconcileAt"] = answer
    return dict(old) if _counts_alone_differ(old, status) else status


def _counts_alone_differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether nothing but the number of clients has changed: pods come and go, and each write costs the cluster."""
    if "clients" not in old or "clients" not in new:
        return False
    before, after = old["clients"], new["clients"]
    alike = {name for name, count in before.items() if count} == {name for name, count in after.items() if count}
    return alike and before != after and {**old, "clients": None} == {**new, "clients": None}


def suspended_status(  # noqa: PLR0913  (what was found, and what is left of it)
    old: Mapping[str, Any],
    generation: int,
    now: datetime,
    revoked: Revoked = NOTHING,
    *,
    steered: Set[str] = frozenset(),
    ports: Set[ClaimedPort] = frozenset(),
) -> dict[str, Any]:
    """
    The status of a suspended object: as it was, and `Ready` says why it does not change.

    `Ready` alone is about `generation`: the operator saw that it is suspended. The others keep the generation that they
    judged, except for what is not allowed any more, which was judged now: that is withdrawn, and has no claim once it
    is not `steered`, or its `ports` are not registered with clients.
    """
    before = old.get("conditions") or ()
    ready: Mapping[str, Any] = next((each for each in before if each["type"] == ConditionType.READY), {})
    message = joined((_SUSPENDED_MESSAGE, *(found.message for found in revoked.findings)))
    told = [Condition(ConditionType.READY, ready.get("status", "Unknown"), Reason.SUSPENDED, message)]
    if not revoked.findings and not revoked.given_up:
        return _with_conditions(old, told, generation, now)
    if revoked.findings:
        messages = ((found.section, found.message) for found in revoked.findings)
        told.append(_not_accepted(revoked.findings, messages))
    status = _with_conditions(old, told, generation, now)
    for name, parted in (("destinations", ""), ("expose", exposed_section(""))):
        if old.get(name):
            status[name] = [
                _revoked(section, parted + section["name"], revoked, generation, now) for section in old[name]
            ]
    rights = Rights() if revoked.everything else _less(read_rights(old), revoked, steered, ports)
    return {**{name: value for name, value in status.items() if name not in CLAIMS}, **rights_fields(rights)}


def _less(rights: Rights, revoked: Revoked, steered: Set[str], ports: Set[ClaimedPort]) -> Rights:
    """
    The rights that remain: without names and ports that clients no longer have, and without namespaces where they lack
    them.
    """

    def allowed(since: Since) -> Since:
        return {place: moment for place, moment in since.items() if place not in revoked.namespaces}

    gone = (revoked.names | revoked.given_up) - steered
    return Rights(
        {name: allowed(since) for name, since in rights.names.items() if name not in gone},
        {port: allowed(since) for port, since in rights.ports.items() if port in ports},
        rights.exposed,
    )


def _revoked(section: Mapping[str, Any], name: str, revoked: Revoked, generation: int, now: datetime) -> dict[str, Any]:
    """An entry of the status for a section, with the findings about the section or about the object."""
    found = [each for each in revoked.findings if each.section == name or revoked.everything]
    if not found:
        return dict(section)
    told = [_not_accepted(found, (("", each.message) for each in found))]
    lost = any(each.reason is Reason.HOST_CONFLICT for each in found)
    if revoked.everything or name in revoked.sections or lost:
        told.append(Condition(ConditionType.STEERED, "False", Reason.PENDING, _NOT_STEERED))
    before = section.get("conditions") or ()
    replaced = {condition.type for condition in told}
    others = [condition for condition in before if condition["type"] not in replaced]
    return {**section, "conditions": [*others, *_timed(before, told, generation, now)]}


def _not_accepted(findings: Sequence[Finding], messages: Iterable[tuple[str, str]]) -> Condition:
    return Condition(ConditionType.ACCEPTED, "False", findings[0].reason, cut(told_once(messages)))


def stuck_status(old: Mapping[str, Any], generation: int, now: datetime, why: str) -> dict[str, Any]:
    """The status of an object that cannot be let go, because the server does not let its clients be withdrawn."""
    message = cut(
        f"clients cannot be moved off the gateway, so the object is not released; the operator retries: {why}"
    )
    ready = Condition(ConditionType.READY, "False", Reason.APPLY_FAILED, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.APPLY_FAILED, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    return _with_conditions(old, (programmed, ready, reconciling), generation, now, gone=ConditionType.STALLED)


def leaving_status(old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """
    The status of an object that is being deleted: from now on it promises nothing.

    Its clients are withdrawn at this moment, some sooner than others. An object without conditions (its status was
    lost) has nothing to take back. If the server keeps it from being withdrawn, the status says so already.
    """
    said = {condition["type"]: condition["reason"] for condition in old.get("conditions") or ()}
    if not said.keys() >= set(OBJECT_CONDITIONS) or said[ConditionType.READY] == Reason.APPLY_FAILED:
        return dict(old)
    ready = Condition(ConditionType.READY, "Unknown", Reason.PENDING, _LEAVING_MESSAGE)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, _LEAVING_MESSAGE)
    status = _with_conditions(old, (ready, reconciling), generation, now, gone=ConditionType.STALLED)
    for name in ("destinations", "expose"):
        if old.get(name):
            status[name] = [_left(section, generation, now) for section in old[name]]
    return status


def ended_status(old: Mapping[str, Any]) -> dict[str, Any]:
    """
    The status of an object that has no children any more and still exists: it claims nothing, and serves no client.
    """
    return {name: value for name, value in old.items() if name not in _ENDED}


def _left(section: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    before = section.get("conditions") or ()
    steered = Condition(ConditionType.STEERED, "Unknown", Reason.PENDING, _LEAVING_MESSAGE)
    others = [condition for condition in before if condition["type"] != ConditionType.STEERED]
    return {**section, "conditions": [*others, *_timed(before, (steered,), generation, now)]}


def broken_status(old: Mapping[str, Any], generation: int, now: datetime, error: Exception) -> dict[str, Any]:
    """The status while a bug of the operator keeps it from looking at the object; what runs is not touched."""
    message = cut(f"the operator failed and retries; its log has the trace: {type(error).__name__}: {error}")
    ready = Condition(ConditionType.READY, "False", Reason.INTERNAL_ERROR, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.INTERNAL_ERROR, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    return _with_conditions(old, (programmed, ready, reconciling), generation, now, gone=ConditionType.STALLED)


def unstored_status(old: Mapping[str, Any], generation: int, now: datetime, error: Exception) -> dict[str, Any]:
    """The status while the API server refuses to store more of it, or of the records beside it: what runs stays."""
    message = cut(
        "the object's claims and state cannot be stored, so the operator writes nothing more for it; use fewer hosts, "
        f"ports or consumer namespaces in one object; the server says: {error}"
    )
    ready = Condition(ConditionType.READY, "False", Reason.APPLY_FAILED, message)
    programmed = Condition(ConditionType.PROGRAMMED, "False", Reason.APPLY_FAILED, message)
    reconciling = Condition(ConditionType.RECONCILING, "True", Reason.PROGRESSING, message)
    return _with_conditions(old, (programmed, ready, reconciling), generation, now, gone=ConditionType.STALLED)


Tried = tuple[tuple[Key, tuple[Finding, ...]], ...]
"""What a trial would forbid, by object."""


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """
    The verdict on a class: whether it can be used, and its data plane; empty while its spec cannot be read. `tried`:
    what its trial would forbid, by object; None while that is not known of all of them.
    """

    accepted: Condition
    provider: str = ""
    has_trial: bool = False
    tried: Tried | None = None


def class_status(
    old: Mapping[str, Any], verdict: ClassVerdict, attached: int, generation: int, now: datetime
) -> dict[str, Any]:
    """
    The status of an EgressGatewayClass that `attached` objects use; `Stalled` only while it is not accepted.

    The status has the provider for the printer column, because the spec need not name it.
    kstatus does not know `Accepted`, and takes an object that is neither Reconciling nor Stalled for current.
    """
    told = [verdict.accepted]
    trial = old.get("trial") if verdict.tried is None else _trial(verdict.tried)
    if verdict.accepted.status == "False":
        told.append(replace(verdict.accepted, type=ConditionType.STALLED, status="True"))
    return {
        "observedGeneration": generation,
        "conditions": _timed(old.get("conditions") or (), told, generation, now),
        **({"provider": verdict.provider} if verdict.provider else {}),
        "attachedGateways": attached,
        **({"trial": trial} if verdict.has_trial and trial else {}),
    }


def _trial(tried: Tried) -> dict[str, Any]:
    findings = [
        {
            "namespace": key.namespace,
            "name": key.name,
            "reason": str(found.reason),
            "message": cut(found.message, TRIAL_MESSAGE_LIMIT),
        }
        for key, listed in tried
        for found in listed
    ]
    return {"affectedGateways": len(tried), "findings": findings[:MOST_TRIAL_FINDINGS]}


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Merge patch that turns `old` into `new`; None when they are equal."""
    if _normal(old) == _normal(new):
        return None
    patch: dict[str, Any] = merge_patch(dict(new), dict(old))
    return patch


def is_cosmetic(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether only wording and counts differ: nothing on which a person or a tool bases a decision."""
    return _decisive(old) == _decisive(new)


def is_on_the_way(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """
    Whether an object that is not ready yet only waits, at the generation that the status is about. Its claims are the
    same: what they are decides over others.
    """
    was, is_ = (_ready(status) for status in (old, new))
    same = all(old.get(name) == new.get(name) for name in ("observedGeneration", *CLAIMS))
    return same and (was.get("status"), is_.get("status"), is_.get("reason")) == ("False", "False", Reason.PENDING)


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == ConditionType.READY), {})


def _with_conditions(
    old: Mapping[str, Any],
    told: Sequence[Condition],
    generation: int,
    now: datetime,
    *,
    gone: ConditionType | None = None,
) -> dict[str, Any]:
    """`old` with the conditions `told` about `generation`; other conditions stay as they are, except for `gone`."""
    before = old.get("conditions") or ()
    replaced = {gone, *(condition.type for condition in told)}
    others = [condition for condition in before if condition["type"] not in replaced]
    return {
        **old,
        "observedGeneration": generation,
        "conditions": [*others, *_timed(before, told, generation, now)],
    }


def has_message(status: Mapping[str, Any], section: str, message: str) -> bool:
    """Whether a condition of the section `section` contains `message`."""
    return any(
        message in condition.get("message", "")
        for found in status.get("destinations") or ()
        if found["name"] == section
        for condition in found.get("conditions") or ()
    )


def _timed_sections(
    old: Sequence[Mapping[str, Any]], sections: Sequence[Section], generation: int, now: datetime
) -> list[dict[str, Any]]:
    known = {section["name"]: section.get("conditions", ()) for section in old}
    return [
        {"name": name, "conditions": _timed(known.get(name, ()), conditions, generation, now)}
        for name, conditions in sections
    ]


def _timed(
    old: Sequence[Mapping[str, Any]], conditions: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in old}
    return [_timed_one(before.get(condition.type, {}), condition, generation, now) for condition in conditions]


def _timed_one(before: Mapping[str, Any], condition: Condition, generation: int, now: datetime) -> dict[str, Any]:
    kept = before.get("lastTransitionTime") if before.get("status") == condition.status else None
    return {
        "type": str(condition.type),
        "status": condition.status,
        "reason": str(condition.reason),
        "message": cut(condition.message),
        "observedGeneration": generation,
        "lastTransitionTime": kept or format_instant(now.replace(microsecond=0)),
    }


def _normal(status: Mapping[str, Any]) -> dict[str, Any]:
    """`status` without the order of its conditions, which are a map to the server."""
    conditions = sorted(status.get("conditions") or (), key=lambda condition: str(condition["type"]))
    return {**status, "conditions": conditions}


def _decisive(status: Mapping[str, Any]) -> tuple[Any, ...]:
    conditions = {(c["type"], c["status"]) for c in status.get("conditions") or ()}
    sections = [
        (section["name"], frozenset((c["type"], c["status"]) for c in section.get("conditions") or ()))
        for name in ("destinations", "expose")
        for section in status.get(name) or ()
    ]
    return (
        status.get("observedGeneration"),
        frozenset(conditions),
        sections,
        status.get("summary"),
        *(status.get(name) for name in CLAIMS),
        status.get("addresses"),
        status.get("remoteChildren"),
        status.get("lastHandledReconcileAt"),
    )
