"""
The worked cases for APISIX on a real API server, with a stand-in for its ingress controller.

Each test has a namespace of its own, and the controller is told by namespace what to say: none depends on another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from controlplane.gateway_world import GatewayWorld, conditions, open_world, parts, worked_case
from egressgateway.live.controller_status import PATIENCE
from egressgateway.refs import CHILD_BY_KIND, INGRESS_CLASS
from harness import apisix
from harness.apisix import ACCEPTED, RouteAcceptance, StandInController
from harness.background import Background
from harness.controlplane import ControlPlane
from harness.gateways import ChildName, Gateways, destination
from harness.istioctl import Istioctl
from harness.objects import pod, service
from harness.rest import Object
from harness.traffic import operator_writes
from harness.wait import CONVERGE, eventually

LABELS: Final = {"app.kubernetes.io/name": "apisix"}
APISIX: Final = {"name": "apisix", "image": "apache/apisix"}
PROXY: Final = {"name": "istio-proxy", "image": "proxyv2"}
OF_APISIX: Final = {"ApisixRoute", "ApisixUpstream"}
CLIENT_ROUTES: Final = "egressgateway.dev/stage=clients"
OF_CLIENTS: Final = {"ServiceEntry", "VirtualService", "DestinationRule"}
PUSH_SECONDS: Final = 8
"""Longer than the stand-in takes to give up on an Admin API that hangs, twice."""

SILENCE: Final = PATIENCE.total_seconds() + CONVERGE
"""Seconds until the operator has given up on a controller that says nothing."""

COLLECTED: Final = 30 + CONVERGE
"""Seconds until the garbage collector, which looks for new kinds every 30, has taken an owner's children."""

EVERYTHING: Final[Object] = {
    "name": "everything",
    "hosts": ["all.example.com"],
    "aliases": ["all.shop.example"],
    "ports": [
        {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple", "insecureSkipVerify": True}}
    ],
    "endpoints": [{"address": "one.example.net", "weight": 2}, {"address": "two.example.net"}],
    "requestHeaders": {"set": [{"name": "x-client", "value": "shop"}], "remove": ["x-debug"]},
    "traffic": {
        "timeout": "5s",
        "retries": {"attempts": 1},
        "connectionPool": {"connectTimeout": "2s"},
        "outlierDetection": {"consecutive5xxErrors": 3},
        "loadBalancing": {"algorithm": "LeastRequest"},
    },
}


@dataclass(frozen=True)
class ApisixWorld:
    """
    A mesh, and beside it an APISIX whose controller says what tests want it to.

    `unserved`: the condition ResolvedRefs of object `early/apisix` as long as APISIX's kinds were missing, and
    `unserved_children` what was made of it until then.
    """

    base: GatewayWorld
    controller: StandInController
    unserved: Object
    unserved_children: dict[ChildName, Object]

    @property
    def plane(self) -> ControlPlane:
        return self.base.plane


def installation(namespace: str, service_name: str, *sidecars: Object) -> list[Object]:
    """Service and one pod of an APISIX."""
    found = pod(namespace, f"{service_name}-0", APISIX, **LABELS)
    found["spec"]["containers"] += sidecars
    ports = [{"name": "apisix-gateway", "port": 80, "targetPort": 9080}]
    return [service(namespace, service_name, *ports, selector=LABELS), found]


@pytest.fixture(scope="module")
def world(plane: ControlPlane, istioctl: Istioctl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApisixWorld]:
    """
    A cluster in which APISIX's kinds were missing until three objects of namespace `early` had been looked at.

    One of these is of a class that no controller serves, and waits from the beginning.
    """
    directory = tmp_path_factory.mktemp("operator")
    for base in open_world(plane, istioctl, directory, outboundTrafficPolicy={"mode": "ALLOW_ANY"}):
        base.apply(
            *installation("ingress-apisix", "apisix-gateway"),
            *installation("apisix-istio", "apisix-istio-gateway", PROXY),
            class_("istio"),
            class_("apisix", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway")),
            class_("nobody", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway", "nobody")),
        )
        early = base.of("early")
        early.apply("apisix", http("api", "early.example.com"), className="apisix")
        early.apply("ignored", http("api", "ignored.example.com"), className="nobody")
        early.apply("istio", http("api", "istio.example.com"), className="istio")
        unserved = early.wait("apisix", "ResolvedRefs", "False", "ProviderUnavailable")
        early.wait_ready("istio")
        unserved_children = early.children("apisix")
        apisix.install(plane)
        apisix.connect(plane, "nobody")
        with StandInController(plane) as controller:
            early.wait_ready("apisix")
            yield ApisixWorld(base, controller, unserved, unserved_children)


def shared(namespace: str, service_name: str, ingress_class: str = "apisix") -> dict[str, Any]:
    return {
        "provider": "APISIX",
        "shared": {"namespace": namespace, "service": service_name, "selector": LABELS},
        "apisix": {"ingressClassName": ingress_class, "pushTimeout": f"{PUSH_SECONDS}s"},
    }


def class_(name: str, **spec: Any) -> Object:
    metadata = {"name": name}
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGatewayClass",
        "metadata": metadata,
        "spec": spec,
    }


def exposed_web(namespace: str, name: str, class_name: str, host: str) -> Object:
    """An EgressGateway that publishes Service `web` of its namespace."""
    entry = {"name": "page", "hosts": [host], "backend": {"service": {"name": "web", "port": 80}}}
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"className": class_name, "expose": [entry]},
    }


def http(name: str, host: str = "") -> Object:
    return destination(name, *([host] if host else []), ports=[{"port": 80, "protocol": "HTTP"}])


def wait_idle(world: ApisixWorld, reconciles: int = 0) -> None:
    """
    Wait until nothing is queued or under way, after at least that many reconciles.

    What is due later is not waited for: who waited for a controller's word is looked at again when patience ends, be
    it that the word has come.
    """
    eventually(lambda: world.base.operator.is_idle(reconciles, later=sys.maxsize), what="an idle operator")


def writes_in(world: ApisixWorld, namespace: str) -> int:
    """How often the operator has written to objects of a namespace; its events, which come when they may, left out."""
    refs = [event.get("objectRef") or {} for event in operator_writes(world.plane)]
    return sum(ref.get("namespace") == namespace and ref["resource"] != "events" for ref in refs)


def kinds(found: dict[ChildName, Object]) -> set[str]:
    return {kind for kind, _ in found}


def only(found: dict[ChildName, Object], kind: str) -> Object:
    [wanted] = [each for (of, _), each in found.items() if of == kind]
    return wanted


def test_missing_kinds_are_told_and_heal(world: ApisixWorld) -> None:
    """Without APISIX's CRDs its objects have ProviderUnavailable, and Istio's are served all the same."""
    assert "ApisixRoute, ApisixUpstream" in world.unserved["message"]
    assert world.unserved_children == {}
    gateways = world.base.of("early")
    gateways.wait_ready("apisix", "istio")
    assert kinds(gateways.children("apisix")) == OF_APISIX | OF_CLIENTS


class TestEgress:
    """seed-000: APISIX as the egress gateway."""

    def test_route_and_upstream_are_made_and_clients_wait_for_the_controller(self, world: ApisixWorld) -> None:
        """Not yet accepted: Programmed=False/Pending, and nobody hears of the host; then one burst, and all is true."""
        gateways = Gateways(world.plane, "test")
        with world.controller.judging("test", lambda _: None):
            world.base.apply(*worked_case("seed-000-apisix-egress"))
            pending = eventually(
                lambda: _said(gateways.condition("httpbin", "Programmed", "httpbin"), " ApisixRoute test/httpbin-")
            )
            # The second on a machine so slow that the operator's patience is over.
            assert (pending["status"], pending["reason"]) in {("False", "Pending"), ("False", "RouteIgnored")}
            waiting = kinds(gateways.children("httpbin"))
            assert waiting >= OF_APISIX
            assert not {"ServiceEntry", "VirtualService"} & waiting
        # The class of the worked case has the default time-out.
        gateways.wait_ready("httpbin", timeout=SILENCE)

        found = gateways.children("httpbin")
        assert kinds(found) == OF_APISIX | OF_CLIENTS
        route, upstream = only(found, "ApisixRoute")["spec"], only(found, "ApisixUpstream")
        [rule] = route["http"]
        assert (rule["match"]["hosts"], rule["match"]["paths"]) == (["httpbin.org"], ["/*"])
        assert rule["upstreams"] == [{"name": upstream["metadata"]["name"]}]
        assert upstream["spec"]["externalNodes"] == [{"type": "Domain", "name": "httpbin.org", "port": 80}]
        assert {route["ingressClassName"], upstream["spec"]["ingressClassName"]} == {"apisix"}
        entry, steer = only(found, "ServiceEntry")["spec"], only(found, "VirtualService")["spec"]
        assert entry["endpoints"] == [{"address": "apisix-gateway.ingress-apisix.svc.cluster.local"}]
        assert [port["number"] for port in entry["ports"]] == [80]
        [way] = steer["http"]
        target = way["route"][0]["destination"]
        assert (target["host"], target["port"]) == ("apisix-gateway.ingress-apisix.svc.cluster.local", {"number": 80})
        [mark] = way["headers"]["request"]["set"].values()
        assert rule["match"]["exprs"][0]["value"] == mark
        status = gateways.get("httpbin")["status"]
        assert (status["provider"], status["gateway"]["readyReplicas"]) == ("APISIX", 1)
        [ready] = [each for each in status["conditions"] if each["type"] == "Ready"]
        assert "x-real-ip" in ready["message"]
        assert world.base.invalid(found.values()) == ""
        assert world.base.judged() == []

    def test_refusal_of_the_controller_is_mirrored_and_steers_stay(self, world: ApisixWorld) -> None:
        """RouteRejected in the controller's words; clients go on by what APISIX had before, and it heals."""
        gateways = world.base.of("rejected")
        gateways.apply("partners", http("api", "rejected.example.com"), className="apisix")
        gateways.wait_ready("partners")
        steers = gateways.clients("partners")
        with world.controller.judging("rejected", _refuse_routes):
            found = gateways.wait("partners", "Programmed", "False", "RouteRejected", part="api")
            assert "InvalidSpec: host is not valid" in found["message"]
            assert gateways.clients("partners").keys() == steers.keys()
            gateways.wait("partners", "Steered", "True", "Steered", part="api")
        gateways.wait_ready("partners")

    def test_everything_that_apisix_can_do_is_taken_by_its_schema(self, world: ApisixWorld) -> None:
        """With its real CRDs, where they are: each field that a translation writes is one that they know."""
        gateways = world.base.of("everything")
        limited = {"from": [{"methods": ["GET"], "paths": ["/v1/*"]}]}
        gateways.apply("partners", EVERYTHING, className="apisix", access=limited)
        gateways.wait_ready("partners")
        upstream = only(gateways.children("partners"), "ApisixUpstream")["spec"]
        assert upstream.keys() >= {"healthCheck", "loadbalancer", "retries", "timeout", "upstreamHost", "scheme"}
        way, refused = only(gateways.children("partners"), "ApisixRoute")["spec"]["http"]
        assert (way["priority"], way["match"]["paths"], way["match"]["methods"]) == (1000, ["/v1/*"], ["GET"])
        assert (refused["priority"], refused["match"]["paths"]) == (999, ["/*", "/v1/*"])
        assert refused["plugins"][0]["config"]["abort"]["http_status"] == 403
        accepted = gateways.condition("partners", "Accepted", "everything")
        assert "is not verified" in accepted["message"]
        # What the server stored is what was meant: nothing is written again and again.
        wait_idle(world)
        before, looks = writes_in(world, "everything"), world.base.operator.total("egressgateway_reconcile_total")
        world.plane.rest.merge(gateways.path("partners"), {"metadata": {"annotations": {"a": "b"}}})
        wait_idle(world, int(looks) + 1)
        assert writes_in(world, "everything") == before > 0

    @pytest.mark.parametrize(
        ("port", "class_name", "words"),
        [
            ({"port": 443, "protocol": "TLS"}, "apisix", "stream route"),
            (
                {"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": {"mode": "Simple"}},
                "apisix",
                "insecureSkipVerify: true",
            ),
            ({"port": 80, "protocol": "HTTP"}, "strict", "no mesh identity"),
        ],
        ids=["passthrough", "verified", "without identity"],
    )
    def test_what_apisix_cannot_do_is_refused(
        self, world: ApisixWorld, port: Object, class_name: str, words: str
    ) -> None:
        """UnsupportedValue with the field's name, and nothing is made of it."""
        world.base.apply(class_("strict", **shared("ingress-apisix", "apisix-gateway")))
        gateways = world.base.of("refused")
        gateways.apply("partners", destination("api", "refused.example.com", ports=[port]), className=class_name)
        found = gateways.wait("partners", "Accepted", "False", "UnsupportedValue", part="api")
        assert "spec.destinations[0]" in found["message"]
        assert words in found["message"]
        assert gateways.children("partners") == {}


class TestExpose:
    """seed-001: an APISIX in the mesh publishes a Service."""

    def test_service_is_waited_for_and_published(self, world: ApisixWorld) -> None:
        """ServiceNotFound, then one ApisixRoute and no egress object."""
        world.base.apply(*worked_case("seed-001-apisix-expose"))
        gateways = Gateways(world.plane, "bookinfo")
        gateways.wait("bookinfo", "ResolvedRefs", "False", "ServiceNotFound")
        assert gateways.children("bookinfo") == {}
        world.base.apply(service("bookinfo", "productpage", {"name": "http", "port": 9080}))
        gateways.wait_ready("bookinfo", timeout=SILENCE)
        found = gateways.children("bookinfo")
        assert kinds(found) == {"ApisixRoute"}
        [rule] = only(found, "ApisixRoute")["spec"]["http"]
        assert rule["match"] == {"hosts": ["apisix-istio.dev"], "paths": ["/*"]}
        backend = {"serviceName": "productpage", "servicePort": 9080, "resolveGranularity": "service"}
        assert rule["backends"] == [backend]
        status = gateways.get("bookinfo")["status"]
        assert status["claims"][0]["gateway"] == "IngressClass/apisix"
        assert status["addresses"][0]["type"] == "IPAddress"

    def test_host_is_exposed_by_one_object_alone(self, world: ApisixWorld) -> None:
        """The later one, of another class with the same ingress class, has HostConflict, and is the next in line."""
        world.base.apply(class_("meshed", **shared("apisix-istio", "apisix-istio-gateway")))
        first, second = world.base.of("publisher"), world.base.of("squatter")
        for gateways in (first, second):
            world.base.apply(service(gateways.namespace, "web", {"name": "http", "port": 80}))
        world.base.apply(exposed_web("publisher", "page", "meshed", "page.example.dev"))
        first.wait_ready("page")
        before = {name: each["metadata"]["resourceVersion"] for name, each in first.children("page").items()}
        world.base.apply(exposed_web("squatter", "second", "apisix", "page.example.dev"))
        found = second.wait("second", "Accepted", "False", "HostConflict")
        assert "publisher/page" in found["message"]
        assert second.children("second") == {}
        after = {name: each["metadata"]["resourceVersion"] for name, each in first.children("page").items()}
        assert after == before
        first.delete("page")
        first.wait_gone("page", timeout=COLLECTED)
        second.wait_ready("second")


class TestSwap:
    """Istio, then APISIX, then Istio again, under a live object."""

    def test_clients_move_when_the_new_way_is_whole_and_nothing_is_left(self, world: ApisixWorld) -> None:
        """By the audit log: the new way complete and taken, then clients, then the old way goes. No orphan."""
        gateways = world.base.of("swap")
        gateways.apply("mover", http("api", "mover.example.com"), className="istio")
        gateways.wait_ready("mover")
        as_istio = gateways.children("mover")

        there = self._move(world, gateways, "apisix", lambda found: kinds(found) == OF_APISIX | OF_CLIENTS)
        assert there.before_clients >= {"apisixupstreams", "apisixroutes", "destinationrules", "taken"}
        assert there.after_clients >= {
            "deployments",
            "gateways",
            "services",
            "destinationrules",
            "authorizationpolicies",
        }
        assert there.clients == {("patch", "serviceentries"), ("patch", "virtualservices")}

        back = self._move(world, gateways, "istio", lambda found: found.keys() == as_istio.keys())
        assert back.before_clients >= {"deployments", "gateways", "services", "destinationrules"}
        assert back.after_clients >= {"apisixroutes", "apisixupstreams", "destinationrules"}
        assert back.clients == {("patch", "serviceentries"), ("patch", "virtualservices")}

        gateways.delete("mover")
        gateways.wait_gone("mover", timeout=COLLECTED)

    def test_clients_stay_where_they_are_while_the_controller_refuses(self, world: ApisixWorld) -> None:
        """The old way is not touched, and comes back into its own when the object returns to it."""
        gateways = world.base.of("stuck")
        gateways.apply("mover", http("api", "stuck.example.com"), className="istio")
        gateways.wait_ready("mover")
        before = gateways.children("mover")
        with world.controller.judging("stuck", _refuse_routes):
            gateways.apply("mover", http("api", "stuck.example.com"), className="apisix")
            gateways.wait("mover", "Programmed", "False", "RouteRejected")
            wait_idle(world)
            found = gateways.children("mover")
            assert before.keys() <= found.keys()
            specs = {name: each.get("spec") for name, each in gateways.clients("mover").items()}
            assert specs == {name: each["spec"] for name, each in before.items() if name in specs}
            gateways.apply("mover", http("api", "stuck.example.com"), className="istio")
            gateways.wait_ready("mover")
            eventually(lambda: gateways.children("mover").keys() == before.keys(), what="nothing of APISIX")

    def _move(
        self,
        world: ApisixWorld,
        gateways: Gateways,
        class_name: str,
        is_whole: Callable[[dict[ChildName, Object]], bool],
    ) -> Moved:
        """Change the class, and wait until the new children are whole and the others' end is in the audit log."""
        wait_idle(world)
        before, steers = gateways.children("mover"), {name for _, name in gateways.clients("mover")}
        seen = sum(1 for _ in world.plane.audit_events())
        gateways.apply("mover", http("api", "mover.example.com"), className=class_name)
        gateways.wait_ready("mover")
        eventually(lambda: is_whole(gateways.children("mover")), what=f"class {class_name} and nothing of the other")
        gone = {CHILD_BY_KIND[kind].plural for kind, _ in before.keys() - gateways.children("mover").keys()}

        def read() -> Moved:
            moved = Moved.read(list(world.plane.audit_events())[seen:], gateways.namespace, steers)
            assert moved.after_clients >= gone, moved
            return moved

        return eventually(read, what="the move in the audit log")


@dataclass(frozen=True)
class Moved:
    """
    What a change of class wrote, by the audit log.

    `before_clients`: resources that were created before the first write to what steers clients, `taken` among them
    when the controller had said so; `clients`: those writes; `after_clients`: resources that were deleted after them.
    """

    before_clients: set[str]
    clients: set[tuple[str, str]]
    after_clients: set[str]

    @classmethod
    def read(cls, events: list[Any], namespace: str, steers: set[str]) -> Moved:
        """
        From the audit events of the move.

        Raises:
            AssertionError: something was created after the clients moved, or deleted before; or they did not move.
        """
        created: list[tuple[int, str]] = []
        deleted: list[tuple[int, str]] = []
        moved: list[tuple[int, str, str]] = []
        for place, event in enumerate(events):
            ref = event.get("objectRef") or {}
            done = event["stage"] == "ResponseComplete" and event.get("responseStatus", {}).get("code", 500) < 300
            if ref.get("namespace") != namespace or not done or ref["resource"] == "events":
                continue
            by_operator = event["userAgent"].startswith("egressgateway-operator/")
            # A list has no name: of pods that do not start, for example.
            if by_operator and ref.get("name") in steers and not ref.get("subresource"):
                moved.append((place, event["verb"], ref["resource"]))
            elif by_operator and event["responseStatus"]["code"] == 201:
                created.append((place, ref["resource"]))
            elif by_operator and event["verb"] == "delete":
                deleted.append((place, ref["resource"]))
            elif ref["resource"] == "apisixroutes" and ref.get("subresource") == "status":
                created.append((place, "taken"))
        assert all((created, moved, deleted)), (created, moved, deleted)
        first, last = min(place for place, *_ in moved), max(place for place, *_ in moved)
        assert max(place for place, _ in created) < first, (created, moved)
        assert min(place for place, _ in deleted) > last, (deleted, moved)
        return cls({name for _, name in created}, {(verb, name) for _, verb, name in moved}, {n for _, n in deleted})


class TestPush:
    """What the controller has accepted is served only once it is pushed."""

    def test_clients_stay_while_the_admin_api_hangs(self, world: ApisixWorld) -> None:
        """From Istio to APISIX and back: at no time do clients go where they are not served, and nothing is lost."""
        world.base.apply(class_("hanging", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway", "hanging")))
        gateways = world.base.of("hanging")
        gateways.apply("mover", http("api", "hanging.example.com"), className="istio")
        gateways.wait_ready("mover")
        before = gateways.children("mover")
        steers = specs_of(gateways.clients("mover"))
        apisix.connect(world.plane, "hanging")
        with StandInController(world.plane, "hanging") as controller, Watch(gateways, controller) as watch:
            with controller.hanging():
                gateways.apply("mover", http("api", "hanging.example.com"), className="hanging")
                found = gateways.wait("mover", "Programmed", "False", "RouteNotPushed", part="api")
                assert "deadline exceeded" in found["message"]
                gateways.wait("mover", "Steered", "Unknown", "Pending", part="api")
                wait_idle(world)
                assert before.keys() <= gateways.children("mover").keys()
                assert {
                    name: each for name, each in specs_of(gateways.clients("mover")).items() if name in steers
                } == steers
            gateways.wait_ready("mover")
            eventually(lambda: kinds(gateways.children("mover")) == OF_APISIX | OF_CLIENTS, what="nothing of Istio")
            with controller.hanging():
                gateways.apply("mover", http("api", "hanging.example.com"), className="istio")
                gateways.wait_ready("mover")
                eventually(lambda: gateways.children("mover").keys() == before.keys(), what="nothing of APISIX")
        assert watch.seen == {"istio", "apisix"}
        assert watch.offences == []

    def test_edit_of_an_old_route_waits_for_its_push(self, world: ApisixWorld) -> None:
        """What the controller accepted long ago says nothing of an edit; no client has a host that APISIX lacks."""
        world.base.apply(class_("editing", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway", "editing")))
        apisix.connect(world.plane, "editing")
        gateways = world.base.of("editing")
        before, alias = http("api", "editing.example.com"), "edited.shop.example"
        gateways.apply("old", before, className="editing")
        with StandInController(world.plane, "editing") as controller, Watch(gateways, controller) as watch:
            # Ready says that the route is older than the time-out.
            gateways.wait_ready("old")
            with controller.hanging():
                gateways.apply("old", {**before, "aliases": [alias]}, className="editing")
                gateways.wait("old", "Programmed", "False", "RouteNotPushed", part="api")
                wait_idle(world)
                assert alias not in str(gateways.clients("old"))
            gateways.wait_ready("old")
            assert alias in str(gateways.clients("old"))
        assert watch.offences == []

    def test_mistake_of_a_stranger_is_blamed_on_nobody_and_stops_nothing(self, world: ApisixWorld) -> None:
        """What is in use stays Steered, and nothing is certain; what is new waits; both heal."""
        world.base.apply(class_("failing", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway", "failing")))
        apisix.connect(world.plane, "failing")
        gateways = world.base.of("failing")
        gateways.apply("old", http("api", "old.failing.example.com"), className="failing")
        with StandInController(world.plane, "failing") as controller, Watch(gateways, controller) as watch:
            gateways.wait_ready("old")
            with controller.failing("ApisixUpstream stranger/bad: port must be a number"):
                gateways.apply("new", http("api", "new.failing.example.com"), className="failing")
                kept = gateways.wait("old", "Programmed", "Unknown", "RouteNotPushed", part="api")
                assert "may be another object" in kept["message"]
                assert "stranger/bad" in kept["message"]
                gateways.wait("old", "Ready", "Unknown", "RouteNotPushed")
                gateways.wait("old", "Steered", "True", "Steered", part="api")
                gateways.wait("new", "Ready", "False", "RouteNotPushed")
                wait_idle(world)
                assert not {"ServiceEntry", "VirtualService"} & kinds(gateways.children("new"))
            gateways.wait_ready("old", "new")
        assert watch.offences == []

    def test_ingress_class_is_looked_at(self, world: ApisixWorld) -> None:
        """Missing, without parameters, whole, deleted, and whole again: Ready only when something is served."""
        world.base.apply(class_("fragile", mtls="Disabled", **shared("ingress-apisix", "apisix-gateway", "fragile")))
        gateways = world.base.of("fragile")
        path = INGRESS_CLASS.path(None, "fragile")
        with StandInController(world.plane, "fragile") as controller:
            gateways.apply("mover", http("api", "fragile.example.com"), className="fragile")
            found = gateways.wait("mover", "Ready", "False", "IngressClassNotFound")
            assert "there is no IngressClass fragile; create it" in found["message"]
            assert gateways.children("mover") == {}

            world.base.apply(apisix.ingress_class_of("fragile", connected=False))
            found = gateways.wait("mover", "Ready", "False", "IngressClassInvalid")
            assert "no parameters that name a GatewayProxy" in found["message"]
            world.base.apply(apisix.ingress_class_of("fragile", connected=True))
            gateways.wait_ready("mover")
            steers = specs_of(gateways.clients("mover"))

            world.plane.rest.delete(path)
            gateways.wait("mover", "Ready", "False", "IngressClassNotFound")
            found = gateways.wait("mover", "Steered", "False", "IngressClassNotFound", part="api")
            assert "no routes without its IngressClass" in found["message"]
            assert specs_of(gateways.clients("mover")) == steers

            apisix.connect(world.plane, "fragile")
            gateways.wait("mover", "Steered", "False", "Pending", part="api")
            gateways.wait_ready("mover")
            assert controller.pushed


def specs_of(found: dict[ChildName, Object]) -> dict[ChildName, Object]:
    return {name: each["spec"] for name, each in found.items()}


class Watch(Background):
    """Looks all the time at where the clients of a namespace are sent, and whether APISIX has their routes."""

    def __init__(self, gateways: Gateways, controller: StandInController) -> None:
        super().__init__("watch of clients")
        self._gateways = gateways
        self._controller = controller
        self.seen: set[str] = set()
        self.offences: list[str] = []

    def work(self) -> None:
        while not self.ended.wait(0.1):
            self._look()

    def _look(self) -> None:
        rest, namespace = self._gateways.cluster.rest, self._gateways.namespace
        # First what clients have, then what APISIX has: it only comes to have more, and loses what clients have left.
        steers = rest.items(CHILD_BY_KIND["VirtualService"].path(namespace), labelSelector=CLIENT_ROUTES)
        routes = {
            name: spec
            for name, spec in self._controller.pushed.copy().items()
            if name[:2] == ("ApisixRoute", namespace)
        }
        pushed: dict[str, set[str]] = {}
        for spec in routes.values():
            for rule in spec["http"]:
                pushed.setdefault(rule["match"]["exprs"][0]["value"], set()).update(rule["match"]["hosts"])
        for steer in steers:
            for way in steer["spec"]["http"]:
                wanted = set(way.get("headers", {}).get("request", {}).get("set", {}).values())
                self.seen.add("apisix" if wanted else "istio")
                lacking = [mark for mark in wanted if not set(steer["spec"]["hosts"]) <= pushed.get(mark, set())]
                if lacking:
                    self.offences.append(f"{steer['metadata']['name']} leads to a route that was not pushed")


def test_silence_of_the_controller_names_the_likely_cause(world: ApisixWorld) -> None:
    """An ingress class that nobody serves: RouteIgnored after a while, and no client was ever sent anywhere."""
    gateways = world.base.of("early")
    found = gateways.wait("ignored", "Programmed", "False", "RouteIgnored", part="api", timeout=SILENCE)
    assert "IngressClass 'nobody'" in found["message"]
    assert conditions(gateways.get("ignored")["status"])["Ready"] == ("False", "RouteIgnored")
    assert parts(gateways.get("ignored"))["api"]["Steered"][0] == "False"
    assert not {"ServiceEntry", "VirtualService"} & kinds(gateways.children("ignored"))


def test_deletion_leaves_nothing(world: ApisixWorld) -> None:
    """Clients are taken back, and every object of APISIX goes with its owner, taken by a controller or not."""
    gateways = world.base.of("deleted")
    gateways.apply("taken", http("api", "taken.example.com"), className="apisix")
    gateways.apply("ignored", http("api", "untaken.example.com"), className="nobody")
    gateways.wait_ready("taken")
    eventually(lambda: kinds(gateways.children("ignored")) >= OF_APISIX, what="objects that nobody takes")
    for name in ("taken", "ignored"):
        gateways.delete(name)
    gateways.wait_gone("taken", "ignored", timeout=COLLECTED)


def test_operator_never_failed(world: ApisixWorld) -> None:
    """No trace in its log."""
    assert world.base.operator.running
    lines = world.base.operator.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []


def _said(condition: Object, words: str) -> Object:
    assert words in condition["message"], condition
    return condition


def _refuse_routes(found: Object) -> RouteAcceptance:
    return ("False", "InvalidSpec", "host is not valid") if found["kind"] == "ApisixRoute" else ACCEPTED
