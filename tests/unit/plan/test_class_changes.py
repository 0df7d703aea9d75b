"""A class that changes under its object: every way that clients may go by works at every moment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import format_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.diff.changeset import Write, diff
from egressgateway.diff.steering import Batch, Steps, plan_steps
from egressgateway.facts import Acknowledgement, Answers, Facts, MeshConfig, PodFacts, PodSelection, References
from egressgateway.live.children import mesh_routes, namespaces_of_export, subsets_of, ways_of
from egressgateway.live.controller_status import WRITTEN_AT
from egressgateway.live.exits import exits_of
from egressgateway.plan.accept import accept
from egressgateway.plan.acceptance import Acceptance
from egressgateway.plan.build import build_plan
from egressgateway.plan.gateway.target import target_of
from egressgateway.refs import APISIX_KINDS, Manifest, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import Desired, render_child
from unit.engine.routing import unguarded
from unit.plan.policies import Request, passes
from unit.plan.world import KEY, NOW, class_of, destination, facts_of, spec_of

RENDERER = Renderer()
Live = Mapping[ObjectRef, Manifest]
Steer = tuple[str, str]
"""A way, and the namespace of clients that are sent by it."""
SHARED_PODS = {"istio": "egress"}
SHARED: Manifest = {"shared": {"namespace": "edge", "service": "egress", "selector": SHARED_PODS}}
CLASSES: dict[str, EgressGatewayClassSpec] = {
    "strict": class_of(),
    "subsets": class_of(upgrades="Subset"),
    "plain": class_of(mtls="Disabled"),
    "shared": class_of(**SHARED),
    "shared plain": class_of(**SHARED, mtls="Disabled"),
    "shared on other ports": class_of(shared={**SHARED["shared"], "ports": {"http": 8080, "tls": 8443}}),
}
APISIX: dict[str, EgressGatewayClassSpec] = {
    "apisix": class_of(provider="APISIX", **SHARED, mtls="Disabled"),
    "another apisix": class_of(provider="APISIX", **SHARED, mtls="Disabled", apisix={"ingressClassName": "another"}),
}
PODS = References(
    {ObjectRef("Service", "edge", "egress"): {"spec": {"ports": [{"port": port} for port in (80, 443, 8080, 8443)]}}},
    {PodSelection("edge", (("istio", "egress"),)): (PodFacts("edge", "p", "egress", ready=True),)},
)
SPEC = spec_of(
    destination("a", "a.example.com"),
    destination("b", "b.example.com", ports=[{"port": 443, "protocol": "TLS"}]),
)
REQUESTS = spec_of(destination("a", "a.example.com"), destination("b", "b.example.com"))
"""What APISIX can do, too."""
PASS = timedelta(seconds=5)
MOST_PASSES = 40
GIVES_UP = timedelta(seconds=15)


@dataclass
class Apisix:
    """
    APISIX and its ingress controller, as version 2.2.0 was seen to behave: it accepts, then pushes, and says that a
    push failed when it gives up on an Admin API that hangs. APISIX serves what was pushed.
    """

    hangs_until: datetime = NOW
    known: dict[ObjectRef, Manifest] = field(default_factory=dict)
    generations: Counter[ObjectRef] = field(default_factory=Counter)
    said: dict[ObjectRef, tuple[str, str, datetime]] = field(default_factory=dict)
    """Status and reason of `Accepted`, and since when."""
    pushed: dict[ObjectRef, Manifest] = field(default_factory=dict)

    def follow(self, live: Live, now: datetime) -> None:
        """Push what was accepted before, then accept what is new."""
        objects = {ref: found for ref, found in live.items() if ref.kind in APISIX_KINDS}
        for memory in (self.known, self.said, self.pushed):
            for gone in memory.keys() - objects.keys():
                del memory[gone]
        for ref, (status, _, since) in self.said.items():
            if now >= self.hangs_until:
                self.pushed[ref] = self.known[ref]
                self.said[ref] = ("True", "Accepted", since if status == "True" else now)
            elif self.pushed.get(ref) != self.known[ref] and status == "True" and now >= since + GIVES_UP:
                self.said[ref] = ("False", "SyncFailed", now)
        for ref, found in objects.items():
            if self.known.get(ref) != found:
                self.known[ref] = found
                self.generations[ref] += 1
                self.said[ref] = ("True", "Accepted", now)

    def seen(self, live: Live) -> dict[ObjectRef, Manifest]:
        """What lives, with what the controller says of it."""
        return {ref: self._seen(ref, found) if ref in self.said else found for ref, found in live.items()}

    def _seen(self, ref: ObjectRef, found: Manifest) -> Manifest:
        status, reason, since = self.said[ref]
        generation, time = self.generations[ref], format_instant(since)
        metadata = {
            **found["metadata"],
            "generation": generation,
            WRITTEN_AT: {"status": time},
        }
        said = {"type": "Accepted", "status": status, "reason": reason, "observedGeneration": generation}
        return {**found, "metadata": metadata, "status": {"conditions": [said]}}


def told_by_pods(facts: Facts) -> Acknowledgement:
    """What the pods of the class's gateway say: they have whatever istiod shows to their namespace."""
    place = target_of(facts).namespace
    entries = [
        (found["spec"], {facts.key.namespace if each == "." else each for each in found["spec"]["exportTo"]})
        for ref, found in facts.live.items()
        if ref.kind == "ServiceEntry"
    ]
    shown = {
        (host, str(port["number"]))
        for spec, places in entries
        if places & {place, "*"}
        for host in spec["hosts"]
        for port in spec["ports"]
    }
    lacking = {
        section: "pod-0"
        for section, clusters in exits_of(facts.live, place).items()
        for _, number, _, host in (cluster.split("|") for cluster in clusters)
        if (host, number) not in shown
    }
    return Acknowledgement(Answers.COMPLETE, lacking)


@dataclass
class World:
    """What lives, and what a mesh would make of it. `recent` are ways that clients of a namespace may still go by."""

    live: dict[ObjectRef, Manifest] = field(default_factory=dict)
    recent: set[Steer] = field(default_factory=set)
    offences: list[str] = field(default_factory=list)
    apisix: Apisix = field(default_factory=Apisix)
    now: datetime = NOW
    marks: dict[str, str] = field(default_factory=dict)
    """By way through APISIX, what requests on it were marked with."""

    def settle(self, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec) -> None:
        """Passes of the operator until there is nothing left to do; the mesh is told between them."""
        gateway_pushed = clients_pushed = True
        for _ in range(MOST_PASSES):
            self.now += PASS
            self.apisix.follow(self.live, self.now)
            live = self.apisix.seen(self.live)
            facts = facts_of(spec, class_spec, namespaces={"lab": {}}, live=live, references=PODS, now=self.now)
            facts = replace(facts, gateway_pushed=gateway_pushed, clients_pushed=clients_pushed)
            facts = replace(facts, acknowledgement=told_by_pods(facts))
            steps, draining = planned(facts)
            if clients_pushed:
                self.recent.clear()
            self._write(steps)
            written = (*steps.guards, *steps.foundation, *steps.gateway)
            idle = not any((written, steps.batches, steps.removals, steps.held))
            if idle and not draining and gateway_pushed and clients_pushed:
                return
            gateway_pushed, clients_pushed = not written, not steps.batches
        raise AssertionError(f"still busy after {MOST_PASSES} passes")

    def _write(self, steps: Steps) -> None:
        for action in (*steps.guards, *steps.foundation, *steps.gateway):
            self.live[action.ref] = action.desired.manifest
            self._look(f"after {action.ref}")
        for batch in steps.batches:
            self._carry_out(batch)
            self._look("after a burst")
        for removal in steps.removals:
            del self.live[removal.ref]
            self._look(f"without {removal.ref}")

    def _carry_out(self, batch: Batch) -> None:
        self.recent |= in_use(self.live)
        for action in batch:
            if isinstance(action, Write):
                self.live[action.ref] = action.desired.manifest
            else:
                del self.live[action.ref]

    def _look(self, when: str) -> None:
        self.marks |= marks_of(self.live)
        for way, namespace in sorted(in_use(self.live) | self.recent):
            if flaw := flaw_of(self.live, way, namespace, self.marks.get(way, ""), self.apisix.pushed):
                self.offences.append(f"{when}: {way} from {namespace} {flaw}")
        self.offences += [
            f"{when}: APISIX does not have {host}" for host in unknown_hosts(self.live, self.apisix.pushed)
        ]
        self.offences += [f"{when}: no rule has subset {subset}" for subset in missing_subsets(self.live)]
        self.offences += [f"{when}: {sni} is open to strangers" for sni in open_names(self.live)]
        self.offences += [f"{when}: {name} leads past the gateway" for name in unguarded(self.live)]


def planned(facts: Facts) -> tuple[Steps, bool]:
    """What the operator would do, and whether the plan is for a while only."""
    acceptance = accept(facts)
    assert acceptance.findings == ()
    plan = build_plan(facts, acceptance)
    desired = tuple(render_child(RENDERER, child) for child in plan.children)
    return plan_steps(diff(plan, desired, facts.live, facts.key), facts), plan.draining


def in_use(live: Live) -> set[Steer]:
    """Where clients are sent now."""
    return {
        (way, namespace)
        for route in mesh_routes(live)
        for way in ways_of(route)
        for namespace in namespaces_of_export(route, KEY.namespace)
    }


def missing_subsets(live: Live) -> list[str]:
    """Subsets to which clients are sent, those of WebSockets among them, and that no rule has."""
    rules = (found["spec"].get("subsets") or () for ref, found in live.items() if ref.kind == "DestinationRule")
    known = {subset["name"] for subsets in rules for subset in subsets}
    return sorted({subset for route in mesh_routes(live) for subset in subsets_of(route)} - known)


STRANGER = "cluster.local/ns/somewhere/sa/somebody"


def open_names(live: Live) -> list[str]:
    """Server names under mutual TLS that let in somebody whom nothing grants anything."""
    return [
        sni
        for gateway in of_kind(live, "Gateway")
        for server in gateway["spec"]["servers"]
        if server.get("tls", {}).get("mode") == "ISTIO_MUTUAL"
        for sni in (host.removeprefix("./") for host in server["hosts"])
        if passes(_policies(live, own=gateway["spec"]["selector"] != SHARED_PODS), Request(STRANGER, sni))
    ]


def marks_of(live: Live) -> dict[str, str]:
    """By way, what the clients' requests on it are marked with, where they are."""
    return {
        rule["route"][0]["destination"]["subset"]: mark
        for route in mesh_routes(live)
        for rule in route["spec"].get("http", ())
        for mark in rule.get("headers", {}).get("request", {}).get("set", {}).values()
    }


def unknown_hosts(live: Live, pushed: Live) -> list[str]:
    """Hosts that clients send to a route of APISIX which does not take them."""
    taken: dict[str, set[str]] = {}
    for found in of_kind(pushed, "ApisixRoute"):
        for rule in found["spec"]["http"]:
            taken.setdefault(rule["match"]["exprs"][0]["value"], set()).update(rule["match"]["hosts"])
    return sorted(
        host
        for route in mesh_routes(live)
        for rule in route["spec"].get("http", ())
        for mark in rule.get("headers", {}).get("request", {}).get("set", {}).values()
        for host in set(route["spec"]["hosts"]) - taken.get(mark, set())
    )


def flaw_of(live: Live, way: str, namespace: str, mark: str = "", pushed: Live | None = None) -> str:
    """
    What keeps clients of a namespace from getting out by a way; nothing when they do. `mark`: it is APISIX's, which has
    what was `pushed`.
    """
    for rule in of_kind(live, "DestinationRule"):
        own = rule["metadata"]["namespace"]
        for subset in rule["spec"].get("subsets", ()):
            if subset["name"] == way and namespace in namespaces_of_export(rule, own):
                if mark:
                    return _flaw_at_apisix(pushed or {}, mark)
                return _flaw(live, rule["spec"]["host"], subset, f"cluster.local/ns/{namespace}/sa/app")
    return "has no DestinationRule that they see"


def _flaw_at_apisix(pushed: Live, mark: str) -> str:
    for route in of_kind(pushed, "ApisixRoute"):
        [rule] = route["spec"]["http"]
        if rule["match"]["exprs"][0]["value"] == mark:
            upstreams = {found["metadata"]["name"] for found in of_kind(pushed, "ApisixUpstream")}
            return "" if rule["upstreams"][0]["name"] in upstreams else "has no ApisixUpstream"
    return "has no ApisixRoute that was pushed"


def _flaw(live: Live, service_host: str, subset: Manifest, client: str) -> str:
    [settings] = subset["trafficPolicy"]["portLevelSettings"]
    number, sni = settings["port"]["number"], settings["tls"].get("sni", "")
    own = service_host.startswith(f"{KEY.name}-egress.{KEY.namespace}.")
    upstream = _upstream(live, subset["name"], number)
    if upstream not in {host for entry in of_kind(live, "ServiceEntry") for host in entry["spec"]["hosts"]}:
        return f"leads {upstream}"
    port = _service_ports(live).get(number) if own else number
    if port is None:
        return "has no port of the Service"
    if own and not _lets_in(live, port):
        return "is shut by the NetworkPolicy"
    request = Request(client if sni else "", sni, port=port)
    return "" if passes(_policies(live, own=own), request) else "is denied by an AuthorizationPolicy"


def _upstream(live: Live, way: str, number: int) -> str:
    """Host that the gateway sends on to."""
    for gateway in of_kind(live, "Gateway"):
        for server in gateway["spec"]["servers"]:
            if (server["port"]["name"], server["port"]["number"]) == (way, number):
                hosts = {host.removeprefix("./") for host in server["hosts"]}
                return _routed(live, gateway["metadata"]["name"], hosts)
    return "to no server"


def _routed(live: Live, gateway: str, hosts: set[str]) -> str:
    for route in of_kind(live, "VirtualService"):
        spec = route["spec"]
        if gateway in spec["gateways"] and hosts & set(spec["hosts"]):
            found: list[Any] = [route for family in ("http", "tls", "tcp") for route in spec.get(family, ())]
            host: str = found[0]["route"][0]["destination"]["host"]
            return host
    return "to no route"


def _service_ports(live: Live) -> dict[int, int]:
    """Ports of the hop's Service, and those in the pod behind them, which are what policies see."""
    service = live.get(ObjectRef("Service", KEY.namespace, f"{KEY.name}-egress"))
    return {port["port"]: port["targetPort"] for port in service["spec"]["ports"]} if service else {}


def _lets_in(live: Live, port: int) -> bool:
    [policy] = of_kind(live, "NetworkPolicy")
    return port in {found["port"] for rule in policy["spec"]["ingress"] for found in rule["ports"]}


def _policies(live: Live, *, own: bool) -> list[Manifest]:
    namespace = KEY.namespace if own else "edge"
    return [found for found in of_kind(live, "AuthorizationPolicy") if found["metadata"]["namespace"] == namespace]


def of_kind(live: Live, kind: str) -> list[Any]:
    return [found for ref, found in live.items() if ref.kind == kind]


def served(class_name: str, spec: EgressGatewaySpec = SPEC) -> World:
    """A world in which an object of the class serves."""
    world = World()
    world.settle(spec, {**CLASSES, **APISIX}[class_name])
    assert world.offences == []
    return world


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_of_each_class_serves(name: str) -> None:
    """The baseline: every host is steered, by ways that lead out."""
    assert len(in_use(served(name).live)) == 2


@pytest.mark.parametrize(("before", "after"), list(permutations(CLASSES, 2)))
def test_a_change_of_class_leaves_no_gap(before: str, after: str) -> None:
    """The new way leads out before clients hear of it, the old one until they have left it (api.md `className`)."""
    world = served(before)
    world.settle(SPEC, CLASSES[after])
    assert world.offences == []
    assert world.live == served(after).live


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in permutations([*CLASSES, *APISIX], 2) if set(pair) & set(APISIX)],
)
@pytest.mark.parametrize("hangs", [timedelta(0), timedelta(seconds=7), timedelta(seconds=60)], ids=str)
def test_a_change_from_or_to_apisix_leaves_no_gap(before: str, after: str, hangs: timedelta) -> None:
    """Also not while APISIX's Admin API hangs, whatever its controller says; nothing of the old data plane is left."""
    world = served(before, REQUESTS)
    world.apisix.hangs_until = world.now + hangs
    world.settle(REQUESTS, {**CLASSES, **APISIX}[after])
    assert world.offences == []
    assert world.live == served(after, REQUESTS).live


@pytest.mark.parametrize(
    "changed",
    [
        spec_of(destination("a", "a.example.com")),
        spec_of(destination("a", "b.example.com"), destination("b", "a.example.com")),
        spec_of(destination("a", "a.example.com", ports=[{"port": 8080, "protocol": "HTTP"}])),
        spec_of(destination("a", "a.example.com", aliases=["a.shop.example"]), destination("b", "b.example.com")),
    ],
    ids=["less", "swapped", "port", "alias"],
)
@pytest.mark.parametrize("hangs", [timedelta(0), timedelta(seconds=60)], ids=str)
def test_a_change_of_the_spec_leaves_no_gap_at_apisix(changed: EgressGatewaySpec, hangs: timedelta) -> None:
    """What clients went by stands until they have heard, and the new way was taken before, for each host of it."""
    world = served("apisix", REQUESTS)
    world.apisix.hangs_until = world.now + hangs
    world.settle(changed, APISIX["apisix"])
    assert world.offences == []
    assert world.live == served("apisix", changed).live


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "changed",
    [
        spec_of(destination("a", "a.example.com")),
        spec_of(destination("c", "c.example.com")),
        spec_of(destination("a", "b.example.com"), destination("b", "a.example.com")),
        spec_of(destination("a", "a.example.com", ports=[{"port": 80, "protocol": "TLS"}])),
        spec_of(destination("a", "a.example.com", ports=[{"port": 8080, "protocol": "HTTP"}])),
    ],
    ids=["less", "another", "swapped", "protocol", "port"],
)
def test_a_change_of_the_spec_leaves_no_gap(name: str, changed: EgressGatewaySpec) -> None:
    """Of every class: what clients went by stands until they have heard."""
    world = served(name)
    world.settle(changed, CLASSES[name])
    assert world.offences == []
    assert world.live == served(name, changed).live


def test_rules_for_ways_that_go_are_carried_over_and_then_dropped() -> None:
    """A client of the removed destination is let in until it was told, and not a moment longer."""
    access = {"access": {"from": [{"destinations": ["a"]}, {"destinations": ["b"], "serviceAccounts": ["app"]}]}}
    both = spec_of(destination("a", "a.example.com"), destination("b", "b.example.com"), **access)
    one = spec_of(destination("a", "a.example.com"), access={"from": [{"destinations": ["a"]}]})
    world = served("strict", both)
    world.settle(one, CLASSES["strict"])
    assert world.offences == []
    [policy] = of_kind(world.live, "AuthorizationPolicy")
    assert len(policy["spec"]["rules"]) == 1


CONSUMERS = class_of(allowedConsumers={"from": "All"}).allowed_consumers


def serving(*namespaces: str) -> EgressGatewaySpec:
    return spec_of(destination("a", "a.example.com"), access={"from": [{"namespaces": list(namespaces)}]})


@pytest.mark.parametrize("name", CLASSES)
def test_a_consumer_more_is_told_last(name: str) -> None:
    """Its clients find rule and consent when they hear of the host."""
    class_spec, world = CLASSES[name].model_copy(update={"allowed_consumers": CONSUMERS}), World()
    world.settle(serving("shop"), class_spec)
    world.settle(serving("shop", "lab"), class_spec)
    assert world.offences == []
    assert {namespace for _, namespace in in_use(world.live)} == {"shop", "lab"}


def test_a_shared_gateway_of_the_own_namespace_is_no_stranger() -> None:
    """Children there belong to the object as those of a dedicated gateway do."""
    class_spec = class_of(shared={"namespace": KEY.namespace, "service": "egress", "selector": {"istio": "egress"}})
    service = ObjectRef("Service", KEY.namespace, "egress")
    pods = PodSelection(KEY.namespace, (("istio", "egress"),))
    references = References(
        {service: {"spec": {"ports": [{"port": 443}]}}},
        {pods: (PodFacts(KEY.namespace, "p", "egress", ready=True),)},
    )
    facts = facts_of(SPEC, class_spec, references=references)
    plan = build_plan(facts, accept(facts))
    desired = tuple(render_child(RENDERER, child) for child in plan.children)
    assert diff(plan, desired, {item.ref: item.manifest for item in desired}, KEY).foreign == set()


def test_a_part_that_is_kept_beside_a_shared_gateway_keeps_its_guards() -> None:
    """Denial, authorizer, clean headers and WebSockets are of every way that stands, planned or left as it was."""
    class_spec = class_of(**SHARED, externalAuthorization={"provider": "opa"})
    spec = spec_of(destination("a", "a.example.com"), destination("b", "b.example.com"))
    mesh = MeshConfig(authorizers={"opa": "grpc"})
    facts = facts_of(spec, class_spec, references=PODS, mesh_config=mesh)
    accepted = accept(facts)
    live = {item.ref: item.manifest for item in rendered(facts, accepted)}
    kept = replace(accepted, served=accepted.served[:1], kept=frozenset({"b"}))
    after = {item.ref: item.manifest for item in rendered(replace(facts, live=live), kept)}
    assert open_names(after) == []
    guards = [ref for ref in live if ref.namespace == "edge"]
    assert sorted(ref.kind for ref in guards) == ["AuthorizationPolicy"] * 2 + ["EnvoyFilter"] * 2
    assert {ref: names_in(live[ref]) for ref in guards} == {ref: names_in(after[ref]) for ref in guards}


def test_clients_of_a_part_that_is_kept_find_the_gateway_when_access_has_shrunk() -> None:
    """Their routes stay, so what these rely on stays in their namespace."""
    class_spec = class_of(**SHARED, allowedConsumers={"from": "All"})
    facts = facts_of(serving("shop", "lab"), class_spec, namespaces={"lab": {}}, references=PODS)
    live = {item.ref: item.manifest for item in rendered(facts, accept(facts))}
    shrunk = replace(facts, gateway=replace(facts.gateway, spec=serving("shop")), live=live)
    kept = replace(accept(shrunk), served=(), kept=frozenset({"a"}))
    rules = [item.ref.namespace for item in rendered(shrunk, kept) if item.ref.kind == "DestinationRule"]
    assert sorted(rules) == ["lab", "shop"]


def test_clients_insist_on_who_the_gateway_was_while_it_has_no_pods() -> None:
    """A rule without names would trust any identity of the mesh that answers at the Service."""
    facts = facts_of(SPEC, CLASSES["shared"], references=PODS)
    live = {item.ref: item.manifest for item in rendered(facts, accept(facts))}
    away = replace(PODS, pods=dict.fromkeys(PODS.pods, ()))
    after = {item.ref: item.manifest for item in rendered(replace(facts, references=away, live=live), accept(facts))}
    [ref] = [ref for ref in live if ref.kind == "DestinationRule" and "subsets" in live[ref]["spec"]]
    assert "spiffe://" in str(live[ref])
    assert after[ref]["spec"] == live[ref]["spec"]


def rendered(facts: Facts, acceptance: Acceptance) -> list[Desired]:
    return [render_child(RENDERER, child) for child in build_plan(facts, acceptance).children]


def names_in(manifest: Manifest) -> set[str]:
    """Private server names that a manifest speaks of."""
    return set(re.findall(r"[a-z0-9.-]+\.egress\.internal", str(manifest)))
