"""What the operator knows of the cluster around an object: it follows all of it, and no restart is ever needed."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from egressgateway.cluster.client import ApiClient
from egressgateway.engine.cache.reference_watch import ReferenceWatch
from egressgateway.engine.cache.references import ReferenceCache
from egressgateway.refs import EGRESS_GATEWAY_CLASS, Key, ObjectRef
from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways, destination, egress_gateway
from harness.operator import OperatorProcess
from harness.pki import Authority
from harness.release import allow_secrets, operator_kubeconfig
from harness.rest import ApiError, Object
from harness.wait import eventually
from unit.cluster.fake_api import eventually as soon

ROUTES = "/apis/networking.istio.io/v1/namespaces/{}/{}"
SECRETS = "/api/v1/namespaces/{}/secrets"
PARTNER = "partner.{}.example.com"


@pytest.fixture
def other_namespace(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A second namespace of the test's own."""
    name = f"{namespace[:55]}-other"
    cluster.rest.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    with suppress(ApiError):
        cluster.rest.delete(f"{NAMESPACES}/{name}")


@pytest.fixture
def class_name(cluster: Cluster) -> Iterator[str]:
    """A class of the test's own, whose objects may serve every namespace with the label `egress: yes`."""
    name = f"test-{secrets.token_hex(4)}"
    consumers = {"from": "Selector", "selector": {"matchLabels": {"egress": "yes"}}}
    path = EGRESS_GATEWAY_CLASS.path(None, name)
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    cluster.rest.apply(path, {**head, "metadata": {"name": name}, "spec": {"allowedConsumers": consumers}})
    yield name
    cluster.rest.delete(path)


@pytest.fixture
def host(namespace: str) -> str:
    """A host that no other test wants."""
    return PARTNER.format(namespace)


class TestReferences:
    """Objects that a spec names."""

    def test_secret_that_comes_later_is_found(self, gateways: Gateways, host: str, tmp_path: Path) -> None:
        """Without it the status says so; once it is there, and again when it goes, the operator sees it by itself."""
        allow_secrets(gateways.cluster, gateways.namespace)
        tls = {"mode": "Mutual", "credentialName": "partner-client"}
        ports = [{"port": 80, "protocol": "HTTP", "targetPort": 443, "tls": tls}]
        gateways.apply("partners", destination("api", host, ports=ports))
        found = gateways.wait("partners", "ResolvedRefs", "False", "SecretNotFound", part="api")
        assert "partner-client" in found["message"]

        path = SECRETS.format(gateways.namespace)
        gateways.cluster.rest.create(path, client_secret("partner-client", tmp_path))
        gateways.wait("partners", "ResolvedRefs", "True", "ResolvedRefs", part="api")

        gateways.cluster.rest.delete(f"{path}/partner-client")
        gateways.wait("partners", "ResolvedRefs", "False", "SecretNotFound", part="api")

    async def test_right_to_one_secret_is_enough(self, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        """
        With `resourceNames` the one Secret is listed and watched by its name, and no other is.

        The right comes late, and is waited for.
        """
        path = SECRETS.format(namespace)
        cluster.rest.create(path, client_secret("mine", tmp_path))
        cluster.rest.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "reader"}})
        kubeconfig = cluster.service_account_kubeconfig(namespace, "reader", tmp_path / "reader.kubeconfig")
        mine, other = ObjectRef("Secret", namespace, "mine"), ObjectRef("Secret", namespace, "other")
        cache, key = ReferenceCache(), Key(namespace, "partners")
        async with await ApiClient.connect(kubeconfig=str(kubeconfig)) as client:
            watch = ReferenceWatch(client, cache, lambda keys: None)
            watch.start()
            cache.want(key, {mine, other})
            await soon(lambda: cache.read([mine, other]).unreadable == {mine, other})
            grant(cluster, namespace, "mine")
            await soon(lambda: cache.read([mine]).objects, within_seconds=30)
            found = cache.read([mine, other])
            assert found.unreadable == {other}
            secret = found.objects[mine]
            assert secret is not None
            assert secret["data"]["tls.key"] == ""
            assert b"CERTIFICATE" in base64.b64decode(secret["data"]["tls.crt"])
            cluster.rest.delete(f"{path}/mine")
            await soon(lambda: cache.read([mine]).objects[mine] is None)
            await watch.stop()


class TestForeignRoutes:
    """Somebody else routes a host that we steer."""

    def test_foreign_route_is_reported_until_it_goes(self, gateways: Gateways, host: str, other_namespace: str) -> None:
        """One that clients see; it is left alone, and so are those that they do not see."""
        gateways.apply("partners", destination("api", host))
        gateways.wait_ready("partners")
        rest = gateways.cluster.rest
        hidden = ROUTES.format(other_namespace, "virtualservices")
        rest.create(hidden, virtual_service("hidden", host, exportTo=["."]))
        path = ROUTES.format(gateways.namespace, "virtualservices")
        before = rest.create(path, virtual_service("theirs", host))
        found = gateways.wait("partners", "Steered", "False", "RouteConflict", part="api")
        assert f"{gateways.namespace}/theirs" in found["message"]
        assert rest.get(f"{path}/theirs") == before

        rest.merge(f"{path}/theirs", {"spec": {"hosts": ["elsewhere.example.com"]}})
        gateways.wait("partners", "Steered", "True", "Steered", part="api")

        entries = ROUTES.format(other_namespace, "serviceentries")
        rest.create(entries, service_entry("theirs", host))
        found = gateways.wait("partners", "Steered", "False", "RouteConflict", part="api")
        assert f"{other_namespace}/theirs" in found["message"]
        rest.delete(f"{entries}/theirs")
        gateways.wait("partners", "Steered", "True", "Steered", part="api")


class TestNamespaces:
    """Whom an object serves is a matter of labels that others change."""

    def test_namespace_becomes_a_consumer_by_its_label(
        self, gateways: Gateways, host: str, class_name: str, other_namespace: str
    ) -> None:
        """Selected by the object and allowed by the class: from the label's moment on, until it goes."""
        selector = {"matchLabels": {"kubernetes.io/metadata.name": other_namespace}}
        access = {"from": [{"namespaceSelector": selector}, {"namespaces": [gateways.namespace]}]}
        gateways.apply("partners", destination("api", host), className=class_name, access=access)
        gateways.wait("partners", "Accepted", "False", "ConsumerNotAllowed")
        eventually(lambda: consumers(gateways, "partners") == {gateways.namespace}, what="one consumer")

        label(gateways.cluster, other_namespace, "yes")
        gateways.wait_ready("partners")
        assert consumers(gateways, "partners") == {gateways.namespace, other_namespace}

        label(gateways.cluster, other_namespace, None)
        eventually(lambda: consumers(gateways, "partners") == {gateways.namespace}, what="the withdrawal")


class TestRivals:
    """Two namespaces want one host for the same clients."""

    def test_conflict_over_a_consumer_ends_with_the_winner(
        self, gateways: Gateways, host: str, class_name: str, other_namespace: str
    ) -> None:
        """The later claim loses where both serve; it takes over, without an edit, when the winner goes."""
        label(gateways.cluster, gateways.namespace, "yes")
        rest = gateways.cluster.rest
        theirs = Gateways(gateways.cluster, other_namespace)
        access = {"from": [{"namespaces": [gateways.namespace]}]}
        theirs.apply("central", destination("api", host), className=class_name, access=access)
        theirs.wait_ready("central")

        gateways.apply("own", destination("api", host))
        found = gateways.wait("own", "Accepted", "False", "HostConflict", part="api")
        assert f"{other_namespace}/central" in found["message"]

        access = {"from": [{"namespaces": [other_namespace]}]}
        body = egress_gateway(other_namespace, "central", destination("api", host), className=class_name, access=access)
        rest.apply(theirs.path("central"), body)
        gateways.wait_ready("own")
        theirs.wait_ready("central")

    def test_expiry_of_the_winner_hands_the_host_over(self, gateways: Gateways, host: str) -> None:
        """Nobody edits or deletes anything; the loser hears of it from the winner's status alone."""
        first = destination("api", host)
        gateways.apply("first", first)
        gateways.wait_ready("first")
        gateways.apply("second", destination("api", host))
        gateways.wait("second", "Accepted", "False", "HostConflict", part="api")
        gateways.apply("first", {**first, "expiresAt": "2020-01-01T00:00:00Z"})
        gateways.wait("first", "Accepted", "False", "Expired", part="api")
        gateways.wait_ready("second")


class TestMesh:
    """What the mesh says of itself."""

    def test_trust_domain_of_the_mesh_is_used(self, plane: ControlPlane, operator_log: Path) -> None:
        """From its configuration, at the start and whenever it changes; a flag would win."""
        gateways, host = Gateways(plane, "default"), PARTNER.format("default")
        plane.rest.create(NAMESPACES, {"metadata": {"name": "istio-system"}})
        config = "/api/v1/namespaces/istio-system/configmaps"
        plane.rest.create(config, {"metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: one.example"}})
        with OperatorProcess(operator_kubeconfig(plane), operator_log):
            gateways.apply("partners", destination("api", host))
            gateways.wait_ready("partners")
            assert identities(gateways) == ["spiffe://one.example/ns/default/sa/partners-egress"]
            plane.rest.merge(f"{config}/istio", {"data": {"mesh": "trustDomain: two.example"}})
            two = ["spiffe://two.example/ns/default/sa/partners-egress"]
            eventually(lambda: identities(gateways) == two, what="the new trust domain")
        flags = ("--lease-seconds", "3", "--push-grace-seconds", "0.3", "--trust-domain", "told.example")
        with OperatorProcess(operator_kubeconfig(plane), operator_log, *flags):
            told = ["spiffe://told.example/ns/default/sa/partners-egress"]
            eventually(lambda: identities(gateways) == told, what="the trust domain of the flag")
            gateways.wait_ready("partners")


def client_secret(name: str, directory: Path) -> Object:
    """A client certificate with its key and the authority's certificate."""
    authority = Authority(directory)
    authority.create()
    pair = authority.issue("client")
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate_file.read_bytes()}
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    return {"metadata": {"name": name}, "data": data}


def grant(cluster: Cluster, namespace: str, secret: str) -> None:
    """The service account `reader` may list and watch this one Secret."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get", "list", "watch"]}
    cluster.rest.create(f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    cluster.rest.create(f"{rbac}/rolebindings", binding)


def virtual_service(name: str, host: str, **spec: object) -> Object:
    route = [{"route": [{"destination": {"host": host}}]}]
    head = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}}
    return {**head, "spec": {"hosts": [host], "http": route, **spec}}


def service_entry(name: str, host: str) -> Object:
    port = {"number": 443, "name": "tls", "protocol": "TLS"}
    head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": name}}
    return {**head, "spec": {"hosts": [host], "ports": [port], "resolution": "DNS", "location": "MESH_EXTERNAL"}}


def label(cluster: Cluster, namespace: str, value: str | None) -> None:
    cluster.rest.merge(f"{NAMESPACES}/{namespace}", {"metadata": {"labels": {"egress": value}}})


def consumers(gateways: Gateways, name: str) -> set[str]:
    """Namespaces that the status says are served."""
    status = gateways.get(name).get("status") or {}
    return {each["namespace"] for each in status.get("consumers") or ()}


def identities(gateways: Gateways) -> list[str]:
    """Whom clients take for the gateway."""
    rule = gateways.children("partners")["DestinationRule", "partners-egress"]
    [subset, *_] = rule["spec"]["subsets"]
    [settings, *_] = subset["trafficPolicy"]["portLevelSettings"]
    names: list[str] = settings["tls"]["subjectAltNames"]
    return names
