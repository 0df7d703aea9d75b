"""The worked cases for APISIX on a real API server, with a stand-in for its ingress controller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from controlplane.gateway_world import GatewayWorld, conditions, open_world, parts, worked_case
from harness import apisix
from harness.apisix import ACCEPTED, StandInController
from harness.controlplane import ControlPlane
from harness.gateways import ChildName, Gateways, destination
from harness.istioctl import Istioctl
from harness.objects import pod, service
from harness.rest import Object
from harness.traffic import operator_writes
from harness.wait import eventually

LABELS: Final = {"app.kubernetes.io/name": "apisix"}
APISIX: Final = {"name": "apisix", "image": "apache/apisix"}
PROXY: Final = {"name": "istio-proxy", "image": "proxyv2"}
OF_APISIX: Final = {"ApisixRoute", "ApisixUpstream"}
OF_CLIENTS: Final = {"ServiceEntry", "VirtualService", "DestinationRule"}
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
    """A mesh, and beside it an APISIX whose controller says what tests want it to."""

    base: GatewayWorld
    controller: StandInController

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
    A cluster in which APISIX's kinds are missing at first; the first test installs them.

    An object of a class that no controller serves waits from the beginning: the last test sees what became of it.
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
        with StandInController(plane) as controller:
            yield ApisixWorld(base, controller)


@pytest.fixture(scope="module")
def bookinfo(world: ApisixWorld) -> list[Object]:
    """Class and object of seed-001."""
    case = worked_case("seed-001-apisix-expose")
    world.base.apply(*case)
    return case


def shared(namespace: str, service_name: str, ingress_class: str = "apisix") -> dict[str, Any]:
    return {
        "provider": "APISIX",
        "shared": {"namespace": namespace, "service": service_name, "selector": LABELS},
        "apisix": {"ingressClassName": ingress_class},
    }


def class_(name: str, **spec: Any) -> Object:
    metadata = {"name": name}
    return {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGatewayClass",
        "metadata": metadata,
        "spec": spec,
    }


def http(name: str, host: str = "") -> Object:
    return destination(name, *([host] if host else []), ports=[{"port": 80, "protocol": "HTTP"}])


def wait_idle(world: ApisixWorld) -> None:
    """Wait until nothing is to do, but for the one object that waits for a controller that never comes."""
    eventually(lambda: world.base.operator.is_idle(later=1), what="an idle operator")


def kinds(found: dict[ChildName, Object]) -> set[str]:
    return {kind for kind, _ in found}


def only(found: dict[ChildName, Object], kind: str) -> Object:
    [wanted] = [each for (of, _), each in found.items() if of == kind]
    return wanted


def test_missing_kinds_are_told_and_heal(world: ApisixWorld) -> None:
    """Without APISIX's CRDs its objects have ProviderUnavailable, and Istio's are served all the same."""
    gateways = world.base.of("early")
    gateways.apply("apisix", http("api", "early.example.com"), className="apisix")
    gateways.apply("ignored", http("api", "ignored.example.com"), className="nobody")
    gateways.apply("istio", http("api", "istio.example.com"), className="istio")
    found = gateways.wait("apisix", "ResolvedRefs", "False", "ProviderUnavailable")
    assert "ApisixRoute, ApisixUpstream" in found["message"]
    assert gateways.children("apisix") == {}
    gateways.wait_ready("istio")
    apisix.install(world.plane)
    gateways.wait_ready("apisix", timeout=60)


class TestEgress:
    """seed-000: APISIX as the egress gateway."""

    def test_route_and_upstream_are_made_and_clients_wait_for_the_controller(self, world: ApisixWorld) -> None:
        """Not yet accepted: Programmed=False/Pending, and nobody hears of the host; then one burst, and all is true."""
        case = worked_case("seed-000-apisix-egress")
        world.controller.word = lambda _: None
        world.base.apply(*case)
        gateways = Gateways(world.plane, "test")
        pending = gateways.wait("httpbin", "Programmed", "False", "Pending", part="httpbin")
        eventually(lambda: kinds(gateways.children("httpbin")) >= OF_APISIX, what="objects of APISIX")
        pending = eventually(
            lambda: _said(gateways.condition("httpbin", "Programmed", "httpbin"), "has not taken ApisixRoute")
        )
        assert pending["reason"] == "Pending"
        assert not {"ServiceEntry", "VirtualService"} & kinds(gateways.children("httpbin"))
        world.controller.word = lambda _: ACCEPTED
        gateways.wait_ready("httpbin")

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
        world.controller.word = lambda found: _refusal(found, "partners-api")
        found = gateways.wait("partners", "Programmed", "False", "RouteRejected", part="api")
        assert "SyncFailed: host is not valid" in found["message"]
        assert gateways.clients("partners").keys() == steers.keys()
        gateways.wait("partners", "Steered", "True", "Steered", part="api")
        world.controller.word = lambda _: ACCEPTED
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
        before = sum(1 for _ in operator_writes(world.plane))
        world.plane.rest.merge(gateways.path("partners"), {"metadata": {"annotations": {"a": "b"}}})
        wait_idle(world)
        assert sum(1 for _ in operator_writes(world.plane)) == before

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

    def test_service_is_waited_for_and_published(self, world: ApisixWorld, bookinfo: list[Object]) -> None:
        """ServiceNotFound, then one ApisixRoute and no egress object."""
        gateways = Gateways(world.plane, "bookinfo")
        gateways.wait("bookinfo", "ResolvedRefs", "False", "ServiceNotFound")
        assert gateways.children("bookinfo") == {}
        world.base.apply(service("bookinfo", "productpage", {"name": "http", "port": 9080}))
        gateways.wait_ready("bookinfo")
        found = gateways.children("bookinfo")
        assert kinds(found) == {"ApisixRoute"}
        [rule] = only(found, "ApisixRoute")["spec"]["http"]
        assert rule["match"] == {"hosts": ["apisix-istio.dev"], "paths": ["/*"]}
        backend = {"serviceName": "productpage", "servicePort": 9080, "resolveGranularity": "service"}
        assert rule["backends"] == [backend]
        status = gateways.get("bookinfo")["status"]
        assert status["claims"][0]["gateway"] == "IngressClass/apisix"
        assert status["addresses"][0]["type"] == "IPAddress"

    def test_host_is_exposed_by_one_object_alone(self, world: ApisixWorld, bookinfo: list[Object]) -> None:
        """The later one, of another class with the same ingress class, has HostConflict, and is the next in line."""
        first = Gateways(world.plane, "bookinfo")
        first.wait_ready("bookinfo")
        before = {name: each["metadata"]["resourceVersion"] for name, each in first.children("bookinfo").items()}
        entry = {"name": "page", "hosts": ["apisix-istio.dev"], "backend": {"service": {"name": "web", "port": 80}}}
        second = {
            **bookinfo[1],
            "metadata": {"name": "second", "namespace": "squatter"},
            "spec": {"className": "apisix", "expose": [entry]},
        }
        world.base.apply(service("squatter", "web", {"name": "http", "port": 80}), second)
        squatter = Gateways(world.plane, "squatter")
        found = squatter.wait("second", "Accepted", "False", "HostConflict")
        assert "bookinfo/bookinfo" in found["message"]
        assert squatter.children("second") == {}
        after = {name: each["metadata"]["resourceVersion"] for name, each in first.children("bookinfo").items()}
        assert after == before
        world.base.delete(bookinfo[1])
        world.base.wait_gone(bookinfo[1])
        squatter.wait_ready("second")


class TestSwap:
    """Istio, then APISIX, then Istio again, under a live object."""

    def test_clients_move_when_the_new_way_is_whole_and_nothing_is_left(self, world: ApisixWorld) -> None:
        """By the audit log: the new way complete and taken, then clients, then the old way goes. No orphan."""
        gateways = world.base.of("swap")
        gateways.apply("mover", http("api", "mover.example.com"), className="istio")
        gateways.wait_ready("mover")
        as_istio = gateways.children("mover")

        there = self._move(world, gateways, "apisix")
        as_apisix = gateways.children("mover")
        assert kinds(as_apisix) == OF_APISIX | OF_CLIENTS
        assert there.before_clients >= {"apisixupstreams", "apisixroutes", "destinationrules", "taken"}
        assert there.after_clients >= {
            "deployments",
            "gateways",
            "services",
            "destinationrules",
            "authorizationpolicies",
        }
        assert there.clients == {("patch", "serviceentries"), ("patch", "virtualservices")}

        back = self._move(world, gateways, "istio")
        assert gateways.children("mover").keys() == as_istio.keys()
        assert back.before_clients >= {"deployments", "gateways", "services", "destinationrules"}
        assert back.after_clients >= {"apisixroutes", "apisixupstreams", "destinationrules"}
        assert back.clients == {("patch", "serviceentries"), ("patch", "virtualservices")}

        gateways.delete("mover")
        gateways.wait_gone("mover")

    def test_clients_stay_where_they_are_while_the_controller_refuses(self, world: ApisixWorld) -> None:
        """The old way is not touched, and comes back into its own when the object returns to it."""
        gateways = world.base.of("stuck")
        gateways.apply("mover", http("api", "stuck.example.com"), className="istio")
        gateways.wait_ready("mover")
        before = gateways.children("mover")
        world.controller.word = lambda found: _refusal(found, "mover-api")
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
        world.controller.word = lambda _: ACCEPTED

    def _move(self, world: ApisixWorld, gateways: Gateways, class_name: str) -> Moved:
        wait_idle(world)
        steers = {name for _, name in gateways.clients("mover")}
        seen = sum(1 for _ in world.plane.audit_events())
        gateways.apply("mover", http("api", "mover.example.com"), className=class_name)
        gateways.wait_ready("mover")
        of_class = {"apisix": OF_APISIX, "istio": {"Deployment"}}[class_name]
        old = {"apisix": {"Deployment", "Gateway"}, "istio": OF_APISIX}[class_name]

        def moved() -> bool:
            found = kinds(gateways.children("mover"))
            return of_class <= found and not old & found

        eventually(moved, what=f"class {class_name} and nothing of the other")
        wait_idle(world)
        events: list[Any] = list(world.plane.audit_events())[seen:]
        return Moved.read(events, gateways.namespace, steers)


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
            AssertionError: something was created after the clients moved, or deleted before.
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
            if by_operator and ref["name"] in steers and not ref.get("subresource"):
                moved.append((place, event["verb"], ref["resource"]))
            elif by_operator and event["responseStatus"]["code"] == 201:
                created.append((place, ref["resource"]))
            elif by_operator and event["verb"] == "delete":
                deleted.append((place, ref["resource"]))
            elif ref["resource"] == "apisixroutes" and ref.get("subresource") == "status":
                created.append((place, "taken"))
        first, last = min(place for place, *_ in moved), max(place for place, *_ in moved)
        assert max(place for place, _ in created) < first, (created, moved)
        assert min(place for place, _ in deleted) > last, (deleted, moved)
        return cls({name for _, name in created}, {(verb, name) for _, verb, name in moved}, {n for _, n in deleted})


def test_silence_of_the_controller_names_the_likely_cause(world: ApisixWorld) -> None:
    """An ingress class that nobody serves: RouteIgnored after a while, and no client was ever sent anywhere."""
    gateways = Gateways(world.plane, "early")
    found = gateways.wait("ignored", "Programmed", "False", "RouteIgnored", part="api", timeout=90)
    assert "IngressClass 'nobody'" in found["message"]
    assert conditions(gateways.get("ignored")["status"])["Ready"] == ("False", "RouteIgnored")
    assert parts(gateways.get("ignored"))["api"]["Steered"][0] == "False"
    assert not {"ServiceEntry", "VirtualService"} & kinds(gateways.children("ignored"))


def test_deletion_leaves_nothing(world: ApisixWorld) -> None:
    """Clients are taken back, and every object of APISIX goes with its owner."""
    gateways = Gateways(world.plane, "early")
    gateways.wait_ready("apisix")
    for name in ("apisix", "ignored"):
        gateways.delete(name)
    gateways.wait_gone("apisix", "ignored")


def test_operator_never_failed(world: ApisixWorld) -> None:
    """No trace in its log."""
    assert world.base.operator.running
    lines = world.base.operator.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []


def _said(condition: Object, words: str) -> Object:
    assert words in condition["message"], condition
    return condition


def _refusal(found: Object, prefix: str) -> tuple[str, str, str]:
    refused = found["kind"] == "ApisixRoute" and found["metadata"]["name"].startswith(prefix)
    return ("False", "SyncFailed", "host is not valid") if refused else ACCEPTED
