"""Judges every EgressGateway of a `World` as the operator would: the same facts, the same checks, the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egressgateway.api.conditions import CATALOGUE, ConditionType, Reason
from egressgateway.facts import Facts
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.findings import Advisory, Finding
from egressgateway.refs import EGRESS_GATEWAY, Key, ObjectRef
from egressgateway.tool.codes import BY_NOTICE, BY_REASON, NO_TIMEOUT, Code
from egressgateway.tool.diagnostic import Diagnostic, NotChecked, Related
from egressgateway.tool.documents import Document
from egressgateway.tool.unknown import concludes, judgeable, unselected
from egressgateway.tool.world import World

_FIELD: Final = re.compile(r"(spec[^\s:]*|metadata[^\s:]*): ")
_OTHER: Final = re.compile(r"EgressGateway ([^\s/]+)/([^\s,;]+)")
_CONTESTS: Final = frozenset({Reason.HOST_CONFLICT, Reason.PORT_CONFLICT})
_EXPOSED: Final = "expose."


@dataclass(frozen=True, slots=True)
class Judged:
    """One EgressGateway: what was known of it, what the core made of that, and what was left open."""

    document: Document
    facts: Facts
    acceptance: Acceptance
    diagnostics: tuple[Diagnostic, ...]
    not_checked: tuple[NotChecked, ...]

    @property
    def key(self) -> Key:
        return self.facts.key


def judge(world: World, key: Key, now: datetime) -> Judged:
    """The verdict on one object, at the time `now`."""
    facts, skipped = judgeable(world, world.facts_of(key, now))
    document, acceptance = world.gateways[key], accept(facts)
    spec = facts.gateway.spec
    if spec is not None and spec.suspend:
        return Judged(document, facts, acceptance, (_suspended(document, key),), skipped)
    findings = (each for each in acceptance.findings if not _is_left_out(acceptance, each))
    told: list[Finding | Advisory] = [*findings, *acceptance.advisories]
    known = [each for each in told if concludes(world, each)]
    open_ = [unselected(facts, each) for each in told if isinstance(each, Finding) and each not in known]
    contests = [
        _who_is_older(key, other)
        for each in known
        for other in _others(world, each)
        if not (_tells_its_age(document) and _tells_its_age(world.gateways[other]))
    ]
    diagnostics = [_diagnostic(world, document, key, each) for each in known]
    diagnostics += _without_timeout(document, facts)
    return Judged(document, facts, acceptance, tuple(diagnostics), (*skipped, *open_, *dict.fromkeys(contests)))


def _is_left_out(acceptance: Acceptance, found: Finding) -> bool:
    """Of a section that is rejected, the status does not say why its clients would not be steered."""
    return found.condition is ConditionType.STEERED and acceptance.is_rejected(found.section)


def code_of(found: Finding | Advisory) -> Code:
    """The entry of the catalogue for what the core says."""
    return BY_REASON[found.reason] if isinstance(found, Finding) else BY_NOTICE[found.notice]


def _diagnostic(world: World, document: Document, key: Key, found: Finding | Advisory) -> Diagnostic:
    match = _FIELD.match(found.message)
    field = match[1] if match else ""
    path = field or _path_of(document, found.section) or "metadata.name"
    return Diagnostic(
        code_of(found),
        found.message,
        document.place(path, found.message),
        _ref(key),
        field,
        found.section,
        tuple(Related(_ref(other), world.gateways[other].place("metadata.name")) for other in _others(world, found)),
    )


def _others(world: World, found: Finding | Advisory) -> Iterator[Key]:
    """Objects among the files that have what is contended for."""
    if isinstance(found, Finding) and found.reason in _CONTESTS:
        for match in _OTHER.finditer(found.message):
            other = Key(match[1], match[2])
            if other in world.gateways:
                yield other


def _tells_its_age(document: Document) -> bool:
    return bool(document.manifest["metadata"].get("creationTimestamp"))


def _who_is_older(one: Key, other: Key) -> NotChecked:
    """Files hold no time of creation, by which objects without a claim contend."""
    subject = f"which of {min(one, other)} and {max(one, other)} is older"
    return NotChecked(subject, "files do not say; here the one that comes first by namespace and name has precedence")


def _path_of(document: Document, section: str) -> str:
    """Path of a destination or exposed host in the document."""
    where, name = (
        ("expose", section.removeprefix(_EXPOSED)) if section.startswith(_EXPOSED) else ("destinations", section)
    )
    spec = document.manifest.get("spec")
    entries = spec.get(where) if section and isinstance(spec, dict) else ()
    named = (each.get("name") if isinstance(each, dict) else None for each in entries or ())
    index = next((number for number, found in enumerate(named) if found == name), None)
    return "" if index is None else f"spec.{where}[{index}]"


def _suspended(document: Document, key: Key) -> Diagnostic:
    field = "spec.suspend"
    message = f"{field}: the operator leaves the object as it is. {CATALOGUE[Reason.SUSPENDED].remedy}"
    return Diagnostic(BY_REASON[Reason.SUSPENDED], message, document.place(field), _ref(key), field)


def _without_timeout(document: Document, facts: Facts) -> Iterator[Diagnostic]:
    """Requests that may wait for ever: the API's default, and rarely what a client wants."""
    spec = facts.gateway.spec
    for index, destination in enumerate(spec.destinations if spec is not None else ()):
        # Where a port is passed through, no time-out is supported.
        if destination.is_http and (destination.traffic is None or destination.traffic.timeout is None):
            field = f"spec.destinations[{index}].traffic.timeout"
            message = f"destination {destination.name}: no traffic.timeout: a request may wait for ever"
            yield Diagnostic(NO_TIMEOUT, message, document.place(field), _ref(facts.key), field, destination.name)


def _ref(key: Key) -> ObjectRef:
    return ObjectRef(EGRESS_GATEWAY.kind, *key)
