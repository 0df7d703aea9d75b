"""
What admins forbid ends for all: for the suspended, for those without a class, for those that cannot be read.

Each case is a world whose author keeps the object from being judged, by every means that an author or an accident has.
Then the class forbids something, and what it forbids must go, while the rest stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final

import pytest

from egressgateway.cluster.result import Again, Done, Waiting
from egressgateway.engine.cache.keeping import LEFT_OUT, is_left_out
from egressgateway.errors import ClusterError, Conflict, Invalid
from egressgateway.names import LABEL_PART, LABEL_STAGE, selector_labels
from egressgateway.refs import Manifest, ObjectRef
from unit import objects
from unit.engine.simulation import GRACE, KEY, World

BANK, SHOP = "bank.example.com", "shop.example.com"
OPEN: Final = {"allowedConsumers": {"from": "All"}, "allowedCIDRs": ["192.0.2.0/24"]}
VICTIM: Final = "victim"


def destination(name: str, host: str, *, ports: list[Manifest] | None = None, **more: Any) -> Manifest:
    return objects.destination(name, host, ports=ports or [objects.TLS], **more)


def spec(**more: Any) -> Manifest:
    access = {"from": [{"namespaces": [KEY.namespace, VICTIM]}]}
    destinations = [destination("bank", BANK), destination("shop", SHOP)]
    return {"className": "standard", "destinations": destinations, "access": access, **more}


@pytest.fixture
def world() -> Iterator[World]:
    """Two destinations, served to two namespaces."""
    world = served_world(spec())
    yield world
    world.close()


def served_world(content: Manifest) -> World:
    world = World(content)
    world.set_namespace(VICTIM)
    world.set_class(OPEN)
    world.settle()
    return world


def suspend(world: World) -> None:
    world.edit({**world.server.objects[world.owner]["spec"], "suspend": True})


def name_no_class(world: World) -> None:
    world.edit({**world.server.objects[world.owner]["spec"], "className": "nosuch"})


def name_a_broken_class(world: World) -> None:
    metadata = {"name": "broken", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    world.classes.append({"metadata": metadata, "spec": {"provider": "Nobody"}})
    world.caches.classes.put(deepcopy(world.classes[-1]))
    world.edit({**world.server.objects[world.owner]["spec"], "className": "broken"})


def suspend_without_a_class(world: World) -> None:
    name_no_class(world)
    suspend(world)


def make_unreadable(world: World) -> None:
    """As an object is that an older schema let pass."""
    found = deepcopy(world.server.objects[world.owner]["spec"])
    world.edit({**found, "destinations": [*found["destinations"], {"name": "x", "hosts": "no list"}]})


def ask_for_what_cannot_be(world: World) -> None:
    """The object as a whole is refused, for more consumers than one may have, and what runs is kept."""
    for number in range(513):
        world.namespaces[f"many-{number}"] = {"many": "yes"}
    world._tell_of_the_world()
    found = deepcopy(world.server.objects[world.owner]["spec"])
    selected = {"namespaceSelector": {"matchLabels": {"many": "yes"}}}
    world.edit({**found, "access": {"from": [*found["access"]["from"], selected]}})


def disable_injection(world: World) -> None:
    world.set_namespace(KEY.namespace, istio_injection="disabled")
    world.caches.namespaces.put(world._stamped({"metadata": {"name": KEY.namespace, "labels": DISABLED}}))


def lose_a_kind(world: World) -> None:
    """The API server does not serve a kind of child any more."""
    world.reconciler._observer.unserved = frozenset({"Telemetry"})


def fill(world: World, kind: str, namespace_bytes: int = 2 << 20) -> None:
    """The author's namespace has no memory left for objects of `kind` (EgressGateways, or children), since before."""
    world.namespace_bytes = namespace_bytes
    made = {"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1", "uid": "filler"}
    metadata = {"namespace": KEY.namespace, "name": "filler", "labels": selector_labels(KEY)} | made
    room = namespace_bytes // 2 if kind == "EgressGateway" else namespace_bytes
    world.fillers.append((kind, {"kind": kind, "metadata": metadata, "spec": {"text": "x" * (room - 2_800)}}))
    world.restart()


def leave_out(world: World) -> None:
    """The object is too much for its namespace's memory."""
    fill(world, "EgressGateway")
    assert is_left_out(world.caches.gateways.get(*KEY) or {})


def suspend_and_leave_children_out(world: World) -> None:
    """What runs is too much for the namespace's memory."""
    suspend(world)
    fill(world, "ServiceAccount")
    assert all(map(is_left_out, world.caches.children_of(KEY).values()))


DISABLED: Final = {"istio-injection": "disabled"}
EVASIONS: Final[Mapping[str, Callable[[World], None]]] = {
    "suspended": suspend,
    "no-class": name_no_class,
    "broken-class": name_a_broken_class,
    "suspended-without-class": suspend_without_a_class,
    "unreadable": make_unreadable,
    "refused": ask_for_what_cannot_be,
    "injection-disabled": disable_injection,
    "kind-not-served": lose_a_kind,
    "left-out": leave_out,
    "children-left-out": suspend_and_leave_children_out,
}


def evaders() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("evade", EVASIONS.values(), ids=EVASIONS)


def forbid(world: World, **rules: Any) -> None:
    """The admin narrows the class that serves the object, some time later."""
    world.loop.now += 1
    others = [found for found in world.classes if found["metadata"]["name"] != "standard"]
    world.set_class({**OPEN, **rules})
    world.classes += others


def steered(world: World) -> dict[str, set[str]]:
    """By public host, the namespaces that are told of it and routed."""
    found: dict[str, set[str]] = {}
    kinds = {ref.kind for ref in clients(world)}
    assert kinds in ({"ServiceEntry", "VirtualService"}, set())
    for ref, each in clients(world).items():
        if ref.kind == "VirtualService":
            to = {KEY.namespace if name == "." else name for name in each["spec"]["exportTo"]}
            for host in each["spec"]["hosts"]:
                if not host.endswith(".egress.internal"):
                    found[host] = to
    registered = {
        host: {KEY.namespace if name == "." else name for name in each["spec"]["exportTo"]}
        for ref, each in clients(world).items()
        if ref.kind == "ServiceEntry"
        for host in each["spec"]["hosts"]
    }
    assert registered == found
    return found


def clients(world: World) -> dict[ObjectRef, Manifest]:
    return {ref: each for ref, each in world.live.items() if each["metadata"]["labels"][LABEL_STAGE] == "clients"}


def claimed(world: World) -> set[str]:
    return {each["host"] for each in world.status.get("claims", [])}


def consumers(world: World) -> set[str]:
    return {each["namespace"] for each in world.status.get("consumers", [])}


def accepted(world: World, part: str = "") -> tuple[str, str, str]:
    status: Mapping[str, Any] = world.status
    if part:
        [status] = [each for each in status["destinations"] if each["name"] == part]
    [found] = [each for each in status["conditions"] if each["type"] == "Accepted"]
    return found["status"], found["reason"], found["message"]


BOTH: Final = {KEY.namespace, VICTIM}


@evaders()
def test_what_is_allowed_stays(world: World, evade: Callable[[World], None]) -> None:
    """A class that changes in other ways moves nothing of what cannot be judged."""
    evade(world)
    world.settle()
    forbid(world, deniedHosts=["other.example.com"], dedicated={"replicas": 5})
    assert world.writes_of(world.settle) == []
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    assert claimed(world) == {BANK, SHOP}


@evaders()
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_denied_host_ends(world: World, evade: Callable[[World], None], *, restarted: bool) -> None:
    """With its claim; the other destination stays as it is."""
    evade(world)
    world.settle()
    forbid(world, deniedHosts=[BANK])
    if restarted and evade is not lose_a_kind:
        world.restart()
    world.settle()
    assert steered(world) == {SHOP: BOTH}
    assert claimed(world) == {SHOP}
    assert BANK not in str([found for found in world.live.values() if found["metadata"]["labels"].get(LABEL_PART)])
    assert world.writes_of(world.settle) == []


@evaders()
def test_everything_that_is_denied_ends(world: World, evade: Callable[[World], None]) -> None:
    """`deniedHosts: ["*"]`."""
    evade(world)
    world.settle()
    forbid(world, deniedHosts=["*"], allowedConsumers={"from": "Same"})
    world.settle()
    assert steered(world) == {}
    assert claimed(world) == set()
    assert consumers(world) <= {KEY.namespace}


@evaders()
def test_a_consumer_without_consent_is_left_out(world: World, evade: Callable[[World], None]) -> None:
    """Its clients go direct again; those of the own namespace notice nothing."""
    evade(world)
    world.settle()
    forbid(world, allowedConsumers={"from": "Same"})
    world.settle()
    assert steered(world) == {BANK: {KEY.namespace}, SHOP: {KEY.namespace}}
    assert consumers(world) == {KEY.namespace}
    assert claimed(world) == {BANK, SHOP}
    assert world.writes_of(world.settle) == []


@evaders()
def test_a_namespace_that_may_not_use_the_class_ends(world: World, evade: Callable[[World], None]) -> None:
    """By a label that it has no more, or never had."""
    evade(world)
    world.settle()
    forbid(world, allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"egress": "yes"}}})
    world.settle()
    assert steered(world) == {}
    assert claimed(world) == set()


FEATURES: Final[Mapping[str, tuple[Manifest, Manifest]]] = {
    "TCP": (
        destination("db", "db.example.com", ports=[{"port": 5432, "protocol": "TCP"}]),
        {"deniedFeatures": ["TCP"]},
    ),
    "TCPWithoutAddresses": (
        destination("db", "db.example.com", ports=[{"port": 5432, "protocol": "TCP"}]),
        {"deniedFeatures": ["TCPWithoutAddresses"]},
    ),
    "addresses": (
        destination("db", "db.example.com", addresses=["192.0.2.7"]),
        {"allowedCIDRs": ["198.51.100.0/24"]},
    ),
    "Wildcards": (
        destination("db", "*.db.example.com", wildcard={"strategy": "DynamicResolution"}),
        {"deniedFeatures": ["Wildcards"]},
    ),
    "InsecureSkipVerify": (
        destination(
            "db",
            "db.example.com",
            ports=[
                {
                    "port": 80,
                    "protocol": "HTTP",
                    "targetPort": 443,
                    "tls": {"mode": "Simple", "insecureSkipVerify": True},
                }
            ],
        ),
        {"deniedFeatures": ["InsecureSkipVerify"]},
    ),
    "endpoint-by-IP": (
        destination("db", "db.example.com", endpoints=[{"address": "192.0.2.7"}]),
        {"allowedCIDRs": ["198.51.100.0/24"]},
    ),
    "endpoint-by-name": (
        destination("db", "db.example.com", endpoints=[{"address": "real.example.net"}]),
        {"deniedHosts": ["*.example.net"]},
    ),
}


@evaders()
@pytest.mark.parametrize(("found", "rules"), FEATURES.values(), ids=FEATURES)
def test_what_a_destination_may_not_use_ends_it(
    evade: Callable[[World], None], found: Manifest, rules: Manifest
) -> None:
    """Whatever the guard is about, and whatever keeps the object from being judged."""
    world = served_world(spec(destinations=[found, destination("shop", SHOP)]))
    assert len(steered(world)) == 2
    evade(world)
    world.settle()
    forbid(world, **rules)
    world.settle()
    assert steered(world) == {SHOP: BOTH}
    # What an object claims that cannot be read is known by its status alone.
    assert claimed(world) - {SHOP} <= ({found["hosts"][0]} if evade in (make_unreadable, leave_out) else set())
    world.close()


KEPT: Final = {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Mutual", "credentialName": "gone"}}


def keep_by_a_missing_secret(world: World, host: str) -> None:
    """The destination cannot be planned any more, and what runs of it is kept."""
    world.edit(spec(destinations=[destination("bank", host, ports=[KEPT]), destination("shop", SHOP)]))
    world.settle()
    for name in ("gone", "gone-cacert"):
        world.set_reference(ObjectRef("Secret", KEY.namespace, name), None)
    world.settle()
    assert "SecretNotFound" in str(world.status)


@pytest.mark.parametrize("host", [BANK, "innocent.example.com"], ids=["same-host", "another-host"])
def test_a_destination_that_is_kept_is_judged_by_what_runs(world: World, host: str) -> None:
    """Its spec may say what it likes: what clients are sent to is the host that it had before."""
    keep_by_a_missing_secret(world, host)
    world.settle()
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert steered(world) == {SHOP: BOTH}
    assert claimed(world) == {SHOP}
    assert accepted(world, "bank")[:2] == ("False", "HostNotAllowed")
    assert world.writes_of(world.settle) == []


def test_a_destination_that_is_kept_leaves_out_consumers_without_consent(world: World) -> None:
    """A reference to a Secret that is not there is no way around the admin's consent."""
    keep_by_a_missing_secret(world, BANK)
    world.settle()
    forbid(world, allowedConsumers={"from": "Same"})
    world.settle()
    assert steered(world) == {BANK: {KEY.namespace}, SHOP: {KEY.namespace}}
    assert world.writes_of(world.settle) == []


def test_a_reference_that_was_not_read_yet_holds_nothing_up(world: World) -> None:
    """Whoever names another Secret in each moment is never judged, and what runs is all the same."""
    world.edit(spec(destinations=[destination("bank", BANK, ports=[KEPT]), destination("shop", SHOP)]))
    world.settle()
    assert world.outcomes[-1] == Waiting("Pending")
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert steered(world) == {SHOP: BOTH}


def test_a_suspended_object_says_what_was_withdrawn(world: World) -> None:
    """Ready keeps its status and says why; what is withdrawn is not accepted, also at later looks."""
    suspend(world)
    world.settle()
    forbid(world, deniedHosts=[BANK])
    world.settle()
    for _ in range(2):
        [ready] = [each for each in world.status["conditions"] if each["type"] == "Ready"]
        assert (ready["status"], ready["reason"]) == ("True", "Suspended")
        assert accepted(world)[:2] == accepted(world, "bank")[:2] == ("False", "HostNotAllowed")
        assert "EgressGatewayClass standard" in accepted(world, "bank")[2]
        assert accepted(world, "shop")[0] == "True"
        world.restart()
        world.settle()
    assert ("Warning", "HostNotAllowed") in {told[:2] for told in world.told}


def test_an_object_without_its_class_says_what_was_withdrawn(world: World) -> None:
    """And names the class that forbids it, which is not the one that it asks for."""
    name_no_class(world)
    world.settle()
    assert world.status["className"] == "standard"
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert accepted(world, "bank")[:2] == ("False", "HostNotAllowed")
    assert "EgressGatewayClass standard" in accepted(world, "bank")[2]
    assert accepted(world, "shop")[:2] == ("False", "ClassNotFound")
    assert "nosuch" in accepted(world, "shop")[2]


def test_a_suspended_object_gets_back_what_is_allowed_again_when_it_resumes(world: World) -> None:
    """Not before: only removals are made while it is suspended."""
    suspend(world)
    world.settle()
    forbid(world, deniedHosts=[BANK])
    world.settle()
    forbid(world)
    assert world.writes_of(world.settle) == []
    assert steered(world) == {SHOP: BOTH}
    world.edit(spec())
    world.settle()
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    assert accepted(world)[0] == "True"


def test_a_child_without_the_label_of_its_part_goes_alone(world: World) -> None:
    """Whoever took it off keeps neither the route nor takes the gateway away from the others."""
    suspend(world)
    world.settle()
    for ref, found in clients(world).items():
        if BANK in found["spec"]["hosts"]:
            world.tamper(ref, lambda each: each["metadata"]["labels"].pop(LABEL_PART))
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert steered(world) == {SHOP: BOTH}
    assert "Deployment" in {ref.kind for ref in world.live}


def test_a_suspended_object_is_judged_by_what_runs_and_not_by_an_edit(world: World) -> None:
    """An edit takes no effect while it is suspended, in neither direction."""
    forbid(world, deniedHosts=["evil.example.com"])
    world.edit(spec(destinations=[destination("bank", "evil.example.com"), destination("shop", SHOP)], suspend=True))
    assert world.writes_of(world.settle) == []
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert steered(world) == {SHOP: BOTH}


def test_with_neither_class_everything_is_kept(world: World) -> None:
    """An admin who deletes a class by mistake takes nothing away."""
    world.caches.classes.remove(world.classes.pop())
    for evade in (name_no_class, suspend):
        evade(world)
        assert world.writes_of(world.settle) == []
        assert steered(world) == {BANK: BOTH, SHOP: BOTH}


@evaders()
def test_expiry_waits_for_the_suspended_alone(evade: Callable[[World], None]) -> None:
    """It is no ban of the admin's; but nothing else keeps alive what was to end, unless nobody can read when."""
    expiring = destination("bank", BANK, expiresAt="2026-01-01T01:00:00Z")
    world = served_world(spec(destinations=[expiring, destination("shop", SHOP)]))
    evade(world)
    world.settle()
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    world.loop.now += 3600
    world.settle()
    kept = evade in (suspend, suspend_without_a_class, make_unreadable, leave_out, suspend_and_leave_children_out)
    assert (BANK in steered(world)) is kept
    assert claimed(world) == ({BANK, SHOP} if kept else {SHOP})
    world.close()


@pytest.mark.parametrize(
    ("rules", "left"),
    [({"deniedHosts": [BANK]}, False), ({"allowedConsumers": {"from": "Same"}}, False), ({"deniedHosts": ["x"]}, True)],
    ids=["host", "consumer", "nothing"],
)
def test_what_is_known_by_name_alone_is_judged_by_the_status(world: World, rules: Manifest, *, left: bool) -> None:
    """Nothing of the children is kept, not even what guards need: what was claimed says what they do."""
    suspend(world)
    world.settle()
    world.namespace_bytes = 1
    world.gateway_bytes = 1 << 20
    world.restart()
    assert all(found.keys() <= {"apiVersion", "kind", "metadata", LEFT_OUT} for found in children(world))
    forbid(world, **rules)
    world.settle()
    assert steered(world) == ({BANK: BOTH, SHOP: BOTH} if left else {})
    assert accepted(world)[0] == str(left)


def test_children_known_by_name_alone_are_written_once(world: World) -> None:
    """The gateway's count of pods, which an autoscaler sets, is not guessed; nothing fails, nothing comes again."""
    world.set_class({**OPEN, "dedicated": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}})
    world.settle()
    world.namespace_bytes = 1
    world.gateway_bytes = 1 << 20
    world.restart()
    world.settle()
    assert all(isinstance(outcome, Done | Again | Waiting) for outcome in world.outcomes)
    assert steered(world) == {BANK: BOTH, SHOP: BOTH}
    assert world.writes_of(world.settle) == []
    forbid(world, deniedHosts=[BANK])
    world.settle()
    assert steered(world) == {SHOP: BOTH}


@pytest.mark.parametrize("error", [Invalid, Conflict], ids=["refused", "conflict"])
def test_a_claim_that_cannot_be_recorded_keeps_nothing(world: World, error: type[ClusterError]) -> None:
    """
    Whoever asks for more than a status can hold, or edits faster than it is written, keeps nothing that is forbidden.

    And reads why nothing of his edit comes to be.
    """
    world.edit(spec(destinations=[*spec()["destinations"], destination("more", "more.example.com")]))
    store = world.server._patch_owner

    def refuse(ref: ObjectRef, body: Manifest, subresource: str) -> Manifest:
        if "more.example.com" in str(body.get("status", {}).get("claims")):
            raise error("patch", "Too long: may not be more than 1572864 bytes", code=422)
        return store(ref, body, subresource)

    world.server._patch_owner = refuse  # type: ignore[method-assign]
    forbid(world, deniedHosts=[BANK], allowedConsumers={"from": "Same"})
    for _ in range(4):
        with suppress(ClusterError):
            world.reconcile()
        world.loop.now += GRACE
    assert steered(world) == {SHOP: {KEY.namespace}}
    [ready] = [each for each in world.status["conditions"] if each["type"] == "Ready"]
    assert ("1572864 bytes" in ready["message"]) is (error is Invalid)


def children(world: World) -> list[Manifest]:
    """As they are cached."""
    return list(world.caches.children_of(KEY).values())


def test_memory_does_not_hide_what_is_left_to_write(world: World) -> None:
    """An object that is left out of memory is told so once, and nothing is written at each look."""
    leave_out(world)
    world.settle()
    assert accepted(world)[1] == "Invalid"
    before = world.server.objects[world.owner]["metadata"]["resourceVersion"]
    world.loop.now += 60
    world.settle()
    assert world.server.objects[world.owner]["metadata"]["resourceVersion"] == before


def test_who_was_served_by_a_class_hears_of_its_change(world: World) -> None:
    """Whatever class the object names now."""
    name_no_class(world)
    world.settle()
    found = deepcopy(world.classes[0])
    found["metadata"]["resourceVersion"] = "999999999"
    found["spec"]["deniedHosts"] = [BANK]
    change = world.caches.classes.put(found)
    assert change is not None
    assert list(world.caches.affected_by_class(change)) == [KEY]
