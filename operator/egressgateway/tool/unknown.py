"""
What cannot be concluded from files, and so is said instead of being judged: labels of namespaces that are not there,
classes, Secrets, what runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from egressgateway.api.conditions import Reason
from egressgateway.api.gateway_class import AllowedConsumers, ConsumersFrom
from egressgateway.api.selector import LabelSelector
from egressgateway.contention.consumers import all_entries
from egressgateway.facts import Facts
from egressgateway.plan.findings import Advisory, Finding, Notice
from egressgateway.plan.gateway.references import CA_SUFFIX
from egressgateway.refs import ObjectRef
from egressgateway.tool.diagnostic import NotChecked
from egressgateway.tool.world import World

_ABSENT = "not among the files"
_NAME_LABEL = "kubernetes.io/metadata.name"
_CLUSTER = NotChecked(
    "what only a cluster knows", "claims and routes of objects that are not among the files, pods, whether hosts answer"
)


def judgeable(world: World, facts: Facts) -> tuple[Facts, tuple[NotChecked, ...]]:
    """`facts` without the rules of a class whose answer depends on labels that are not known, and which those are."""
    spec = facts.class_.spec
    if world.scope.complete or spec is None:
        return facts, ()
    home, consumers = spec.allowed_namespaces, spec.allowed_consumers
    skipped: list[NotChecked] = []
    dropped: dict[str, AllowedConsumers | None] = {}
    own = facts.key.namespace
    if home is not None and _needs_labels(home.selector) and not world.has_namespace(own):
        dropped["allowed_namespaces"] = None
        skipped.append(_labels_of(own, f"allowedNamespaces of {facts.class_}"))
    unknown = sorted(name for name in _named_consumers(facts) if not world.has_namespace(name))
    if consumers is not None and _needs_labels(consumers.selector) and unknown:
        dropped["allowed_consumers"] = AllowedConsumers.model_construct(from_=ConsumersFrom.ALL, selector=None)
        skipped += [_labels_of(name, f"allowedConsumers of {facts.class_}") for name in unknown]
    if not dropped:
        return facts, ()
    class_ = replace(facts.class_, spec=spec.model_copy(update=dropped))
    return replace(facts, class_=class_), tuple(skipped)


def concludes(world: World, found: Finding | Advisory) -> bool:
    """Whether files are enough to say this."""
    if world.scope.complete:
        return True
    if isinstance(found, Advisory):
        return found.notice is not Notice.UNCHECKED
    return not (found.reason is Reason.NO_CONSUMERS and "no namespace has the labels" in found.message)


def not_checked(world: World) -> Iterator[NotChecked]:
    """What of the world itself is not known."""
    if world.scope.complete or not world.gateways:
        return
    for name in sorted(world.missing_classes, key=str):
        subject = "the default class" if name is None else f"EgressGatewayClass {name}"
        yield NotChecked(subject, f"{_ABSENT}: judged as if it allowed everything; give it with --class FILE")
    for ref in sorted(world.missing):
        if not ref.name.endswith(CA_SUFFIX):
            yield NotChecked(str(ref), _ABSENT)
    if not world.has_mesh_config:
        config = ObjectRef("ConfigMap", world.settings.mesh.root_namespace, "istio")
        yield NotChecked("the mesh's configuration", f"{config} is {_ABSENT}")
    yield _CLUSTER


def unselected(facts: Facts, found: Finding) -> NotChecked:
    """In place of a finding that nobody may use a destination."""
    return NotChecked(f"consumers of {facts.key}, destination {found.section}", f"namespaces are {_ABSENT}")


def _needs_labels(selector: LabelSelector | None) -> bool:
    """Whether more than the name of a namespace decides."""
    if selector is None:
        return False
    return bool({*selector.match_labels, *(each.key for each in selector.match_expressions)} - {_NAME_LABEL})


def _named_consumers(facts: Facts) -> frozenset[str]:
    spec = facts.gateway.spec
    entries = all_entries(spec) if spec is not None else ()
    return frozenset(name for entry in entries for name in entry.namespaces) - {facts.key.namespace, "*"}


def _labels_of(namespace: str, rule: str) -> NotChecked:
    return NotChecked(f"{rule} for namespace {namespace}", f"Namespace {namespace} is {_ABSENT}, so its labels are not")
