"""
Another controller's answer about a child, from the child's status: accepted, rejected, or none yet.

APISIX gets its routes from its ingress controller, which answers in `status.conditions[Accepted]`. Until it has
accepted a route, requests for it get a 404, so clients wait for its answer. It never answers about objects whose
ingress class it does not serve (apisix-ingress-controller, issues 2471 and 2756): only time distinguishes that from
slowness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from egressgateway.api.conditions import ConditionType
from egressgateway.api.scalars import parse_instant
from egressgateway.facts import Facts
from egressgateway.live.children import section_of
from egressgateway.refs import Manifest, ObjectRef

PATIENCE: Final = timedelta(seconds=30)
"""Silence after which a cause is named: a guess, many times what a running controller needs."""


class RouteAcceptance(StrEnum):
    """A controller's answer about the newest generation of an object."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Controller:
    """
    A controller of a data plane.

    Attributes:
        name: its name in messages.
        answers_for: kinds that it answers for.
        silent_at_times: of these, kinds that some versions never answer for: an answer counts if there is one, and is
            not awaited.
    """

    name: str
    answers_for: frozenset[str]
    silent_at_times: frozenset[str] = frozenset()


Controllers = Iterable[Controller]


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A controller's answer about one child, with its own message; `overdue`: there has been none for too long."""

    ref: ObjectRef
    controller: Controller
    word: RouteAcceptance
    message: str = ""
    overdue: bool = False


def route_statuses(facts: Facts, refs: Iterable[ObjectRef], controllers: Controllers) -> Iterator[RouteStatus]:
    """The answer about each of `refs` that exists and that a controller answers for, refusals first."""
    found = (
        _verdict(facts, ref, facts.live[ref], controller)
        for ref in refs
        if ref in facts.live and (controller := _controller_of(ref.kind, controllers)) is not None
    )
    yield from sorted(found, key=lambda verdict: (verdict.word is not RouteAcceptance.REJECTED, verdict.ref))


def next_answer_due(facts: Facts, controllers: Controllers) -> datetime | None:
    """When the first silence becomes too long, if none is too long already."""
    due = [
        _silent_since(facts, found) + PATIENCE
        for ref, found in facts.live.items()
        if (controller := _controller_of(ref.kind, controllers)) is not None
        and _word(found, controller)[0] is RouteAcceptance.UNKNOWN
    ]
    return min((moment for moment in due if moment > facts.now), default=None)


def answers(manifest: Manifest, controllers: Controllers) -> list[tuple[Any, ...]]:
    """Which parts of a child's status change its verdict; none for kinds without a controller."""
    if _controller_of(manifest.get("kind", ""), controllers) is None:
        return []
    return [
        tuple(each.get(name) for name in ("status", "reason", "message", "observedGeneration"))
        for each in _accepted(manifest)
    ]


def _controller_of(kind: str, controllers: Controllers) -> Controller | None:
    return next((each for each in controllers if kind in each.answers_for), None)


def _verdict(facts: Facts, ref: ObjectRef, manifest: Manifest, controller: Controller) -> RouteStatus:
    word, message = _word(manifest, controller)
    # A controller that has answered about it before is running, and only slow.
    silent = word is RouteAcceptance.UNKNOWN and not _accepted(manifest)
    overdue = silent and facts.now >= _silent_since(facts, manifest) + PATIENCE
    return RouteStatus(ref, controller, word, message, overdue)


def _word(manifest: Manifest, controller: Controller) -> tuple[RouteAcceptance, str]:
    generation = manifest["metadata"].get("generation")
    for condition in _accepted(manifest):
        if condition.get("observedGeneration") in (None, generation):
            said = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            word = {"True": RouteAcceptance.ACCEPTED, "False": RouteAcceptance.REJECTED}.get(
                str(condition.get("status")), RouteAcceptance.UNKNOWN
            )
            return word, said
    # An answer about an older generation does not count for this one, unless it needs none.
    needed = manifest.get("kind") not in controller.silent_at_times
    return (RouteAcceptance.UNKNOWN if needed else RouteAcceptance.ACCEPTED), ""


def _accepted(manifest: Manifest) -> list[Mapping[str, Any]]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return [each for each in conditions if each.get("type") == ConditionType.ACCEPTED]


def _silent_since(facts: Facts, manifest: Manifest) -> datetime:
    """
    Since when an object waits for an answer: its creation, or the time since which its section is not programmed.

    The status has the latter, so that a restart of the operator does not begin to count anew.
    """
    created = manifest["metadata"].get("creationTimestamp")
    made = parse_instant(created) if created else facts.now
    return max(made, _unprogrammed_since(facts, section_of(manifest)))


def _unprogrammed_since(facts: Facts, section: str) -> datetime:
    list_, _, name = section.rpartition(".")
    for entry in facts.gateway.status.get(list_ or "destinations") or ():
        for condition in entry.get("conditions") or () if entry.get("name") == name else ():
            if condition.get("type") == ConditionType.PROGRAMMED and condition.get("status") == "False":
                since = condition.get("lastTransitionTime")
                return parse_instant(since) if since else facts.now
    return facts.now
