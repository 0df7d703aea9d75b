"""
No `True` stands without what it rests on.

Of an object of which everything is True each piece of evidence is taken away in turn, and exactly those conditions fall
that rest on it; where one may stay, its message says what was not looked at. The tables are complete by construction:
a field of `Facts` and of the other inputs that no row takes away, and that is not said to be no evidence, fails a test.

docs/concepts.md tells the same, by condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import pytest

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.diff.changeset import diff
from egressgateway.diff.steering import plan_steps
from egressgateway.facts import (
    Acknowledgement,
    Answers,
    ClassFacts,
    ClientPods,
    ClientScope,
    Contender,
    EgressListener,
    Facts,
    HopRule,
    MeshConfig,
    Reached,
    References,
    Rights,
    SidecarScope,
    UnmanagedRoute,
    WorkloadFacts,
)
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.findings import Finding
from egressgateway.refs import Key, Manifest, ObjectRef, ref_of
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import Desired, render_child
from egressgateway.stages import Stage
from egressgateway.status.clients import ClientEvidence
from egressgateway.status.condition import Condition, Observed
from egressgateway.status.readiness import READY, ObjectState
from egressgateway.status.section_rules import PROGRAMMED, STEERED, SectionState
from egressgateway.status.summarize import summarize
from unit.plan.test_references import certificate, pair, secret
from unit.plan.world import NOW, class_of, destination, facts_of, spec_of

ACCEPTED, RESOLVED, WRITTEN, ROUTED, REACHED, READY_ = (
    "Accepted",
    "ResolvedRefs",
    "Programmed",
    "Steered",
    "Reachable",
    "Ready",
)
ALL: Final = frozenset({ACCEPTED, RESOLVED, WRITTEN, ROUTED, REACHED, READY_})
SECRET: Final = ObjectRef("Secret", "shop", "client")
CONSUMER: Final = "web"
HOST: Final = "api.example.com"
EARLIER: Final = NOW - timedelta(days=1)
FOREIGN: Final = ObjectRef("ServiceEntry", "elsewhere", "other")
DATABASE: Final = "db.example.com"
RENDERER: Final = Renderer()
NOBODY: Final = EgressListener(None, {"*": frozenset({"elsewhere"})})
"""Of a Sidecar resource that imports nothing of the object's namespace."""


@cache
def facts() -> Facts:
    """An object in whose status everything is True: HTTP with TLS from the gateway and a probe, and TCP."""
    tls = {"mode": "Mutual", "credentialName": "client"}
    web = destination(
        "api", HOST, ports=[{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}], probe={"path": "/"}
    )
    database = destination("db", DATABASE, ports=[{"port": 5432, "protocol": "TCP"}], probe={"periodSeconds": 10})
    class_spec = class_of(
        allowedConsumers={"from": "Selector", "selector": {"matchLabels": {"egress": "yes"}}},
        externalAuthorization={"provider": "opa"},
    )
    bare = facts_of(
        spec_of(web, database, access={"from": [{"namespaces": [CONSUMER]}]}),
        class_spec,
        namespaces={CONSUMER: {"egress": "yes"}},
        references=References({SECRET: secret(**pair(ca_crt=certificate()))}),
        mesh_config=MeshConfig(authorizers={"opa": "grpc"}),
        client_pods={CONSUMER: ClientPods(in_mesh=1)},
        reached=dict.fromkeys(("api", "db"), Reached("True", Reason.REACHABLE, "reached")),
    )
    return replace(bare, live={ref_of(each.manifest): each.manifest for each in desired(bare)})


def desired(of: Facts) -> tuple[Desired, ...]:
    return tuple(render_child(RENDERER, child) for child in build_plan(of, accept(of)).children)


@dataclass(frozen=True, slots=True)
class Told:
    """What a status says: which conditions are True of all sections and of the object, and all messages."""

    true: frozenset[str]
    messages: str


def told(of: Facts, **observed: Any) -> Told:
    """The status, by the way that a pass of the operator goes."""
    acceptance = accept(of)
    plan = build_plan(of, acceptance)
    rendered = tuple(render_child(RENDERER, child) for child in plan.children)
    changes = diff(plan, rendered, of.live, of.key)
    steps = plan_steps(changes, of)
    missing = frozenset(write.ref for write in changes.writes)
    seen = replace(Observed(missing=missing, foreign=changes.foreign, held=steps.held), **observed)
    summary = summarize(of, acceptance, plan, seen)
    listed: list[Condition] = [each for _, conditions in summary.sections for each in conditions]
    of_object = [each for each in summary.conditions if each.type is ConditionType.READY]
    true = {
        type_
        for type_ in ALL
        if (own := [each.status for each in (*listed, *of_object) if each.type == type_]) and set(own) == {"True"}
    }
    return Told(frozenset(true), " ".join(each.message for each in (*listed, *summary.conditions)))


def test_everything_is_true_to_begin_with() -> None:
    """Else nothing could fall."""
    assert told(facts()).true == ALL


@dataclass(frozen=True, slots=True)
class Taken:
    """
    One piece of evidence that is missing, or that speaks against.

    Attributes:
        field: of `Facts`.
        values: what it is then, by the facts as they were.
        falls: conditions that are not True any more.
        says: for what could not be looked at, and lets a condition stay: how the status says it.
    """

    field: str
    values: Callable[[Facts], Mapping[str, Any]]
    falls: frozenset[str]
    says: str = ""


def taken(field: str, value: Any, *falls: str, says: str = "") -> Taken:
    """`value` is that of the field, or makes it of the facts as they were."""
    return Taken(field, lambda of: {field: value(of) if callable(value) else value}, frozenset(falls), says)


def _scope(**more: Any) -> Mapping[str, ClientScope]:
    return {CONSUMER: ClientScope(**more)}


def _hop_rule(**more: Any) -> HopRule:
    return HopRule(ObjectRef("DestinationRule", CONSUMER, "other"), "*.local", **more)


def _sidecar(**more: Any) -> SidecarScope:
    return SidecarScope(ObjectRef("Sidecar", CONSUMER, "default"), (NOBODY,), **more)


def _without(kind: str) -> Callable[[Facts], Mapping[ObjectRef, Manifest]]:
    return lambda of: {ref: found for ref, found in of.live.items() if ref.kind != kind}


def _changed(kind: str) -> Callable[[Facts], Mapping[ObjectRef, Manifest]]:
    """Somebody has written over the children of a kind."""
    return lambda of: {
        ref: {**found, "spec": {"hosts": ["changed.example.com"]}} if ref.kind == kind else found
        for ref, found in of.live.items()
    }


def _route(ref: ObjectRef, host: str, **more: Any) -> tuple[UnmanagedRoute, ...]:
    return (UnmanagedRoute(ref, frozenset({host}), frozenset({"*"}), EARLIER, **more),)


def _rival() -> tuple[Contender, ...]:
    """Another object that has claimed the host first, for the same consumers."""
    places = frozenset({CONSUMER})
    rights = Rights({HOST: {CONSUMER: EARLIER}})
    return (Contender(Key("other", "rival"), EARLIER, serves={HOST: places}, rights=rights),)


TAKEN: Final = {
    "the object's spec": Taken("gateway", lambda of: {"gateway": replace(of.gateway, spec=None, left_out=True)}, ALL),
    "the class": taken("class_", ClassFacts("standard", None), ACCEPTED, REACHED, READY_),
    "the class's leave for the host": taken(
        "class_", lambda of: ClassFacts("standard", class_of(allowedHosts=["other.example.com"])), *(ALL - {RESOLVED})
    ),
    "the consumer's namespace": taken("namespaces", {"shop": {}}, *(ALL - {RESOLVED})),
    "the consumer's label": taken("namespaces", {"shop": {}, CONSUMER: {}}, *(ALL - {RESOLVED})),
    "the Secret": taken("references", References({SECRET: None}), RESOLVED, WRITTEN, READY_),
    "the Secret's content": taken("references", References({SECRET: secret()}), RESOLVED, WRITTEN, READY_),
    "the right to the Secret": taken(
        "references", References(unreadable=frozenset({SECRET})), says="Secret shop/client is not checked"
    ),
    "the room for the Secret": taken(
        "references",
        References(unreadable=frozenset({SECRET}), too_many=frozenset({SECRET})),
        says="Secret shop/client is not checked",
    ),
    "the authorizer": taken("mesh_config", MeshConfig(authorizers={}), RESOLVED, ROUTED, REACHED, READY_),
    "the mesh's configuration": taken("mesh_config", MeshConfig(), says="authorizer opa of"),
    "the clock": taken("now", datetime(2028, 1, 1, tzinfo=UTC), RESOLVED, WRITTEN, READY_),
    "the only route": taken(
        "unmanaged_routes", _route(ObjectRef("VirtualService", CONSUMER, "other"), HOST), ROUTED, READY_
    ),
    # What runs goes on until the other object's clients are written: they are still sent through the gateway.
    "the only claim": taken("contenders", _rival(), ACCEPTED, WRITTEN, READY_),
    "the gateway's pods": taken("workload", WorkloadFacts(replicas=2, ready=0), ROUTED, READY_),
    "the probe's answer": taken("reached", {}, REACHED),
    "a probe that failed": taken(
        "reached",
        lambda of: {**of.reached, "api": Reached("False", Reason.DNS_FAILED, "no such host")},
        REACHED,
    ),
    "the clients' sidecars": taken("client_pods", {CONSUMER: ClientPods(outside=1)}, ROUTED, READY_),
    "the clients in the mesh": taken("client_pods", {CONSUMER: ClientPods(ambient=1)}, ROUTED, READY_),
    "the right to pods": taken("client_pods", {}, says="the pods of web are not counted"),
    "the clients": taken("client_pods", {CONSUMER: ClientPods()}, says="no pod in the mesh runs there yet"),
    "what clients' sidecars learn": taken("client_scopes", _scope(sidecar=_sidecar()), ROUTED, READY_),
    "what can be read of it": taken("client_scopes", _scope(sidecar=_sidecar(unread=True)), ROUTED, READY_),
    "what some sidecars learn": taken(
        "client_scopes", _scope(sidecars=(_sidecar(selects=True),)), says="hides api.example.com from some pods of web"
    ),
    "the rule for the hop": taken("client_scopes", _scope(rule=_hop_rule()), ROUTED, READY_),
    "what can be read of the rule": taken("client_scopes", _scope(rule=_hop_rule(unread=True)), ROUTED, READY_),
    "a kind": Taken(
        "unserved",
        lambda of: {"unserved": frozenset({"VirtualService"}), "live": _without("VirtualService")(of)},
        frozenset(ALL - {ACCEPTED}),
    ),
    "the time to push": taken("pushing", frozenset({"api"}), ROUTED, READY_),
    "what a gateway's proxy has": taken(
        "acknowledgement", Acknowledgement(Answers.COMPLETE, {"api": "pod-0"}), ROUTED, READY_
    ),
    "what its proxies tell": taken("acknowledgement", Acknowledgement(Answers.AWAITED), ROUTED, READY_),
    "what any of them tells": taken(
        "acknowledgement", Acknowledgement(Answers.MISSING), says="not every gateway pod tells"
    ),
    "the gateway's objects": taken("live", {}, WRITTEN, ROUTED, READY_),
    "clients' routes": taken("live", _without("VirtualService"), WRITTEN, ROUTED, READY_),
    "clients' entries": taken("live", _without("ServiceEntry"), WRITTEN, ROUTED, READY_),
    "routes as planned": taken("live", _changed("VirtualService"), WRITTEN, ROUTED, READY_),
    "a child's name": Taken(
        "others",
        lambda of: {
            "live": _without("Deployment")(of),
            "others": {ref: found for ref, found in of.live.items() if ref.kind == "Deployment"},
        },
        frozenset({WRITTEN, READY_}),
    ),
}
"""What is taken away, by what it is."""

NO_EVIDENCE: Final = {
    "mesh": "settings of the operator, which are planned by",
    "last_class": "stands for a class that cannot be read, which is not accepted",
    "namespace_labels": "planned by; of a namespace that was not seen nothing is written",
    "left_out": "a pass that lacks children ends before it judges them",
    "reach": "says when two facts are equal",
    "namespaces_created": "tells which of two names came first, before a host is accepted",
    "foreign_ports": "counts until the port is steered: whoever comes later is not served there",
    "handovers": "says how long names stay that the object does not ask for, or has lost",
    "gateway_pushed": "delays the first route, without which nothing is steered",
    "clients_pushed": "delays the end of hops that nobody is sent to",
}
"""Fields that no condition rests on, and why."""


@pytest.mark.parametrize("what", TAKEN)
def test_no_true_stands_without_its_evidence(what: str) -> None:
    row = TAKEN[what]
    found = told(replace(facts(), **row.values(facts())))
    assert ALL - found.true == row.falls
    assert row.says in found.messages


def test_every_input_is_taken_away() -> None:
    """Whoever gives the core another thing to look at says here what becomes of conditions without it."""
    known = {row.field for row in TAKEN.values()}
    assert known & NO_EVIDENCE.keys() == set()
    assert known | NO_EVIDENCE.keys() == {each.name for each in fields(Facts)}


@pytest.mark.parametrize("row", [row for row in TAKEN.values() if not row.falls], ids=lambda row: row.says)
def test_what_lets_everything_stand_is_said(row: Taken) -> None:
    """What could not be looked at is in the status all the same."""
    assert row.says
    assert row.says not in told(facts()).messages


@pytest.mark.parametrize("index", range(len(desired(facts()))))
def test_each_child_is_evidence(index: int) -> None:
    """Without any single child not everything is in place; without one of the clients' side nobody is steered."""
    plan = build_plan(facts(), accept(facts()))
    child = plan.children[index]
    found = told(replace(facts(), live={ref: each for ref, each in facts().live.items() if ref != child.ref}))
    expected = {WRITTEN, READY_} | ({ROUTED} if child.stage is Stage.CLIENTS else set())
    assert ALL - found.true >= expected


ROUTE: Final = ObjectRef("VirtualService", "shop", "x")
REASONS: Final = ClientEvidence(absent="a", outside_mesh="b", hidden="c", unread="d")

OBSERVED: Final[Mapping[str, Any]] = {
    "missing": lambda refs: refs,
    "failures": lambda refs: dict.fromkeys(refs, "refused"),
    "foreign": lambda refs: refs,
}
"""What was observed of the writes, for all children: each of them alone lets `Programmed` fall."""

NOTHING_ALONE: Final = {
    "transient_errors": "says why an object is missing",
    "held": "says why an object is not written yet, which is missing then",
}


@pytest.mark.parametrize("what", OBSERVED)
def test_no_write_is_taken_for_done(what: str) -> None:
    refs = frozenset(facts().live)
    found = told(facts(), **{what: OBSERVED[what](refs)})
    assert {WRITTEN, READY_} <= ALL - found.true


def test_every_observation_is_taken_away() -> None:
    assert OBSERVED.keys() | NOTHING_ALONE.keys() == {each.name for each in fields(Observed)}


STANDS: Final = SectionState(in_place=True, ready_pods=1)
CONFLICT: Final = Finding(ConditionType.STEERED, Reason.ROUTE_CONFLICT, "other")

SECTION: Final[Mapping[str, tuple[Mapping[str, Any], str]]] = {
    "rejected": ({"rejected": True}, WRITTEN),
    "foreign": ({"foreign": ROUTE}, WRITTEN),
    "failure": ({"failure": ""}, WRITTEN),
    "missing": ({"missing": True}, WRITTEN),
    "unaccepted": ({"unaccepted": ROUTE}, WRITTEN),
    "refusal": ({"refusal": ""}, WRITTEN),
    "overdue": ({"overdue": True}, WRITTEN),
    "push_failure": ({"push_failure": ""}, WRITTEN),
    "push_timeout": ({"push_timeout": timedelta(seconds=35)}, WRITTEN),
    "unknown_conditions": ({"unknown_conditions": ("ResourcesAvailable",)}, WRITTEN),
    "conflicts": ({"conflicts": (CONFLICT,)}, ROUTED),
    "unserved": ({"unserved": "why"}, ROUTED),
    "on_previous_route": ({"on_previous_route": True}, ROUTED),
    "in_place": ({"in_place": False}, ROUTED),
    "pushing": ({"pushing": True}, ROUTED),
    "lacking": ({"lacking": "pod-0"}, ROUTED),
    "asking": ({"asking": True}, ROUTED),
    "unconnected": ({"unconnected": CONFLICT}, ROUTED),
    "severed": ({"severed": "no such port"}, ROUTED),
    "ready_pods": ({"ready_pods": 0}, ROUTED),
    "clients": ({"clients": REASONS}, ROUTED),
}
"""By field of a section's state, what takes it away, and which condition falls."""

WORDS: Final = {
    "retained": "what was rejected goes on as it was, and is judged by what runs",
    "error": "words for what is missing",
    "controller": "words for what is not accepted",
    "why_silent": "words for what is not accepted",
    "version": "words for what is not accepted",
    "was_programmed": "tells Unknown from False while routes are pushed, or could not be",
    "was_steered": "tells Unknown from False while routes are pushed",
    "by_time": "words for a True that no pod of the gateway confirms",
    "deferred": "words for what is not in place",
    "needs_pods": "an exposed host at somebody else's gateway: nothing of ours serves it",
    "obstacle": "words for pods that are missing",
}
"""Fields that only choose words, or which answer other than True it is."""


def judged(state: SectionState) -> set[str]:
    return {str(table.type) for table in (PROGRAMMED, STEERED) if table.judge(state).status == "True"}


@pytest.mark.parametrize("what", SECTION)
def test_section_without_a_piece_of_its_state(what: str) -> None:
    changes, falls = SECTION[what]
    assert judged(STANDS) == {WRITTEN, ROUTED}
    assert falls not in judged(replace(STANDS, **changes))


@pytest.mark.parametrize("what", [each.name for each in fields(ClientEvidence) if each.name != "remark"])
def test_clients_evidence(what: str) -> None:
    """Each single thing that is known of clients; a remark is beside others that are steered."""
    assert ROUTED not in judged(replace(STANDS, clients=ClientEvidence(**{what: "why"})))


def test_every_piece_of_a_section_is_taken_away() -> None:
    assert SECTION.keys() & WORDS.keys() == set()
    assert SECTION.keys() | WORDS.keys() == {each.name for each in fields(SectionState)}


@pytest.mark.parametrize("condition", [ConditionType.ACCEPTED, ConditionType.PROGRAMMED, ConditionType.RESOLVED_REFS])
def test_object_is_not_ready_without_any_of_its_conditions(condition: ConditionType) -> None:
    for status in ("False", "Unknown"):
        bad = Condition(condition, status, Reason.PENDING, "why")
        assert READY.judge(ObjectState(failing=(bad,))).status != "True"
        steered = Condition(ConditionType.STEERED, status, Reason.PENDING, "why")
        assert READY.judge(ObjectState(unsteered=(steered,))).status != "True"
