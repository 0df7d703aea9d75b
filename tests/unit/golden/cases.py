"""
Golden cases: what one object, in one state of the world, is judged, planned and written as.

A case is `tests/golden/<case>/in.yaml`; what the core makes of it is `out.yaml` beside it, which a person reviews.
What every child bears is not in there: `harness.everychild`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import yaml

from egressgateway.api.conditions import Reason
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import parse_instant
from egressgateway.api.validation import parse_class_spec, parse_spec
from egressgateway.diff.changeset import ChangeSet, Delete, Write, diff
from egressgateway.diff.steering import Steps, plan_steps
from egressgateway.facts import (
    Claimed,
    ClassFacts,
    Contender,
    Facts,
    GatewayFacts,
    MeshConfig,
    PodFacts,
    PodSelection,
    Ports,
    Reached,
    References,
    Rights,
    UnmanagedRoute,
    WorkloadFacts,
)
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.build import build_plan
from egressgateway.plan.ir import Plan
from egressgateway.refs import Key, Manifest, ObjectRef, ref_of
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import Desired, render_child
from egressgateway.settings import MeshSettings
from egressgateway.status.merge import merge_status
from egressgateway.status.summarize import Observed, Summary, summarize
from harness.everychild import without_common
from harness.golden import ROOT
from unit.engine.simulation import merge
from unit.plan.world import SERVING, facts_of

RENDERER = Renderer()
CREATED = datetime.fromisoformat("2026-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Whether the mesh has been told; see `Facts`."""

    gateway: bool = True
    clients: bool = True


@dataclass(frozen=True, slots=True)
class Live:
    """Children that stand: those of another case, less `without`, each merged with what `patches` has for it."""

    of: str
    without: tuple[str, ...] = ()
    patches: dict[str, Manifest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """`in.yaml`: the object, what surrounds it, and what of the outcome the case is about."""

    gateway: Manifest
    class_: Manifest | None = None
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    """Labels of namespaces; the object's own is always there."""
    references: References = field(default_factory=References)
    unmanaged_routes: tuple[UnmanagedRoute, ...] = ()
    mesh: MeshConfig = field(default_factory=MeshConfig)
    contenders: tuple[Contender, ...] = ()
    live: Live | None = None
    workload: WorkloadFacts = SERVING
    settled: SteadyState = SteadyState()
    reached: dict[str, Reached] = field(default_factory=dict)
    unserved: frozenset[str] = frozenset()
    """Kinds whose CRD is missing."""
    now: datetime = CREATED
    settings: MeshSettings = field(default_factory=MeshSettings)
    shown: tuple[str, ...] | None = None
    """Kinds of objects that `out.yaml` shows; None for all."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the core makes of a case."""

    facts: Facts
    acceptance: Acceptance
    plan: Plan
    desired: tuple[Desired, ...]
    changes: ChangeSet
    steps: Steps
    summary: Summary

    @property
    def status(self) -> dict[str, Any]:
        """The status that would be stored."""
        gateway = self.facts.gateway
        return merge_status(gateway.status, self.summary, gateway.generation, self.facts.now)


def case_names() -> list[str]:
    """Every case, in order."""
    return sorted(path.parent.name for path in ROOT.glob("*/in.yaml"))


def state_names() -> list[str]:
    """One case for each state of an object: `Ready` and what stands beside it, with and without exposed hosts."""
    states: dict[tuple[str, ...], str] = {}
    for path in sorted(ROOT.glob("*/out.yaml")):
        conditions = yaml.load(path.read_text().partition("\nobjects:")[0], yaml.CSafeLoader)["conditions"]
        states.setdefault(_state_of(conditions), path.parent.name)
    return sorted(states.values())


def _state_of(conditions: dict[str, dict[str, str]]) -> tuple[str, ...]:
    told = {type_: text.partition(":")[0] for type_, text in conditions["object"].items()}
    abnormal = [type_ for type_ in ("Stalled", "Reconciling") if type_ in told]
    exposed = ["expose"] if any(part.startswith("expose ") for part in conditions) else []
    return (told["Ready"], *abnormal, *exposed)


def parse_case(text: str) -> Case:
    """
    The case that `text` describes.

    Raises:
        ValueError: a key is unknown.
    """
    raw = yaml.load(text, yaml.CSafeLoader)
    _no_others(raw, _KEYS)
    return Case(
        gateway=raw["gateway"],
        class_=raw.get("class"),
        namespaces=raw.get("namespaces", {}),
        references=_references(raw.get("references", {})),
        unmanaged_routes=tuple(_foreign(entry) for entry in raw.get("foreign", ())),
        mesh=MeshConfig(**raw.get("mesh", {})),
        contenders=tuple(_contender(entry) for entry in raw.get("contenders", ())),
        live=_live(raw["live"]) if "live" in raw else None,
        workload=WorkloadFacts(**raw["workload"]) if "workload" in raw else SERVING,
        settled=SteadyState(**raw.get("settled", {})),
        reached={name: _reached(entry) for name, entry in raw.get("reached", {}).items()},
        unserved=frozenset(raw.get("unserved", ())),
        now=parse_instant(raw.get("now", "2026-01-01T00:00:00Z")),
        settings=MeshSettings(**raw.get("settings", {})),
        shown=tuple(raw["show"]) if "show" in raw else None,
    )


_KEYS = {
    "gateway",
    "class",
    "namespaces",
    "references",
    "foreign",
    "mesh",
    "contenders",
    "live",
    "workload",
    "settled",
    "reached",
    "unserved",
    "now",
    "settings",
    "show",
}


def run(case: Case) -> Result:
    """Judge, plan, render and compare, as one pass of the operator would."""
    facts = _facts(case)
    acceptance = accept(facts)
    plan = build_plan(facts, acceptance)
    desired = tuple(render_child(RENDERER, child) for child in plan.children)
    changes = diff(plan, desired, facts.live, facts.key)
    steps = plan_steps(changes, facts)
    missing = frozenset(write.ref for write in changes.writes)
    observed = Observed(missing=missing, foreign=changes.foreign, held=steps.held)
    return Result(facts, acceptance, plan, desired, changes, steps, summarize(facts, acceptance, plan, observed))


@cache
def case_named(name: str) -> Case:
    """The case `name`."""
    return parse_case((ROOT / name / "in.yaml").read_text())


@cache
def run_named(name: str) -> Result:
    """The result of the case `name`."""
    return run(case_named(name))


def as_text(case: Case, result: Result) -> str:
    """`out.yaml`."""
    owner = result.facts.key
    shown = [
        without_common(item.manifest, owner)
        for item in result.desired
        if case.shown is None or item.ref.kind in case.shown
    ]
    out = {
        "findings": [
            {
                "condition": str(found.condition),
                "reason": str(found.reason),
                "part": found.section,
                "message": found.message,
            }
            for found in result.acceptance.findings
        ],
        "conditions": {
            "object": _conditions(result.status["conditions"]),
            **{part["name"]: _conditions(part["conditions"]) for part in result.status.get("destinations", ())},
            **{f"expose {part['name']}": _conditions(part["conditions"]) for part in result.status.get("expose", ())},
        },
        "steps": _steps(result.steps),
        "objects": shown,
    }
    return yaml.dump(out, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _facts(case: Case) -> Facts:
    metadata = case.gateway["metadata"]
    namespaces = {metadata["namespace"]: {}, **case.namespaces}
    spec = parse_spec(case.gateway.get("spec"))
    errors = spec if isinstance(spec, tuple) else ()
    return facts_of(
        now=case.now,
        gateway=GatewayFacts(
            key=Key(metadata["namespace"], metadata["name"]),
            uid="0a1b",
            generation=1,
            created=CREATED,
            spec=None if isinstance(spec, tuple) else spec,
            errors=errors,
            status=case.gateway.get("status", {}),
        ),
        class_=_class(case),
        mesh=case.settings,
        namespaces=namespaces,
        references=case.references,
        unmanaged_routes=tuple(each for each in case.unmanaged_routes if not each.tcp_ports),
        foreign_ports=tuple(each for each in case.unmanaged_routes if each.tcp_ports),
        mesh_config=case.mesh,
        contenders=case.contenders,
        live=_live_objects(case.live) if case.live else {},
        workload=case.workload,
        reached=case.reached,
        unserved=case.unserved,
        gateway_pushed=case.settled.gateway,
        clients_pushed=case.settled.clients,
    )


def _class(case: Case) -> ClassFacts:
    name = (case.gateway.get("spec") or {}).get("className", "")
    if case.class_ is None:
        return ClassFacts(name, None if name else EgressGatewayClassSpec())
    spec = parse_class_spec(case.class_["spec"])
    assert not isinstance(spec, tuple), spec
    return ClassFacts(case.class_["metadata"]["name"], spec)


def _contender(raw: Manifest) -> Contender:
    """`wants` and `steers` are names in the namespaces of `consumers`, by default the rival's own."""
    _no_others(
        raw,
        {"name", "namespace", "consumers", "wants", "claimed", "since", "steers", "tcpPorts", "namedPorts", "exposes"},
    )
    consumers = frozenset(raw.get("consumers", [raw["namespace"]]))
    claimed = {host: parse_instant(at) for host, at in raw.get("claimed", {}).items()}
    since = {name: parse_instant(at) for name, at in raw.get("since", {}).items()}
    since = since or (dict.fromkeys(consumers, min(claimed.values())) if claimed else {})
    names = {host: {name: max(at, begun) for name, begun in since.items()} for host, at in claimed.items()}
    return Contender(
        key=Key(raw["namespace"], raw["name"]),
        created=CREATED,
        serves=dict.fromkeys(raw.get("wants", ()), consumers),
        exposes=frozenset(Claimed(**entry) for entry in raw.get("exposes", ())),
        ports=Ports(
            dict.fromkeys(raw.get("tcpPorts", ()), consumers), dict.fromkeys(raw.get("namedPorts", ()), consumers)
        ),
        rights=Rights(names),
        steers=dict.fromkeys(raw.get("steers", ()), consumers),
    )


def _references(raw: Manifest) -> References:
    """`found` are objects, `absent` are `Kind namespace/name`, `pods` are those of gateways that others run."""
    _no_others(raw, {"found", "absent", "unreadable", "pods"})
    objects: dict[ObjectRef, Manifest | None] = {ref_of(found): found for found in raw.get("found", ())}
    return References(
        objects={**objects, **dict.fromkeys(map(_ref, raw.get("absent", ())))},
        pods={
            PodSelection(entry["namespace"], tuple(sorted(entry["labels"].items()))): tuple(
                PodFacts(**pod) for pod in entry["pods"]
            )
            for entry in raw.get("pods", ())
        },
        unreadable=frozenset(map(_ref, raw.get("unreadable", ()))),
    )


def _ref(text: str) -> ObjectRef:
    kind, _, name = text.partition(" ")
    return ObjectRef(kind, *name.split("/"))


def _foreign(raw: Manifest) -> UnmanagedRoute:
    _no_others(raw, {"ref", "hosts", "visibleIn", "created", "tcpPorts"})
    return UnmanagedRoute(
        _ref(raw["ref"]),
        frozenset(raw["hosts"]),
        frozenset(raw["visibleIn"]),
        parse_instant(raw["created"]),
        frozenset(raw.get("tcpPorts", ())),
    )


def _reached(raw: Manifest) -> Reached:
    _no_others(raw, {"status", "reason", "message"})
    return Reached(raw["status"], Reason(raw["reason"]), raw["message"])


def _live(raw: Manifest) -> Live:
    _no_others(raw, {"of", "without", "patches"})
    return Live(raw["of"], tuple(raw.get("without", ())), raw.get("patches", {}))


def _live_objects(live: Live) -> dict[ObjectRef, Manifest]:
    found = {shown(item.ref): item.manifest for item in run_named(live.of).desired}
    unknown = {*live.without, *live.patches} - found.keys()
    if unknown:
        raise ValueError(f"{live.of} has no {', '.join(sorted(unknown))}; it has {', '.join(found)}")
    stored = [
        merge(merge(manifest, {"metadata": {"uid": name, "resourceVersion": "7"}}), live.patches.get(name, {}))
        for name, manifest in found.items()
        if name not in live.without
    ]
    return {ref_of(manifest): manifest for manifest in stored}


def _no_others(raw: Manifest, known: set[str]) -> None:
    if unknown := raw.keys() - known:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")


def _conditions(conditions: list[Manifest]) -> dict[str, str]:
    return {
        each["type"]: f"{each['status']} {each['reason']}" + (f": {each['message']}" if each["message"] else "")
        for each in conditions
    }


def _steps(steps: Steps) -> dict[str, Any]:
    return {
        "foundation": [_action(action) for action in (*steps.guards, *steps.foundation)],
        "gateway": [_action(action) for action in steps.gateway],
        "batches": [[_action(action) for action in burst] for burst in steps.batches],
        "removals": [_action(action) for action in steps.removals],
        "held": {shown(ref): hold.value for ref, hold in sorted(steps.held.items())},
    }


def _action(action: Write | Delete) -> str:
    return f"{action.mode.value if isinstance(action, Write) else 'delete'} {shown(action.ref)}"


def shown(ref: ObjectRef) -> str:
    """`ref` without its namespace, which is the object's own."""
    return f"{ref.kind} {ref.name}"


class _Dumper(yaml.CSafeDumper):
    """Writes equal objects out each time: anchors are for machines."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))
_Dumper.add_multi_representer(tuple, lambda dumper, items: dumper.represent_list(list(items)))
