"""
Who wins a host, on a real API server: the worked case `conflicts` step by step, and a selection of the interleavings.

All twelve of them, with restarts and in both orders, are in `tests/unit/engine/test_contest.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from controlplane.gateway_world import GatewayWorld, conditions, open_world, parts, versions, worked_case
from egressgateway.refs import CHILD_BY_KIND
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination
from harness.istioctl import Istioctl
from harness.objects import path_of
from harness.rest import Object
from harness.traffic import operator_writes
from harness.wait import eventually

BANK: Final = "api.bank.example"
HOST: Final = "contested.example.com"
CLASS: Final = "open-to-all"
ROUTES: Final = CHILD_BY_KIND["VirtualService"]
CLIENTS: Final = "egressgateway.dev/stage=clients"
MOST_STATUS_WRITES: Final = 3
"""Of an object, for one event: what is seen at once, once its children stand, once its clients are steered."""


@pytest.fixture(scope="module")
def world(plane: ControlPlane, istioctl: Istioctl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    yield from open_world(plane, istioctl, tmp_path_factory.mktemp("operator"))


class TestGuardedHosts:
    """The case `conflicts`: what a class lets tenants do, and the five steps that follow, in their order."""

    def test_guards_and_conflicts_step_by_step(self, world: GatewayWorld) -> None:
        """One story, because each step begins where the last one ended."""
        class_, central, own, lab = worked_case("conflicts")
        world.make_namespaces("platform", "shop", "lab")
        for each in (class_, central):
            world.apply(each)
        Gateways(world.plane, "platform").wait_ready("central")
        world.apply(own, lab)
        shop = Gateways(world.plane, "shop")
        shop.wait("own", "Ready", "False", "PartiallyReady")
        Gateways(world.plane, "lab").wait("own", "Accepted", "False", "FeatureNotAllowed")

        check_table(world, central, own, lab)
        self.lab_keeps_its_host(world, central, lab)
        self.loser_takes_over(world, central, own)
        self.narrowed_class_withdraws(world, class_, own)
        self.without_class_nothing_moves(world, class_, own)
        self.restored_objects_keep_their_hosts(world, class_, own, lab)
        assert world.judged() == []
        world.delete(own, lab, class_)
        world.wait_gone(own, lab)

    @staticmethod
    def lab_keeps_its_host(world: GatewayWorld, central: Object, lab: Object) -> None:
        """Step 1: who adds a consumer takes nothing from the object that serves it."""
        laboratory, platform = Gateways(world.plane, "lab"), Gateways(world.plane, "platform")
        world.plane.rest.merge(path_of(lab), {"spec": {"gateway": None}})
        laboratory.wait_ready("own")
        before = versions(laboratory.children("own"))
        access = {"from": [*central["spec"]["access"]["from"], {"namespaces": ["lab"]}]}
        world.plane.rest.merge(path_of(central), {"spec": {"access": access}})
        found = platform.wait("central", "Accepted", "False", "HostConflict", part="bank")
        assert "lab/own" in found["message"]
        assert "namespace lab" in found["message"]
        platform.wait("central", "Programmed", "True", "Programmed", part="bank")
        platform.wait("central", "Steered", "True", "Steered", part="bank")
        assert exports_of(world, central, BANK) == {"shop"}
        assert exports_of(world, lab, BANK) == {"."}
        assert versions(laboratory.children("own")) == before
        laboratory.wait_ready("own")

    @staticmethod
    def loser_takes_over(world: GatewayWorld, central: Object, own: Object) -> None:
        """Step 2: the winner goes; the loser is accepted and steered without another edit."""
        world.delete(central)
        world.wait_gone(central)
        shop = Gateways(world.plane, "shop")
        shop.wait("own", "Accepted", "True", "Accepted", part="bank")
        shop.wait("own", "Steered", "True", "Steered", part="bank")
        assert exports_of(world, own, BANK) == {"."}

    @staticmethod
    def narrowed_class_withdraws(world: GatewayWorld, class_: Object, own: Object) -> None:
        """Step 3: what is not allowed any more is withdrawn everywhere; `good` notices nothing."""
        shop = Gateways(world.plane, "shop")
        good = {"egressgateway.dev/part": "good"}
        before = versions(shop.children("own", **good))
        assert before
        world.plane.rest.merge(path_of(class_), {"spec": {"allowedHosts": ["*.partner.example"]}})
        shop.wait("own", "Accepted", "False", "HostNotAllowed", part="bank")
        Gateways(world.plane, "lab").wait("own", "Accepted", "False", "HostNotAllowed")
        eventually(lambda: not exports_of(world, own, BANK), what="the withdrawal from shop")
        eventually(lambda: not Gateways(world.plane, "lab").clients("own"), what="the withdrawal from lab")
        shop.wait("own", "Steered", "True", "Steered", part="good")
        assert versions(shop.children("own", **good)) == before

    @staticmethod
    def without_class_nothing_moves(world: GatewayWorld, class_: Object, own: Object) -> None:
        """Step 4: an object that had a class does not fall back to the built-in one."""
        shop = Gateways(world.plane, "shop")
        eventually(world.operator.is_idle, what="an idle operator")
        before = versions(shop.children("own"))
        world.delete(class_)
        shop.wait("own", "Accepted", "False", "ClassNotFound")
        eventually(world.operator.is_idle, what="an idle operator")
        assert versions(shop.children("own")) == before
        assert not exports_of(world, own, "evil.example")

    @staticmethod
    def restored_objects_keep_their_hosts(world: GatewayWorld, class_: Object, own: Object, lab: Object) -> None:
        """Step 5: class back, all statuses wiped, operator restarted: who steers a name claims it and keeps it."""
        shop = Gateways(world.plane, "shop")
        before = versions(shop.clients("own"))
        assert before
        world.operator.stop()
        for gateway in (own, lab):
            world.plane.rest.merge(f"{path_of(gateway)}/status", {"status": None})
        world.apply(class_)
        world.operator.start()
        shop.wait("own", "Steered", "True", "Steered", part="good")
        eventually(lambda: exports_of(world, own, BANK) == {"."}, what="the host that the class allows again")
        after = versions(shop.clients("own"))
        assert {name: after[name] for name in before} == before
        claims = {claim["host"] for claim in shop.get("own")["status"]["claims"]}
        assert {"v1.api.partner.example", BANK, "b.partner.example"} == claims
        Gateways(world.plane, "lab").wait_ready("own")


def check_table(world: GatewayWorld, central: Object, own: Object, lab: Object) -> None:
    """The table of `expect.md`."""
    live = world.plane.rest.get(path_of(own))
    assert parts(world.plane.rest.get(path_of(central)))["bank"]["Accepted"] == ("True", "Accepted")
    assert exports_of(world, central, BANK) == {"shop"}
    assert {name: found["Accepted"][1] for name, found in parts(live).items()} == {
        "bank": "HostConflict",
        "good": "Accepted",
        "site": "Accepted",
        **dict.fromkeys(("evil", "apex", "nick", "wide"), "HostNotAllowed"),
        **dict.fromkeys(("away", "meta"), "EndpointNotAllowed"),
        "lax": "FeatureNotAllowed",
        "past": "Expired",
    }
    [bank] = [each for each in live["status"]["destinations"] if each["name"] == "bank"]
    assert "platform/central" in next(each["message"] for each in bank["conditions"] if each["type"] == "Accepted")
    of_object = conditions(live["status"])
    assert (of_object["Ready"], of_object["Stalled"][0]) == (("False", "PartiallyReady"), "True")
    assert live["status"]["summary"]["destinations"] == "2/10"
    served = {each["metadata"]["labels"].get("egressgateway.dev/part") for each in world.children_of(own).values()}
    assert served == {None, "good", "site"}

    refused = conditions(world.plane.rest.get(path_of(lab))["status"])
    assert refused["Ready"][0] == "False"
    assert world.children_of(lab) == {}


def exports_of(world: GatewayWorld, gateway: Object, host: str) -> set[str]:
    """Namespaces whose clients an object's routes send through its gateway, as they stand in `exportTo`."""
    return {
        place
        for (kind, _), each in world.children_of(gateway).items()
        if kind == "VirtualService" and host in each["spec"]["hosts"] and "mesh" in each["spec"].get("gateways", ())
        for place in each["spec"]["exportTo"]
    }


class TestInterleavings:
    """Four of the twelve, with a restart of the operator in between, and writes as the audit log has them."""

    @pytest.mark.parametrize(
        ("where", "arrival", "end"),
        [
            ("same", "made", "let-go"),
            ("same", "edited", "deleted"),
            ("cross", "made", "deleted"),
            ("cross", "edited", "let-go"),
        ],
    )
    def test_earliest_claim_wins(self, world: GatewayWorld, where: str, arrival: str, end: str) -> None:
        """Who comes second to the host loses, is never in the way, and takes over in the end."""
        shop = f"{where}-{arrival}-{end}"
        second_place = shop if where == "same" else f"{shop}-platform"
        more = {} if where == "same" else {"className": CLASS, "access": {"from": [{"namespaces": [shop]}]}}
        world.apply(consumers_class())
        first, second = world.of(shop), world.of(second_place)
        conflicted = destination("contested", HOST)
        if arrival == "edited":
            second.apply("second", **more)
            second.wait_ready("second")
        first.apply("first", conflicted)
        first.wait_ready("first")
        eventually(world.operator.is_idle, what="an idle operator")

        mark = len(writes_of(world, first, "first"))
        begun = writes_of(world, second, "second").count("status")
        second.apply("second", destination("api"), conflicted, **more)
        found = second.wait("second", "Accepted", "False", "HostConflict", part="contested")
        assert f"{shop}/first" in found["message"]
        second.wait("second", "Steered", "True", "Steered", part="api")
        eventually(world.operator.is_idle, what="an idle operator")
        assert writes_of(world, second, "second").count("status") - begun <= MOST_STATUS_WRITES
        restart(world)
        assert writes_of(world, first, "first")[mark:] == []

        if end == "deleted":
            first.delete("first")
            first.wait_gone("first")
        else:
            first.apply("first", destination("api", f"api.{shop}.example.com"))
        second.wait("second", "Steered", "True", "Steered", part="contested")
        second.wait_ready("second")

        # Who comes back stands behind who took over.
        eventually(world.operator.is_idle, what="an idle operator")
        mark = len(writes_of(world, second, "second"))
        first.apply("first", conflicted)
        found = first.wait("first", "Accepted", "False", "HostConflict", part="contested")
        assert f"{second_place}/second" in found["message"]
        eventually(world.operator.is_idle, what="an idle operator")
        assert writes_of(world, second, "second")[mark:] == []
        second.delete("second")
        first.wait_ready("first")
        first.delete("first")
        first.wait_gone("first")
        second.wait_gone("second")

    def test_claims_made_while_nobody_looked_go_by_age(self, world: GatewayWorld) -> None:
        """Both came while the operator was down: the older one wins."""
        places = world.of("asleep")
        world.operator.stop()
        older = places.apply("zeta", destination("contested", HOST))["metadata"]["creationTimestamp"]

        def younger() -> bool:
            places.apply("alpha", destination("contested", HOST))
            if places.get("alpha")["metadata"]["creationTimestamp"] > older:
                return True
            places.delete("alpha")
            return False

        # Creation is told in whole seconds.
        eventually(younger, what="an object of another second")
        world.operator.start()
        places.wait_ready("zeta")
        places.wait("alpha", "Accepted", "False", "HostConflict")
        places.delete("zeta")
        places.wait_ready("alpha")
        places.delete("alpha")
        places.wait_gone("alpha", "zeta")


class TestHandover:
    """A host that goes to another object of its namespace is steered at every version of the cluster."""

    @pytest.mark.parametrize("way", ["taken-first", "given-first", "renamed"])
    def test_host_is_steered_at_every_version(self, world: GatewayWorld, way: str) -> None:
        """The next object's routes stand before the former one's go, whichever edit comes first."""
        places = world.of(f"handover-{way}")
        host = f"moved.{places.namespace}.example.com"
        moved = destination("moved", host, ports=[{"port": 4433, "protocol": "TLS"}])
        stays, other = destination("stays", "stays.example.com"), destination("other", "other.example.com")
        places.apply("former", stays, moved)
        places.apply("next", other)
        places.wait_ready("former", "next")
        eventually(world.operator.is_idle, what="an idle operator")
        since = world.plane.rest.get(ROUTES.path(places.namespace))["metadata"]["resourceVersion"]
        holders = {ref: names for ref, names in routes_for(world, places, host).items() if names}
        assert set(holders.values()) == {"former"}

        edits = [lambda: places.apply("next", other, moved), lambda: places.apply("former", stays)]
        if way == "renamed":
            edits[1] = lambda: places.delete("former")
        for edit in reversed(edits) if way == "given-first" else edits:
            edit()
        places.wait("next", "Steered", "True", "Steered", part="moved")
        if way == "renamed":
            places.wait_gone("former")
        eventually(lambda: set(routes_for(world, places, host).values()) == {"next"}, what="one route")
        assert history(world, places, since, host, holders) == [{"former"}, {"former", "next"}, {"next"}]
        places.wait_ready("next", *(() if way == "renamed" else ("former",)))
        for name in ("former", "next"):
            if places.exists(name):
                places.delete(name)
        places.wait_gone("former", "next")


def routes_for(world: GatewayWorld, places: Gateways, host: str) -> dict[str, str]:
    """Clients' VirtualServices for a host, and the EgressGateways whose children they are."""
    found = world.plane.rest.items(ROUTES.path(places.namespace), labelSelector=CLIENTS)
    return {each["metadata"]["name"]: owner_of(each) for each in found if host in each["spec"]["hosts"]}


def owner_of(route: Object) -> str:
    owner: str = route["metadata"]["labels"]["egressgateway.dev/gateway"]
    return owner


def history(world: GatewayWorld, places: Gateways, since: str, host: str, holders: dict[str, str]) -> list[set[str]]:
    """Whose routes for a host there were at each version after `since`, without repetitions."""
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=1&labelSelector={CLIENTS}"
    seen = [set(holders.values())]
    for line in world.plane.rest.text(f"{ROUTES.path(places.namespace)}?{query}").splitlines():
        event = json.loads(line)
        name = event["object"]["metadata"]["name"]
        holders = {other: owner for other, owner in holders.items() if other != name}
        if event["type"] != "DELETED" and host in event["object"]["spec"]["hosts"]:
            holders[name] = owner_of(event["object"])
        if set(holders.values()) != seen[-1]:
            seen.append(set(holders.values()))
    return seen


def test_a_tcp_port_is_free_when_no_client_is_told_of_it(world: GatewayWorld) -> None:
    """A suspended object keeps the port that its spec has left; once it has moved, who waits has the port."""

    def database(name: str, port: int) -> Object:
        return destination("db", f"{name}.ports.example.com", ports=[{"port": port, "protocol": "TCP"}])

    places = world.of("ports")
    places.apply("first", database("first", 5432))
    places.wait_ready("first")
    places.apply("first", database("first", 5433), suspend=True)
    places.wait("first", "Ready", "True", "Suspended")
    places.apply("second", database("second", 5432))
    found = places.wait("second", "Accepted", "False", "PortConflict", part="db")
    assert "ports/first" in found["message"]
    assert places.clients("second") == {}

    places.apply("first", database("first", 5433))
    places.wait_ready("first", "second")
    places.delete("first")
    places.delete("second")
    places.wait_gone("first", "second")


def test_a_tcp_port_that_a_service_leads_elsewhere_is_not_taken(world: GatewayWorld) -> None:
    """The API server selects Services by type; once the Service leads to the object's own host, the port is free."""
    places, host = world.of("aliases"), "pg.aliases.example.com"

    def alias(leads_to: str) -> Object:
        spec = {"type": "ExternalName", "externalName": leads_to, "ports": [{"name": "pg", "port": 5432}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pg", "namespace": "aliases"}, "spec": spec}

    world.apply(alias("old-pg.example.com"))
    places.apply("db", destination("pg", host, ports=[{"port": 5432, "protocol": "TCP"}]))
    found = places.wait("db", "Accepted", "False", "PortConflict", part="pg")
    assert "Service aliases/pg uses TCP port 5432 for old-pg.example.com" in found["message"]
    assert places.clients("db") == {}
    restart(world)
    places.wait("db", "Accepted", "False", "PortConflict", part="pg")

    world.apply(alias(host))
    places.wait_ready("db")
    world.apply(alias("old-pg.example.com"))
    eventually(world.operator.is_idle, what="an idle operator")
    places.wait_ready("db")
    world.delete(alias(host))
    places.delete("db")
    places.wait_gone("db")


def restart(world: GatewayWorld) -> None:
    """The operator ends, and a new one finds everything and settles."""
    eventually(world.operator.is_idle, what="an idle operator")
    world.operator.stop()
    world.operator.start()
    eventually(lambda: world.operator.leads and world.operator.is_idle(1), what="an idle operator")


def writes_of(world: GatewayWorld, gateways: Gateways, name: str) -> list[str]:
    """Writes to an object's status and to its children by the audit log, oldest first."""
    found = []
    for event in operator_writes(world.plane):
        ref = event["objectRef"]
        if ref.get("namespace") != gateways.namespace or ref["resource"] == "events":
            continue
        if ref["resource"] == "egressgateways" and ref["name"] == name:
            found.append(ref.get("subresource", "metadata"))
        elif ref["name"].startswith(f"{name}-"):
            found.append(f"{event['verb']} {ref['resource']} {ref['name']}")
    return found


def consumers_class() -> Object:
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGatewayClass",
        "metadata": {"name": CLASS},
        "spec": {"allowedConsumers": {"from": "All"}},
    }
