"""
Another controller's answer about a child, from the child's status: whether its data plane has the child.

APISIX gets its routes from its ingress controller, which answers in `status.conditions[Accepted]`. It never answers
about objects whose ingress class it does not serve (apisix-ingress-controller, issues 2471 and 2756): only time
distinguishes that from slowness.

`Accepted` is no evidence that APISIX has the route: the controller writes True as soon as it has stored the object,
then pushes, and writes `SyncFailed` if that failed; where APISIX's Admin API hangs, after its time-out of 15 seconds
(seen with version 2.2.0). Until then requests for the route get a 404. It pushes everything at once, so the bad object
of one author makes the routes of all others fail, while APISIX continues with what it has. So an answer counts once
nothing has changed for longer than a push can take; times are those of the API server (`metadata.managedFields`) and
of the controller's answer, so that a restart of the operator neither shortens nor lengthens the wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from egressgateway.api.conditions import ConditionType
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import parse_instant
from egressgateway.facts import Facts
from egressgateway.live.children import section_of
from egressgateway.live.ingress_class import connections
from egressgateway.refs import Manifest, ObjectRef

WRITTEN_AT: Final = "writtenAt"
"""
A field that the metadata of an object has only in a cache: when the API server says that its `spec` and its `status`
were written last (`metadata.managedFields`).
"""

PATIENCE: Final = timedelta(seconds=30)
"""Silence after which a cause is named: a guess, many times what a running controller needs."""

_AHEAD: Final = timedelta(seconds=5)
"""How far a recorded time may be ahead of what the operator takes for the API server's time."""


class RouteAcceptance(StrEnum):
    """A controller's answer about the newest generation of an object."""

    PUSHED = "pushed"
    """Accepted, for longer than a push can take, without a failure."""
    PUSHING = "pushing"
    """Accepted, and maybe not yet pushed."""
    PUSH_FAILED = "push failed"
    """Accepted, and the data plane does not have it: the cause may lie in an object of somebody else."""
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Controller:
    """
    A controller of a data plane.

    Attributes:
        name: its name in messages.
        answers_for: kinds that it answers for.
        version: the earliest version whose answers are understood.
        silent_at_times: of these, kinds that some versions never answer for: an answer counts if there is one, and is
            not awaited.
        push_failures: reasons of answers that say that an object was accepted and could not be pushed.
        partial: conditions that say, where they are True, that parts of an accepted object were not pushed.
    """

    name: str
    answers_for: frozenset[str]
    version: str = ""
    silent_at_times: frozenset[str] = frozenset()
    push_failures: frozenset[str] = frozenset()
    partial: frozenset[str] = frozenset()


Controllers = Iterable[Controller]


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """
    A controller's answer about one child, with its own message.

    `overdue`: there has been none for too long. `unknown_conditions`: what it reports in place of an answer.
    """

    ref: ObjectRef
    controller: Controller
    word: RouteAcceptance
    message: str = ""
    overdue: bool = False
    unknown_conditions: tuple[str, ...] = ()


_MOST_NAMED: Final = 3

_GRAVITY: Final = (
    RouteAcceptance.REJECTED,
    RouteAcceptance.PUSH_FAILED,
    RouteAcceptance.UNKNOWN,
    RouteAcceptance.PUSHING,
    RouteAcceptance.PUSHED,
)


def route_statuses(facts: Facts, refs: Iterable[ObjectRef], controllers: Controllers) -> Iterator[RouteStatus]:
    """The answer about each of `refs` that exists and that a controller answers for, the gravest first."""
    found = (
        _verdict(facts, ref, facts.live[ref], controller)
        for ref in refs
        if ref in facts.live and (controller := _controller_of(ref.kind, controllers)) is not None
    )
    yield from sorted(found, key=lambda verdict: (_GRAVITY.index(verdict.word), verdict.ref))


def next_answer_due(facts: Facts, controllers: Controllers) -> datetime | None:
    """When the first silence becomes too long, or the first answer counts, if none does already."""
    due = [
        _silent_since(facts, found) + PATIENCE if word is RouteAcceptance.UNKNOWN else _counts_from(facts, found)
        for ref, found in facts.live.items()
        if (controller := _controller_of(ref.kind, controllers)) is not None
        and (word := _word(facts, found, controller)[0]) in (RouteAcceptance.UNKNOWN, RouteAcceptance.PUSHING)
    ]
    return min((moment for moment in due if moment > facts.now), default=None)


def is_answered_for(kind: str, controllers: Controllers) -> bool:
    """Whether a controller answers for objects of this kind."""
    return _controller_of(kind, controllers) is not None


def answers(manifest: Manifest, controllers: Controllers) -> list[tuple[Any, ...]]:
    """Which parts of a child's status change its verdict; none for kinds without a controller."""
    controller = _controller_of(manifest.get("kind", ""), controllers)
    if controller is None:
        return []
    conditions = _conditions(manifest)
    if not _accepted(manifest):
        return [(each.get("type"),) for each in conditions]
    fields = ("type", "status", "reason", "message", "observedGeneration")
    read = {ConditionType.ACCEPTED, *controller.partial}
    return [tuple(each.get(name) for name in fields) for each in conditions if each.get("type") in read]


def _controller_of(kind: str, controllers: Controllers) -> Controller | None:
    return next((each for each in controllers if kind in each.answers_for), None)


def _verdict(facts: Facts, ref: ObjectRef, manifest: Manifest, controller: Controller) -> RouteStatus:
    word, message = _word(facts, manifest, controller)
    # A controller that has answered about it before is running, and only slow.
    silent = word is RouteAcceptance.UNKNOWN and not _accepted(manifest)
    others = tuple(sorted({str(each.get("type")) for each in _conditions(manifest)}))[:_MOST_NAMED] if silent else ()
    overdue = silent and facts.now >= _silent_since(facts, manifest) + PATIENCE
    return RouteStatus(ref, controller, word, message, overdue, others)


def _word(facts: Facts, manifest: Manifest, controller: Controller) -> tuple[RouteAcceptance, str]:
    generation = manifest["metadata"].get("generation")
    for condition in _accepted(manifest):
        # An answer about an older generation, or about none, does not count for this one.
        if generation is not None and condition.get("observedGeneration") == generation:
            return _judged(facts, manifest, controller, condition)
    if manifest.get("kind") not in controller.silent_at_times:
        return RouteAcceptance.UNKNOWN, ""
    return _pushed_by(facts, manifest), ""


def _judged(
    facts: Facts, manifest: Manifest, controller: Controller, condition: Mapping[str, Any]
) -> tuple[RouteAcceptance, str]:
    said = _words(condition)
    if condition.get("status") == "True":
        partial = next(_partial(manifest, controller), None)
        if partial is not None:
            return RouteAcceptance.PUSH_FAILED, f"{partial['type']}: {_words(partial)}"
        return _pushed_by(facts, manifest), said
    if condition.get("status") != "False":
        return RouteAcceptance.UNKNOWN, said
    failed = condition.get("reason") in controller.push_failures
    return RouteAcceptance.PUSH_FAILED if failed else RouteAcceptance.REJECTED, said


def _words(condition: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _partial(manifest: Manifest, controller: Controller) -> Iterator[Mapping[str, Any]]:
    """Conditions by which parts of this generation of an object were not pushed."""
    generation = manifest["metadata"].get("generation")
    for condition in _conditions(manifest):
        of_now = condition.get("observedGeneration", generation) == generation
        if condition.get("type") in controller.partial and condition.get("status") == "True" and of_now:
            yield condition


def _pushed_by(facts: Facts, manifest: Manifest) -> RouteAcceptance:
    """Of an accepted object: whether it must have been pushed by now."""
    waiting = facts.now < _counts_from(facts, manifest)
    return RouteAcceptance.PUSHING if waiting else RouteAcceptance.PUSHED


def _counts_from(facts: Facts, manifest: Manifest) -> datetime:
    """
    From when on an accepted object must have been pushed.

    The API server records times by the second, so that the end of that second counts.
    """
    timeout = (facts.class_.spec or EgressGatewayClassSpec()).push_timeout
    return _changed_at(facts, manifest) + timedelta(seconds=1) + timeout


def _changed_at(facts: Facts, manifest: Manifest) -> datetime:
    """
    When an object, its status or what connects its controller to the data plane changed last.

    A new time in its status alone takes nothing back: the controller repeats its answer now and then.
    """
    times = [time for each in (manifest, *connections(facts)) for time in _written(each)]
    changed, since = _newest(facts, times), _condition_since(facts, section_of(manifest), "True")
    if changed is not None and since is not None and since > changed:
        return changed
    return _newest(facts, (*times, *_answered(manifest))) or facts.now


def _written(manifest: Manifest) -> Iterator[Any]:
    """When an object was made, and when its spec was written."""
    metadata = manifest["metadata"]
    yield metadata.get("creationTimestamp")
    yield (metadata.get(WRITTEN_AT) or {}).get("spec")


def _answered(manifest: Manifest) -> Iterator[Any]:
    """When the status of an object was written, by the API server and by the controller."""
    yield (manifest["metadata"].get(WRITTEN_AT) or {}).get("status")
    for condition in _accepted(manifest):
        yield condition.get("lastTransitionTime")


def _newest(facts: Facts, times: Iterable[Any]) -> datetime | None:
    """
    The newest of some times that have come; None if there is none.

    Whoever may write an object may write any time into `managedFields` or a status: one that is still to come tells
    nothing, nor does what is no time.
    """
    moments = [moment for moment in map(_instant, times) if moment is not None and moment <= facts.now + _AHEAD]
    return max(moments, default=None)


def _instant(time: Any) -> datetime | None:
    try:
        return parse_instant(time)
    except (TypeError, ValueError):
        return None


def _accepted(manifest: Manifest) -> list[Mapping[str, Any]]:
    return [each for each in _conditions(manifest) if each.get("type") == ConditionType.ACCEPTED]


def _conditions(manifest: Manifest) -> list[Mapping[str, Any]]:
    return [*((manifest.get("status") or {}).get("conditions") or ())]


def _silent_since(facts: Facts, manifest: Manifest) -> datetime:
    """
    Since when an object waits for an answer: its creation, or the time since which its section is not programmed.

    The status has the latter, so that a restart of the operator does not begin to count anew.
    """
    made = _newest(facts, (manifest["metadata"].get("creationTimestamp"),))
    since = _condition_since(facts, section_of(manifest), "False")
    return facts.now if made is None or since is None else max(made, since)


def _condition_since(facts: Facts, section: str, status: str) -> datetime | None:
    """Since when the section's `Programmed` has this status; None if it has another one, or does not say since when."""
    list_, _, name = section.rpartition(".")
    for entry in facts.gateway.status.get(list_ or "destinations") or ():
        for condition in entry.get("conditions") or () if entry.get("name") == name else ():
            if condition.get("type") == ConditionType.PROGRAMMED and condition.get("status") == status:
                return _newest(facts, (condition.get("lastTransitionTime"),))
    return None
