"""
What tools that wait for an object rely on, as checks of one object: kstatus' and Flux' rules, and those of api.md.

The rules of Flux are those of fluxcd/pkg `runtime/conditions/check`; kstatus reads `Reconciling` and `Stalled` and
compares `observedGeneration` (kubernetes-sigs/cli-utils `pkg/kstatus`). All are written down anew here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from egressgateway.api.conditions import CATALOGUE, OBJECT_CONDITIONS, SECTION_CONDITIONS, ConditionType, Reason

Object = dict[str, Any]

LONGEST_MESSAGE = 512
BEHIND = "is behind generation"
_REASON = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


def violations(gateway: Object) -> list[str]:
    """What is wrong with the status of an EgressGateway, one sentence each; nothing when all is well."""
    status = gateway.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    found = [*_of_object(gateway["metadata"]["generation"], status, conditions)]
    for each in status.get("conditions") or ():
        found += _of_condition(each, (*OBJECT_CONDITIONS, ConditionType.RECONCILING, ConditionType.STALLED))
    for part in status.get("destinations") or ():
        types = [each["type"] for each in part["conditions"]]
        if sorted(type_ for type_ in types if type_ != ConditionType.REACHABLE) != sorted(SECTION_CONDITIONS):
            found.append(f"{part['name']} has the conditions {types}")
        found += [
            f"{part['name']}: {text}"
            for each in part["conditions"]
            for text in _of_condition(each, (*SECTION_CONDITIONS, ConditionType.REACHABLE))
        ]
    return found


def transition_violations(old: Object, new: Object) -> list[str]:
    """What is wrong with a step from one status to the next: a condition's time moves with its status, else never."""
    before = {each["type"]: each for each in (old.get("status") or {}).get("conditions") or ()}
    return [
        f"{each['type']}: lastTransitionTime moved although its status is still {each['status']}"
        for each in (new.get("status") or {}).get("conditions") or ()
        if (was := before.get(each["type"])) is not None
        and was["status"] == each["status"]
        and was["lastTransitionTime"] != each["lastTransitionTime"]
    ]


def _of_object(generation: int, status: Object, conditions: Mapping[str, Object]) -> Iterator[str]:
    missing = [type_ for type_ in OBJECT_CONDITIONS if type_ not in conditions]
    if missing:
        yield f"conditions are missing: {', '.join(missing)}"
        return
    ready = conditions[ConditionType.READY]["status"]
    observed = status.get("observedGeneration", -1)
    # Of a suspended object only Ready says something about the newest spec: the others were not judged anew.
    suspended = conditions[ConditionType.READY].get("reason") == Reason.SUSPENDED
    abnormal = [type_ for type_ in (ConditionType.RECONCILING, ConditionType.STALLED) if _is_true(conditions, type_)]
    if ready == "True" and abnormal:
        yield f"Ready is True beside {' and '.join(abnormal)}"
    if ready == "False" and not abnormal:
        yield "Ready is False, and neither Reconciling nor Stalled says whether waiting helps"
    if len(abnormal) > 1:
        yield "Reconciling and Stalled are both True"
    if observed > generation:
        yield f"observedGeneration {observed} is ahead of generation {generation}"
    if observed < generation and ready == "True":
        yield f"Ready is True, and observedGeneration {observed} {BEHIND} {generation}"
    for each in conditions.values():
        if each.get("observedGeneration", -1) > generation:
            yield f"{each['type']}: observedGeneration is ahead of generation {generation}"
        if ready == "True" and each.get("observedGeneration") != observed and not suspended:
            yield f"{each['type']}: observedGeneration differs from the object's while Ready is True"


def _of_condition(condition: Object, allowed: tuple[ConditionType, ...]) -> Iterator[str]:
    type_, reason = condition["type"], condition.get("reason", "")
    if type_ not in allowed:
        yield f"{type_} is not a condition of the API"
    if type_ in (ConditionType.RECONCILING, ConditionType.STALLED) and condition["status"] != "True":
        yield f"{type_} is {condition['status']}: it stands only while abnormal"
    if len(condition.get("message", "")) > LONGEST_MESSAGE:
        yield f"{type_}: a message of {len(condition['message'])} characters"
    if not _TIME.match(condition.get("lastTransitionTime", "")):
        yield f"{type_}: lastTransitionTime {condition.get('lastTransitionTime')!r}"
    if not _REASON.match(reason) or reason not in set(Reason):
        yield f"{type_}: the reason {reason!r} is not in the catalogue"
        return
    entry = CATALOGUE[Reason(reason)]
    expected = "True" if type_ == ConditionType.STALLED else entry.status
    if expected is not None and condition["status"] != expected:
        yield f"{type_} is {condition['status']} with the reason {reason}, which stands for {expected}"


def _is_true(conditions: Mapping[str, Object], type_: ConditionType) -> bool:
    return conditions.get(type_, {}).get("status") == "True"
