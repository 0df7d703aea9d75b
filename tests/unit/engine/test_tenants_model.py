"""
Three tenants, with every move that they have, and an operator that may be restarted between any two passes.

What must hold, whatever they do: the operator never sends one name of one namespace two ways; an object that serves and
goes on to ask for a name is never displaced; who is told of a conflict is told the object that has it; and where a
status says that clients are steered, Istio would go by the object's own route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressgateway.contention.hostnames import overlaps
from egressgateway.refs import Key, Manifest, ObjectRef
from unit.engine.contest import FORGED, Contest, Place

TENANTS = ("red", "green", "blue")
KEYS = tuple(Key(namespace, name) for namespace in TENANTS for name in ("one", "two"))
HOSTS = ("a.example.com", "b.example.com", "*.example.com")
PORTS = (5432, 6379)
WINNER = re.compile(r"(?:belongs to EgressGateway (\S+) in|port \d+ is EgressGateway (\S+)'s in)")

EVERYBODY = "*"
SUBSETS = st.lists(st.sampled_from(TENANTS), min_size=1, max_size=3, unique=True) | st.just([EVERYBODY])


@dataclass(frozen=True)
class Wish:
    """One destination and the namespaces that it is for; `port` makes it TCP."""

    host: str
    consumers: tuple[str, ...]
    port: int | None = None


WISHES = st.lists(
    st.builds(
        Wish,
        st.sampled_from(HOSTS),
        SUBSETS.map(tuple),
        st.none() | st.sampled_from(PORTS),
    ),
    max_size=3,
    unique_by=lambda wish: wish.host,
)


@dataclass(frozen=True)
class Move:
    """What one tenant does. `passes`: how many passes the operator makes before the next move; None: all."""

    what: str
    key: Key
    wishes: list[Wish] = field(default_factory=list)
    seed: int = 0
    passes: int | None = None
    backwards: bool = False


MOVES = st.lists(
    st.builds(
        Move,
        st.sampled_from(
            ["put"] * 6
            + ["delete", "replace", "strip", "strip-and-delete", "suspend", "restart", "forge", "forge", "relabel"]
            + ["crash", "crash", "lose-class", "forge-part", "forge-part"]
        ),
        st.sampled_from(KEYS),
        WISHES,
        st.integers(0, 1000),
        st.none() | st.integers(0, 4),
        st.booleans(),
    ),
    min_size=3,
    max_size=12,
)


def destinations(key: Key, wishes: list[Wish]) -> Iterator[Manifest]:
    yield {
        "name": "own",
        "hosts": [f"{key.name}.{key.namespace}.own.example"],
        "ports": [{"port": 443, "protocol": "TLS"}],
    }
    for number, wish in enumerate(wishes):
        wildcard = {"wildcard": {"strategy": "DynamicResolution"}} if wish.host.startswith("*") else {}
        tcp = wish.port is not None and not wildcard
        port = {"port": wish.port, "protocol": "TCP"} if tcp else {"port": 443, "protocol": "TLS"}
        # TCP needs a host of its own name: the port is what two objects contend for.
        host = f"db{wish.port}.{key.name}.{key.namespace}.example" if tcp else wish.host
        yield {"name": f"d{number}", "hosts": [host], "ports": [port], **wildcard}


def spec_of(key: Key, wishes: list[Wish]) -> Manifest:
    entries = [{"namespaces": [key.namespace], "destinations": ["own"]}]
    entries += [{**granted(wish), "destinations": [f"d{number}"]} for number, wish in enumerate(wishes)]
    found = {each["hosts"][0]: each for each in destinations(key, wishes)}
    kept = {each["name"] for each in found.values()}
    return {
        "destinations": list(found.values()),
        "access": {"from": [entry for entry in entries if entry["destinations"][0] in kept]},
    }


def granted(wish: Wish) -> Manifest:
    return {"namespaceSelector": {}} if EVERYBODY in wish.consumers else {"namespaces": list(wish.consumers)}


def play(world: Contest, move: Move) -> None:
    key = move.key
    alive = world.exists(key) and not world.is_ending(key)
    if move.what == "restart":
        world.stop()
        world.start()
    elif move.what == "put":
        if not world.exists(key):
            world.create(key)
        if not world.is_ending(key):
            world.change(key, **spec_of(key, move.wishes))
    elif alive and move.what == "suspend":
        world.suspend(key, suspended=not world.is_suspended(key))
    elif alive and move.what == "lose-class":
        world.change(key, className=None if world.spec_of(key).get("className") else "none")
    elif move.what in _OTHER_MOVES:
        _OTHER_MOVES[move.what](world, move)
    elif alive and move.what in {"strip", "strip-and-delete"}:
        world.strip(key)
        if move.what == "strip-and-delete":
            world.delete(key)
    elif alive and move.what in {"delete", "replace"}:
        world.delete(key)
        if move.what == "replace":
            world.settle()
            world.create(key)
            world.change(key, **spec_of(key, move.wishes))


def forge(world: Contest, move: Move) -> None:
    """An object in the tenant's namespace that says it is somebody's child, and takes a host or a port of others."""
    named = KEYS[move.seed % len(KEYS)]
    labels = {
        "egressgateway.dev/gateway": named.name,
        "egressgateway.dev/namespace": named.namespace,
        "egressgateway.dev/stage": "clients",
        "app.kubernetes.io/managed-by": "egressgateway-operator",
    }
    metadata: Manifest = {"labels": labels, "annotations": {"egressgateway.dev/digest": "0" * 16}}
    if move.what == "forge-part":
        labels |= {
            "egressgateway.dev/gateway": move.key.name,
            "egressgateway.dev/namespace": move.key.namespace,
            "egressgateway.dev/part": f"d{move.seed % 2}",
        }
    if (move.seed % 2 or move.what == "forge-part") and world.exists(move.key):
        metadata["ownerReferences"] = [
            {
                "apiVersion": "egressgateway.dev/v1alpha1",
                "kind": "EgressGateway",
                "name": move.key.name,
                "uid": world.uid_of(move.key),
            }
        ]
    host = HOSTS[move.seed % 2]
    if move.seed % 3:
        ports = [{"number": 443 if move.seed % 3 == 1 else 5432, "name": "x", "protocol": "TCP"}]
        spec: Manifest = {"hosts": [host], "exportTo": ["*"], "ports": ports}
        world.forge(move.key.namespace, "ServiceEntry", spec, **metadata)
        return
    route = {"destination": {"host": "thief.example", "port": {"number": 443}}}
    tls = [{"match": [{"port": 443, "sniHosts": [host]}], "route": [route]}]
    spec = {"hosts": [host], "gateways": ["mesh"], "exportTo": ["*"], "tls": tls}
    world.forge(move.key.namespace, "VirtualService", spec, **metadata)


def relabel(world: Contest, move: Move) -> None:
    routes = sorted(
        ref
        for ref in world.server.objects
        if ref.kind in {"VirtualService", "ServiceEntry"} and ref.namespace == move.key.namespace
    )
    if routes:
        change: Manifest = [
            {"egressgateway.dev/gateway": "two"},
            {"egressgateway.dev/stage": "gateway"},
            {"egressgateway.dev/namespace": None},
        ][move.seed % 3]
        world.relabel(routes[move.seed % len(routes)], change)


_OTHER_MOVES: Final[dict[str, Callable[[Contest, Move], None]]] = {
    "crash": lambda world, move: world.crash_after(1 + move.seed % 7),
    "forge": forge,
    "forge-part": forge,
    "relabel": relabel,
}


def asked(world: Contest, key: Key) -> frozenset[Place]:
    """Names in namespaces that an object asks for, while it is neither suspended nor being deleted."""
    if not world.exists(key) or world.is_ending(key):
        return frozenset()
    spec = world.spec_of(key)
    hosts = {each["name"]: each["hosts"] for each in spec["destinations"]}
    access = spec.get("access") or {"from": [{"namespaces": [key.namespace], "destinations": list(hosts)}]}
    return frozenset(
        (host, place)
        for entry in access["from"]
        for name in entry["destinations"]
        for host in hosts[name]
        for place in entry.get("namespaces", TENANTS)
    )


def holders(world: Contest) -> dict[Place, Key]:
    return {place: next(iter(owners)) for place, owners in world.steers().items() if len(owners) == 1}


def parts(world: Contest, key: Key) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    """Destinations of an object that was judged as it stands, with their conditions."""
    found = world.server.objects[ObjectRef("EgressGateway", *key)]
    status = found.get("status") or {}
    if status.get("observedGeneration") != found["metadata"]["generation"] or world.is_suspended(key):
        return
    wanted = {each["name"]: each for each in found["spec"]["destinations"]}
    for part in status.get("destinations") or ():
        if part["name"] in wanted:
            yield wanted[part["name"]], {each["type"]: each for each in part["conditions"]}


def thieves(world: Contest, key: Key, host: str, place: str) -> list[ObjectRef]:
    """
    Routes that tenants wrote, for everybody and older than all of ours: Istio goes by those.

    But for the clients of a namespace with a route of its own: that one goes first (notes "istio-recipes" §7).
    """
    return [
        ref
        for ref, found in world.server.objects.items()
        if ref.kind == "VirtualService"
        and ref.name.startswith(FORGED)
        and host in found["spec"]["hosts"]
        and (key.namespace != place or ref.namespace == place)
    ]


def lies(world: Contest) -> list[str]:
    """Where a status at rest says what is not so."""
    found = []
    steers = world.steers()
    for key in world.everybody():
        if world.is_ending(key):
            continue
        own = asked(world, key)
        for wanted, conditions in parts(world, key):
            host = wanted["hosts"][0]
            places = {place for name, place in own if name == host}
            if conditions["Steered"]["status"] == "True":
                found += [
                    f"{key}: {host} in {place} is said to be steered"
                    for place in places
                    if thieves(world, key, host, place)
                ]
                # What is refused and kept goes on under the names that it had before.
                kept = conditions["Accepted"]["status"] == "False"
                if not kept and not any(key in steers.get((host, place), ()) for place in places):
                    found.append(f"{key}: {host} is said to be steered, and is not, anywhere")
            accepted = conditions["Accepted"]
            if accepted["reason"] in {"HostConflict", "PortConflict"}:
                found += told_wrongly(world, key, wanted, accepted["message"], places)
    return found


def told_wrongly(world: Contest, key: Key, wanted: Manifest, message: str, places: set[str]) -> list[str]:
    """Winners in a message that have nothing of what the object wants."""
    wrong = []
    for match in WINNER.finditer(message):
        namespace, _, name = (match[1] or match[2]).partition("/")
        winner = Key(namespace, name)
        host, number = wanted["hosts"][0], wanted["ports"][0]["port"]
        steers = any(
            winner in owners and place in places and overlaps(other, host)
            for (other, place), owners in world.steers().items()
        )
        has = any(
            winner in owners and place in places and port == number for (port, place), owners in world.ports().items()
        )
        if not (steers or has):
            wrong.append(f"{key}: {host} is said to be {winner}'s, which has it nowhere: {message}")
    return wrong


@given(MOVES)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_move_of_a_tenant_displaces_or_deceives_another(moves: list[Move]) -> None:
    """Whatever the three do, in whatever order, and wherever the operator is restarted."""
    world = Contest(*TENANTS)
    try:
        before: dict[Place, Key] = {}
        touched: set[Key] = set()
        for move in moves:
            play(world, move)
            touched.add(move.key)
            if move.what in {"forge", "forge-part", "relabel"}:
                # The tenant may ruin what is in its own namespace.
                touched |= {key for key in KEYS if key.namespace == move.key.namespace}
            if move.passes is not None:
                world.step(move.passes)
                assert world.offences == [], moves
                continue
            world.settle(backwards=move.backwards)
            assert world.offences == [], moves
            after = world.steers()
            for (name, place), holder in before.items():
                if holder not in touched and (name, place) in asked(world, holder):
                    assert after.get((name, place)) == {holder}, (name, place, moves)
            assert lies(world) == [], moves
            before, touched = holders(world), set()
        world.settle()
        assert world.offences == []
        assert lies(world) == []
    finally:
        world.close()
