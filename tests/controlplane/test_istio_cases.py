"""The worked cases for Istio on a real API server: each row of their `expect.md` that needs no traffic to be seen."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from controlplane.gateway_world import (
    PROXY,
    GatewayWorld,
    conditions,
    foreign_objects,
    open_world,
    parts,
    versions,
    worked_case,
)
from egressgateway.names import FINALIZER
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination
from harness.istioctl import Istioctl
from harness.objects import client_secret, fingerprints, namespace, path_of, pod, secret, service
from harness.release import allow_secrets
from harness.rest import Object
from harness.traffic import operator_writes
from harness.wait import eventually

MESH: Final = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
OPA: Final = {"name": "opa", "envoyExtAuthzGrpc": {"service": "opa.opa.svc.cluster.local", "port": 9191}}
WORKLOADS: Final = {"Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
GOOD: Final = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")} | {
    "Programmed": ("True", "Programmed")
}


@pytest.fixture(scope="module")
def world(plane: ControlPlane, istioctl: Istioctl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    yield from open_world(plane, istioctl, tmp_path_factory.mktemp("operator"), **MESH, extensionProviders=[OPA])


def check_children(world: GatewayWorld, *gateways: Object) -> None:
    """Istio has nothing against any child, nor against the cluster as a whole."""
    for gateway in gateways:
        found = world.children_of(gateway)
        assert found
        assert world.invalid(found.values()) == ""
    assert world.judged() == []


def istio_gateway(namespace_: str, name: str, host: str, credential: str) -> Object:
    tls = {"mode": "SIMPLE", "credentialName": credential}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": [host], "tls": tls}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace_},
        "spec": {"selector": {"istio": name}, "servers": [server]},
    }


@pytest.fixture(scope="class")
def mesh_gateways(world: GatewayWorld) -> Iterator[list[Object]]:
    case = worked_case("seed-002-mesh-gateways")
    world.apply(service("default", "echo", {"name": "http", "port": 80}), *case)
    Gateways(world.plane, "default").wait_ready("echo-ingress", "egress")
    yield case
    world.delete(*case)
    world.wait_gone(*case)


@pytest.fixture(scope="class")
def shared_surroundings(world: GatewayWorld) -> list[Object]:
    """What was in istio-system before."""
    ports = [{"name": "http2", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]
    found = [
        service("istio-system", "istio-egressgateway", *ports, selector={"istio": "egressgateway"}),
        pod("istio-system", "istio-egressgateway-0", PROXY, istio="egressgateway"),
    ]
    world.apply(*found)
    return found


@pytest.fixture(scope="class")
def shared_egress(world: GatewayWorld, shared_surroundings: list[Object]) -> Iterator[Object]:
    case = worked_case("seed-003-shared-egress")
    world.apply(*case)
    Gateways(world.plane, "application").wait_ready("google")
    yield case[1]
    world.delete(*reversed(case))
    world.wait_gone(case[1])


@pytest.fixture(scope="class")
def on_demand_surroundings(world: GatewayWorld) -> list[Object]:
    pair = world.authority.issue("my-hostname.example", (), ("my-hostname.example",))
    found = [
        istio_gateway("istio-system", "my-ingressgateway", "my-hostname.example", "my-hostname"),
        secret("istio-system", "my-hostname", {"tls.crt": pair.certificate, "tls.key": pair.key}),
        service("istio-system", "my-ingressgateway", {"port": 443}, selector={"istio": "my-ingressgateway"}),
        pod("istio-system", "my-ingressgateway-0", PROXY, istio="my-ingressgateway"),
    ]
    world.apply(*found)
    return found


@pytest.fixture(scope="class")
def on_demand(world: GatewayWorld, on_demand_surroundings: list[Object]) -> Iterator[list[Object]]:
    case = worked_case("seed-004-on-demand")
    world.apply(*case)
    Gateways(world.plane, "httpbin").wait_ready("httpbin")
    yield case
    world.delete(*reversed(case))
    world.wait_gone(case[1])


@pytest.fixture(scope="class")
def istio_tasks(world: GatewayWorld) -> Iterator[list[Object]]:
    case = worked_case("istio-tasks")
    world.make_namespaces("payments")
    world.apply(namespace("billing", egress="partners"), namespace("third"))
    # The status tells of the Secret that is missing only where the operator may look.
    allow_secrets(world.plane, "payments")
    world.apply(*case)
    Gateways(world.plane, "payments").wait("partners", "Ready", "False", "PartiallyReady")
    yield case
    world.delete(*reversed(case), secret("payments", "my-nginx-client", {}))
    world.wait_gone(case[1])
    # Tests of one class make it; the next class begins without.
    mine = "/api/v1/namespaces/payments/secrets/my-nginx-client"
    if world.plane.rest.exists(mine):
        world.plane.rest.delete(mine)


class TestMeshGateways:
    """seed-002: an ingress and an egress gateway side by side."""

    def test_each_has_its_own_workload_and_service(self, world: GatewayWorld, mesh_gateways: list[Object]) -> None:
        """Two Deployments, a load balancer on 8000 for what is exposed, a ClusterIP for the hop, a true status."""
        ingress, egress = (world.children_of(each) for each in mesh_gateways)
        assert [name for kind, name in (*ingress, *egress) if kind == "Deployment"] == [
            "echo-ingress-egress",
            "egress-egress",
        ]
        exposed = ingress["Service", "echo-ingress-expose"]
        assert exposed["spec"]["type"] == "LoadBalancer"
        assert [port["port"] for port in exposed["spec"]["ports"]] == [8000]
        assert egress["Service", "egress-egress"]["spec"]["type"] == "ClusterIP"
        assert [name for kind, name in egress if kind == "Service"] == ["egress-egress"]

        status = world.plane.rest.get(path_of(mesh_gateways[0]))["status"]
        address = eventually(lambda: world.plane.rest.get(path_of(exposed))["status"]["loadBalancer"]["ingress"][0])
        assert status["addresses"] == [{"type": "IPAddress", "value": address["ip"]}]
        assert GOOD.items() <= parts({"status": status}, "expose")["echo"].items()
        check_children(world, *mesh_gateways)

    def test_gateways_never_select_each_others_pods(self, world: GatewayWorld, mesh_gateways: list[Object]) -> None:
        """Not even those of a gateway of the same name in another namespace, whatever selector is looked at."""
        elsewhere = world.of("elsewhere")
        elsewhere.apply("egress", destination("other"))
        elsewhere.wait_ready("egress")
        twin = elsewhere.get("egress")
        for gateway in (*mesh_gateways, twin):
            found, name = world.children_of(gateway), gateway["metadata"]["name"]
            own = f"{name}-egress-"
            selectors = {
                **{key: each["spec"]["selector"] for key, each in found.items() if key[0] in ("Service", "Gateway")},
                "Deployment": found["Deployment", f"{name}-egress"]["spec"]["selector"]["matchLabels"],
            }
            assert len(selectors) >= 3
            for selector in selectors.values():
                wanted = ",".join(f"{key}={value}" for key, value in selector.items())
                selected = world.plane.rest.items("/api/v1/pods", labelSelector=wanted)
                assert selected
                assert all(
                    each["metadata"]["name"].startswith(own)
                    and each["metadata"]["namespace"] == gateway["metadata"]["namespace"]
                    for each in selected
                )
        world.delete(twin)
        world.wait_gone(twin)


class TestSharedEgress:
    """seed-003: one host through the gateway that the platform runs."""

    def test_no_workload_is_made_and_remote_children_are_told(self, world: GatewayWorld, shared_egress: Object) -> None:
        """Both ports are steered; what lies in istio-system has labels, no owner, and stands in the status."""
        found, live = world.children_of(shared_egress), world.plane.rest.get(path_of(shared_egress))
        assert not {kind for kind, _ in found} & WORKLOADS
        steered = [
            each
            for (kind, _), each in found.items()
            if kind == "VirtualService"
            and "tls" in each["spec"]
            and each["metadata"]["labels"]["egressgateway.dev/stage"] == "clients"
        ]
        assert [each["spec"]["hosts"][0] for each in steered] == ["google.com"]
        assert {route["match"][0]["port"] for route in steered[0]["spec"]["tls"]} >= {443}
        assert {route["match"][0]["port"] for route in steered[0]["spec"]["http"]} >= {80}

        remote = {key: each for key, each in found.items() if each["metadata"]["namespace"] != "application"}
        told = {(each["kind"], each["name"]): each["namespace"] for each in live["status"]["remoteChildren"]}
        assert told == {key: each["metadata"]["namespace"] for key, each in remote.items()}
        assert set(told.values()) == {"istio-system"}
        assert all("ownerReferences" not in each["metadata"] for each in remote.values())
        assert live["metadata"]["finalizers"] == [FINALIZER]
        assert live["status"]["gateway"] == {
            "namespace": "istio-system",
            "service": "istio-egressgateway",
            "replicas": 1,
            "readyReplicas": 1,
        }
        check_children(world, shared_egress)

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"gateway": {"replicas": 3}}, "spec.gateway"),
            (
                {"ports": [{"tls": {"mode": "Simple", "credentialName": "ca"}, "targetPort": 443}]},
                "spec.destinations[0].ports[0].tls.credentialName",
            ),
        ],
        ids=["replicas", "credential"],
    )
    def test_what_belongs_to_the_platform_is_refused(
        self, world: GatewayWorld, shared_egress: Object, change: dict[str, Any], field: str
    ) -> None:
        """Pods and Secrets of the shared gateway are not the tenant's to choose."""
        gateways, ports = world.of("application"), [{"port": 80, "protocol": "HTTP"}]
        for port, more in zip(ports, change.get("ports", ()), strict=False):
            port.update(more)
        spec = {key: value for key, value in change.items() if key != "ports"}
        gateways.apply("tenant", destination("own", "own.example.com", ports=ports), className="istio-shared", **spec)
        found = gateways.wait("tenant", "Accepted", "False", "UnsupportedValue")
        assert field in found["message"]
        assert not gateways.children("tenant")
        gateways.delete("tenant")
        gateways.wait_gone("tenant")

    def test_deletion_leaves_nothing_and_nothing_of_others_changed(
        self, world: GatewayWorld, shared_egress: Object, shared_surroundings: list[Object]
    ) -> None:
        """The finalizer takes what lies in istio-system; the gateway itself is as it was before."""
        before = fingerprints(world.plane, shared_surroundings)
        others = foreign_objects(world.plane, "istio-system").keys()
        world.delete(shared_egress)
        world.wait_gone(shared_egress)
        assert fingerprints(world.plane, shared_surroundings) == before
        assert foreign_objects(world.plane, "istio-system").keys() == others
        world.apply(shared_egress)
        Gateways(world.plane, "application").wait_ready("google")


class TestOnDemand:
    """seed-004: a gateway with an authorizer beside it, and a host published through the platform's ingress."""

    def test_authorizer_and_probe_are_in_the_pod(self, world: GatewayWorld, on_demand: list[Object]) -> None:
        """The class's podTemplate is merged by container name; children are clean, other people's objects untouched."""
        [pod_] = world.plane.rest.items(
            "/api/v1/namespaces/httpbin/pods", labelSelector="egressgateway.dev/gateway=httpbin"
        )
        containers = {each["name"]: each for each in pod_["spec"]["containers"]}
        assert containers.keys() == {"istio-proxy", "opa"}
        assert containers["istio-proxy"]["livenessProbe"]["httpGet"] == {
            "path": "/healthz/ready",
            "port": 15021,
            "scheme": "HTTP",
        }
        assert containers["istio-proxy"]["resources"]["requests"]["cpu"] == "100m"
        assert containers["opa"]["args"] == ["run", "--server"]
        assert pod_["metadata"]["annotations"]["sidecar.istio.io/logLevel"] == "info"
        actions = [
            each["spec"]
            for (kind, _), each in world.children_of(on_demand[1]).items()
            if kind == "AuthorizationPolicy" and each["spec"].get("action") == "CUSTOM"
        ]
        assert [each["provider"] for each in actions] == [{"name": "opa"}]
        check_children(world, on_demand[1])

    def test_chain_lets_the_ingress_gateway_in_and_nobody_else_there(
        self, world: GatewayWorld, on_demand: list[Object], on_demand_surroundings: list[Object]
    ) -> None:
        """The exposed host is routed on the platform's Gateway, whose own pods alone get access of its namespace."""
        found = world.children_of(on_demand[1]).values()
        [route] = [
            each
            for each in found
            if each["kind"] == "VirtualService" and "istio-system/my-ingressgateway" in each["spec"].get("gateways", ())
        ]
        assert route["spec"]["hosts"] == ["my-hostname.example"]
        allowed = [
            source
            for each in found
            if each["kind"] == "AuthorizationPolicy" and each["spec"].get("action", "ALLOW") == "ALLOW"
            for rule in each["spec"]["rules"]
            for origin in rule["from"]
            for source in origin["source"]["principals"]
        ]
        assert "cluster.local/ns/istio-system/sa/default" in allowed
        assert not [each for each in allowed if "/ns/istio-system/" in each and each.endswith("/*")]

    def test_missing_authorizer_is_told_and_heals(self, world: GatewayWorld, on_demand: list[Object]) -> None:
        """Without the provider in the mesh's configuration nothing new is programmed, and what runs stays."""
        gateways = Gateways(world.plane, "httpbin")
        before = versions(world.children_of(on_demand[1]))
        world.configure_mesh(**MESH)
        found = gateways.wait("httpbin", "ResolvedRefs", "False", "AuthorizerNotFound")
        assert "opa" in found["message"]
        assert versions(world.children_of(on_demand[1])) == before
        world.configure_mesh(**MESH, extensionProviders=[OPA])
        gateways.wait_ready("httpbin")
        assert versions(world.children_of(on_demand[1])) == before

    def test_gateway_no_longer_allowed_is_withdrawn_alone(self, world: GatewayWorld, on_demand: list[Object]) -> None:
        """`allowedGateways` emptied: `public` goes, and what sends the mesh's own callers is not written to."""
        gateways, class_ = Gateways(world.plane, "httpbin"), on_demand[0]
        steers = versions(gateways.clients("httpbin"))
        everything = gateways.children("httpbin").keys()
        world.plane.rest.merge(path_of(class_), {"spec": {"allowedGateways": None}})
        found = gateways.wait("httpbin", "Accepted", "False", "GatewayNotAllowed")
        assert "public" in found["message"]
        gateways.wait("httpbin", "Ready", "False", "PartiallyReady")

        def ingress_routes() -> list[object]:
            return [
                key
                for key, each in gateways.children("httpbin").items()
                if key[0] == "VirtualService" and "istio-system/my-ingressgateway" in each["spec"].get("gateways", ())
            ]

        eventually(lambda: not ingress_routes(), what="the withdrawal")
        kept = versions(gateways.clients("httpbin"))
        assert {key: version for key, version in steers.items() if key in kept} == kept
        gateways.wait("httpbin", "Steered", "True", "Steered", part="httpbin")

        world.plane.rest.merge(path_of(class_), {"spec": {"allowedGateways": ["istio-system/my-ingressgateway"]}})
        gateways.wait_ready("httpbin")
        eventually(lambda: gateways.children("httpbin").keys() == everything, what="all children again")


class TestIstioTasks:
    """istio-tasks: one object for what Istio's documentation spreads over its egress tasks."""

    def test_missing_secret_stops_one_destination_until_it_is_there(
        self, world: GatewayWorld, istio_tasks: list[Object]
    ) -> None:
        """SecretNotFound for `mutual` and the object; six others serve, and are not written to when it heals."""
        gateways = Gateways(world.plane, "payments")
        live = gateways.get("partners")
        of_object = conditions(live["status"])
        assert of_object["ResolvedRefs"] == ("False", "SecretNotFound")
        assert of_object["Ready"] == ("False", "PartiallyReady")
        of_parts = parts(live)
        assert of_parts.pop("mutual")["ResolvedRefs"] == ("False", "SecretNotFound")
        assert all(found == {**GOOD, "Steered": ("True", "Steered")} for found in of_parts.values())
        assert len(of_parts) == 6
        before = versions(gateways.clients("partners"))

        pair = world.authority.issue("client")
        world.apply(client_secret("payments", "my-nginx-client", pair, world.authority_certificate))
        gateways.wait_ready("partners")
        after = versions(gateways.clients("partners"))
        assert {key: after[key] for key in before} == before
        assert gateways.get("partners")["status"]["summary"]["destinations"] == "7/7"
        # What istiod asks for, and nothing more: it knows no names of Secrets when it asks (notes "istio-recipes" §2).
        account = "system:serviceaccount:payments:partners-egress"
        may = ("auth", "can-i", "list", "secrets", "--as", account, "--namespace")
        assert [world.plane.kubectl(*may, each, check=False).stdout for each in ("payments", "billing")] == [
            "yes\n",
            "no\n",
        ]
        check_children(world, istio_tasks[1])

    def test_every_destination_reaches_its_consumers_alone(
        self, world: GatewayWorld, istio_tasks: list[Object]
    ) -> None:
        """`originate` is exported to billing too, everything else to payments only; nothing to a third namespace."""
        seen: dict[str, set[str]] = {}
        for (kind, _), each in Gateways(world.plane, "payments").clients("partners").items():
            if kind in ("VirtualService", "ServiceEntry"):
                part = each["metadata"]["labels"]["egressgateway.dev/part"]
                seen.setdefault(part, set()).update(each["spec"]["exportTo"])
        assert {name: {"." if each == "payments" else each for each in to} for name, to in seen.items()} == {
            part["name"]: {".", "billing"} if part["name"] == "originate" else {"."}
            for part in istio_tasks[1]["spec"]["destinations"]
        }

    def test_label_taken_from_a_consumer_withdraws_it_alone(
        self, world: GatewayWorld, istio_tasks: list[Object]
    ) -> None:
        """ConsumerNotAllowed names billing; what payments uses is not written to, but for what billing shared."""
        gateways, billing = Gateways(world.plane, "payments"), path_of(namespace("billing"))
        gateways.wait_ready("partners")
        before = versions(gateways.clients("partners"))
        world.plane.rest.merge(billing, {"metadata": {"labels": {"egress": None}}})
        found = gateways.wait("partners", "Accepted", "False", "ConsumerNotAllowed")
        assert "billing" in found["message"]
        gateways.wait("partners", "Ready", "False", "PartiallyReady")

        def exported() -> list[str]:
            return [
                name
                for (_, name), each in gateways.children("partners").items()
                if "billing" in str(each["spec"].get("exportTo") if "spec" in each else "")
            ]

        eventually(lambda: not exported(), what="nothing for billing any more")
        after = versions(gateways.clients("partners"))
        assert {key for key in before if after[key] != before[key]} <= {key for key in before if "originate" in key[1]}
        assert before.keys() == after.keys()
        consumers = [each["namespace"] for each in gateways.get("partners")["status"]["consumers"]]
        assert consumers == ["payments"]
        world.plane.rest.merge(billing, {"metadata": {"labels": {"egress": "partners"}}})
        gateways.wait_ready("partners")

    def test_access_lists_everybody_or_nobody(self, world: GatewayWorld, istio_tasks: list[Object]) -> None:
        """Without its own entry the object's namespace is served no more, though the gateway stands in it."""
        gateways, gateway = Gateways(world.plane, "payments"), istio_tasks[1]
        whole = gateway["spec"]["access"]["from"]
        world.plane.rest.merge(path_of(gateway), {"spec": {"access": {"from": whole[1:]}}})

        def consumers() -> list[str]:
            return [each["namespace"] for each in gateways.get("partners")["status"]["consumers"]]

        eventually(lambda: consumers() == ["billing"], what="billing alone")

        def for_payments() -> list[str]:
            return [
                name
                for (_, name), each in gateways.clients("partners").items()
                if {"payments", ".", "*"} & set(each["spec"].get("exportTo", ()))
            ]

        eventually(lambda: not for_payments(), what="nothing for payments any more")
        world.plane.rest.merge(path_of(gateway), {"spec": {"access": {"from": whole}}})
        gateways.wait_ready("partners")
        check_children(world, gateway)


class TestMinimalWrites:
    """The richest case: what one change of one destination writes, to the last object, by the audit log."""

    def test_change_touches_only_what_depends_on_it(self, world: GatewayWorld, istio_tasks: list[Object]) -> None:
        """A time-out is one object; a port is the destination's own objects and those that hold every way."""
        gateway, pair = istio_tasks[1], world.authority.issue("client")
        world.apply(client_secret("payments", "my-nginx-client", pair, world.authority_certificate))
        Gateways(world.plane, "payments").wait_ready("partners")

        # Every edit below leaves as many children as there were.
        timeout = changed(gateway, "originate", lambda found: found["traffic"].update(timeout="6s"))
        assert writes_for(world, timeout) == {("patch", "virtualservices", "originate", 1)}

        port = changed(timeout, "postgres", lambda found: found["ports"][0].update(port=5433))
        own = ("virtualservices", "serviceentries")
        # Clients lose one port and get another: the ServiceEntry is written twice, so that none is registered that is
        # not routed.
        assert {write for write in writes_for(world, port) if write[2]} == {
            ("patch", "virtualservices", "postgres", 2),
            ("patch", "serviceentries", "postgres", 3),
            *(("delete", resource, "postgres", 1) for resource in own),
        }

        back = writes_for(world, gateway)
        assert {part for _, _, part, _ in back} == {"", "originate", "postgres"}
        # What holds every way is written once with the new one, and once without the old one.
        assert {(resource, count) for _, resource, part, count in back if not part} == {
            (resource, 2) for resource in ("gateways", "destinationrules", "networkpolicies", "envoyfilters")
        }


Write = tuple[str, str, str, int]
"""Verb, resource, part (empty: of all parts), and how often."""


def changed(gateway: Object, name: str, change: Callable[[Object], None]) -> Object:
    found = copy.deepcopy(gateway)
    change(next(each for each in found["spec"]["destinations"] if each["name"] == name))
    return found


def writes_for(world: GatewayWorld, gateway: Object) -> set[Write]:
    """Writes to children that an edit leads to, from its apply until the operator has nothing more to do."""
    gateways, before = Gateways(world.plane, "payments"), world.children_of(gateway)
    # The one look that stays due is at the end of the client's certificate.
    eventually(lambda: world.operator.is_idle(later=1), what="an idle operator")
    seen = sum(1 for _ in operator_writes(world.plane))
    world.apply(gateway)
    gateways.wait_ready("partners")
    eventually(lambda: len(world.children_of(gateway)) == len(before), what="the old way gone")
    eventually(lambda: world.operator.is_idle(later=1), what="an idle operator")
    parts_by_name = {
        name: each["metadata"]["labels"].get("egressgateway.dev/part", "")
        for (_, name), each in {**before, **world.children_of(gateway)}.items()
    }
    counted = Counter(
        (event["verb"], event["objectRef"]["resource"], parts_by_name[event["objectRef"]["name"]])
        for event in list(operator_writes(world.plane))[seen:]
        if event["objectRef"]["resource"] not in ("egressgateways", "events")
    )
    return {(*what, count) for what, count in counted.items()}


def test_operator_never_failed(world: GatewayWorld) -> None:
    """No trace, and nothing that the API server refused: what is wrong above is said in conditions alone."""
    assert world.operator.running
    lines = world.operator.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []
