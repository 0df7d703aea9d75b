"""The harness keeps its promises: real controllers, pods on command, faults that really happen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import urllib3

from harness.cluster import Cluster
from harness.controlplane import HOST, TESTS, ControlPlane
from harness.faultproxy import FaultProxy
from harness.faults import WRITES, Answer, Delay, Reset, Rule
from harness.helm import RELEASE
from harness.kubeconfig import Access
from harness.metrics import Request
from harness.processes import spawn
from harness.release import NAMESPACE, allow_secrets, operator_kubeconfig, withdraw_secrets
from harness.rest import ApiError, Object, Rest
from harness.session import Run
from harness.wait import eventually

pytestmark = pytest.mark.controlplane


def deployment(name: str, replicas: int = 2, **metadata: Any) -> Object:
    labels = {"app": name}
    container = {"name": "istio-proxy", "image": "auto"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def config_map(name: str, **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


class TestControllers:
    """kube-controller-manager and the fake kubelet together behave as a cluster does."""

    def test_deployment_becomes_ready_with_endpoints(self, cluster: Cluster, namespace: str) -> None:
        """Pods of a Deployment become Ready with addresses of their own, and a Service finds them."""
        base = f"/api/v1/namespaces/{namespace}"
        cluster.rest.create(deployments(namespace), deployment("web"))
        service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        cluster.rest.create(f"{base}/services", service)

        eventually(lambda: ready_replicas(cluster, namespace, "web") == 2)
        addresses = {pod["status"]["podIP"] for pod in cluster.rest.items(f"{base}/pods")}
        assert len(addresses) == 2
        eventually(lambda: endpoint_addresses(cluster, namespace) == addresses)

    def test_pods_flip_on_command(self, cluster: Cluster, namespace: str) -> None:
        """A command to a namespace makes its pods unready and ready again, without giving them other addresses."""
        cluster.rest.create(deployments(namespace), deployment("web"))
        eventually(lambda: ready_replicas(cluster, namespace, "web") == 2)
        before = pod_addresses(cluster, namespace)

        cluster.set_ready(False, namespace)
        eventually(lambda: ready_replicas(cluster, namespace, "web") == 0)
        cluster.set_ready(True, namespace)
        eventually(lambda: ready_replicas(cluster, namespace, "web") == 2)
        assert pod_addresses(cluster, namespace) == before

    def test_pods_in_unready_namespace_never_become_ready(self, cluster: Cluster, namespace: str) -> None:
        """A command given before the pods exist holds for them; one pod may be told otherwise."""
        cluster.set_ready(False, namespace)
        cluster.rest.create(deployments(namespace), deployment("web"))
        running = eventually(lambda: pods_in_phase(cluster, namespace, "Running", 2))
        assert ready_replicas(cluster, namespace, "web") == 0

        cluster.set_ready(True, namespace, pod=running[0])
        eventually(lambda: ready_replicas(cluster, namespace, "web") == 1)

    def test_pods_vanish_with_their_deployment(self, cluster: Cluster, namespace: str) -> None:
        """Deleting a Deployment leaves no ReplicaSet and no pod: collected by the controller, ended by the kubelet."""
        cluster.rest.create(deployments(namespace), deployment("web"))
        eventually(lambda: ready_replicas(cluster, namespace, "web") == 2)
        cluster.rest.delete(f"{deployments(namespace)}/web")
        eventually(lambda: not cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods"))

    def test_custom_resource_is_collected_with_its_owner(self, cluster: Cluster, namespace: str) -> None:
        """The garbage collector knows Istio's kinds: an object goes when its owner goes."""
        base = f"/api/v1/namespaces/{namespace}/configmaps"
        owner = cluster.rest.create(base, config_map("owner"))
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        entries = f"/apis/networking.istio.io/v1/namespaces/{namespace}/serviceentries"
        entry = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "child", "ownerReferences": [reference]},
            "spec": {"hosts": ["example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]},
        }
        cluster.rest.create(entries, entry)
        cluster.rest.delete(f"{base}/owner")
        eventually(lambda: not cluster.rest.exists(f"{entries}/child"))

    def test_load_balancer_gets_an_address(self, cluster: Cluster, namespace: str) -> None:
        """A Service of type LoadBalancer is given an address of the documentation range 192.0.2.0/24."""
        base = f"/api/v1/namespaces/{namespace}/services"
        spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}
        cluster.rest.create(base, {"metadata": {"name": "exposed"}, "spec": spec})
        ingress = eventually(lambda: cluster.rest.get(f"{base}/exposed")["status"]["loadBalancer"]["ingress"])
        assert ingress[0]["ip"].startswith("192.0.2.")

    def test_service_account_has_its_own_rights_only(self, control_plane: ControlPlane) -> None:
        """A token of a service account works, and RBAC refuses what nobody granted."""
        rest = Rest(control_plane.kubeconfig_for("system:serviceaccount:default:default"))
        with pytest.raises(ApiError) as refusal:
            rest.items("/api/v1/namespaces/default/configmaps")
        rest.close()
        assert refusal.value.code == 403
        assert "system:serviceaccount:default:default" in refusal.value.message

    def test_user_acts_with_its_groups(self, control_plane: ControlPlane) -> None:
        """A client certificate makes a user whose groups count."""
        rest = Rest(control_plane.kubeconfig_for("jane", ["system:masters"]))
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        user = rest.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)["status"]["userInfo"]
        rest.close()
        assert user["username"] == "jane"
        assert "system:masters" in user["groups"]


class TestControlPlane:
    """A control plane can be counted, audited, stopped and started."""

    def test_requests_are_counted_by_the_server(self, control_plane: ControlPlane) -> None:
        """Three applies of a kind that nobody else writes are three writes in the server's own count."""
        before = control_plane.metrics().writes()
        for name in ("a", "b", "a"):
            body = {"apiVersion": "v1", **config_map(name, namespace="default"), "data": {"key": name}}
            control_plane.rest.apply(f"/api/v1/namespaces/default/configmaps/{name}", body)
        after = control_plane.metrics().writes()
        after.subtract(before)
        applies = {key.code: count for key, count in after.items() if key[:3] == ("APPLY", "", "configmaps") and count}
        assert applies == {201: 2, 200: 1}
        assert Request("APPLY", "", "configmaps", "", 201) in after

    def test_audit_log_names_the_writer(self, control_plane: ControlPlane) -> None:
        """The audit log tells who did what to which object."""
        control_plane.rest.create("/api/v1/namespaces/default/configmaps", config_map("audited"))
        events: list[dict[str, Any]] = list(control_plane.audit_events())
        creates = [each for each in events if each["verb"] == "create"]
        names = {each.get("objectRef", {}).get("name"): each["user"]["username"] for each in creates}
        assert names["audited"] == "admin"

    def test_restart_of_the_api_server_keeps_objects(self, control_plane: ControlPlane) -> None:
        """After a stop nobody answers; after a start the objects are there and controllers go on working."""
        control_plane.rest.create("/api/v1/namespaces/default/configmaps", config_map("kept"))
        control_plane.stop_apiserver()
        with pytest.raises(urllib3.exceptions.HTTPError):
            control_plane.rest.text("/readyz")

        control_plane.start_apiserver()
        assert control_plane.rest.exists("/api/v1/namespaces/default/configmaps/kept")
        control_plane.rest.create(deployments("default"), deployment("afterwards"))
        eventually(lambda: ready_replicas(control_plane, "default", "afterwards") == 2)

    def test_another_program_can_stop_it(self, run: Run) -> None:
        """From its directory alone a control plane is found, known to run, and stopped without leftovers."""
        with run.private(run.options()) as plane:
            found = ControlPlane.load(plane.directory)
            assert found is not None
            assert found.running()
            command = [*HARNESS, "cluster-down", "--directory", plane.directory]
            code = subprocess.run(command, cwd=TESTS, check=False).returncode
            assert code == 0
            assert not any(process.alive() for process in plane.processes.values())
            assert ControlPlane.load(plane.directory) is None

    def test_it_ends_when_its_owner_is_killed(self, run: Run, tmp_path: Path) -> None:
        """A control plane started for a process does not outlive it, not even when it is killed."""
        owner = spawn([sys.executable, "-c", "import signal; signal.pause()"], tmp_path / "log")
        options = run.options()
        with run.private(type(options)(definitions=(), owner=owner.pid)) as plane:
            os.kill(owner.pid, signal.SIGKILL)
            eventually(lambda: not any(process.alive() for process in plane.processes.values()))


class TestRights:
    """The operator of the tests may do what the chart lets it."""

    def test_operator_looks_at_secrets_only_where_a_value_lets_it(self, cluster: Cluster, namespace: str) -> None:
        """By default nowhere; in a namespace for as long as the test gives the right that `rbac.secrets` gives."""
        operator_kubeconfig(cluster)
        asked = ("auth", "can-i", "list", "secrets", "--as", f"system:serviceaccount:{NAMESPACE}:{RELEASE}")

        def may() -> str:
            return cluster.kubectl(*asked, "--namespace", namespace, check=False).stdout.strip()

        assert may() == "no"
        allow_secrets(cluster, namespace)
        eventually(lambda: may() == "yes", what="the right to Secrets")
        withdraw_secrets(cluster, namespace)
        eventually(lambda: may() == "no", what="the end of the right to Secrets")


class TestFaultProxy:
    """Each fault is seen by the client as it would be in the field, and the server is or is not spared."""

    @pytest.fixture
    def proxy(self, cluster: Cluster, tmp_path: Path) -> Iterator[FaultProxy]:
        with FaultProxy(cluster.kubeconfig, tmp_path / "kubeconfig") as proxy:
            yield proxy

    @pytest.fixture
    def client(self, proxy: FaultProxy) -> Iterator[Rest]:
        rest = Rest(proxy.kubeconfig)
        yield rest
        rest.close()

    @pytest.fixture
    def config_maps(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/configmaps"

    def test_without_rules_nothing_changes(self, proxy: FaultProxy, client: Rest, config_maps: str) -> None:
        """Writes and reads pass, with their query, and are remembered in order."""
        client.create(config_maps, config_map("a", labels={"k": "v"}))
        assert [each["metadata"]["name"] for each in client.items(config_maps, labelSelector="k in (v, w)")] == ["a"]
        seen = [(each.method, each.path, each.status, each.injected) for each in proxy.requests]
        assert seen == [("POST", config_maps, 201, ""), ("GET", config_maps, 200, "")]

    @pytest.mark.parametrize("status", [409, 410, 429, 500, 503])
    def test_status_is_answered_and_nothing_is_written(
        self, proxy: FaultProxy, client: Rest, cluster: Cluster, config_maps: str, status: int
    ) -> None:
        """An injected status reaches the client as Kubernetes sends it; the server never sees the request."""
        rule = Rule(Answer(status), methods=WRITES, path="/configmaps", count=1)
        with proxy.injected(rule) as injection, pytest.raises(ApiError) as refusal:
            client.create(config_maps, config_map("a"))
        assert (refusal.value.code, injection.hits) == (status, 1)
        assert not cluster.rest.exists(f"{config_maps}/a")
        assert proxy.requests[-1].injected == str(status)

    def test_throttling_says_how_long_to_wait(self, proxy: FaultProxy) -> None:
        """429 carries Retry-After."""
        proxy.inject(Rule(Answer(429, retry_after_seconds=7)))
        answer = urllib3.request("GET", f"http://{HOST}:{proxy.port}/version", retries=False)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")

    def test_every_third_write_fails(self, proxy: FaultProxy, client: Rest, config_maps: str) -> None:
        """`every` and `count` hit just those requests; reads are spared."""
        proxy.inject(Rule(Answer(500), methods=WRITES, every=3, count=2))
        outcomes = []
        for number in range(12):
            client.items(config_maps, limit="1")
            outcomes.append(succeeds(client, config_maps, f"n{number}"))
        assert [number for number, done in enumerate(outcomes) if not done] == [2, 5]

    def test_reset_before_loses_the_write(
        self, proxy: FaultProxy, client: Rest, cluster: Cluster, config_maps: str
    ) -> None:
        """A connection reset before forwarding: the client hears nothing and nothing was written."""
        proxy.inject(Rule(Reset("before"), methods=WRITES, count=1))
        with pytest.raises(urllib3.exceptions.ProtocolError):
            client.create(config_maps, config_map("a"))
        assert not cluster.rest.exists(f"{config_maps}/a")
        assert proxy.requests[-1].status is None

    def test_reset_after_keeps_the_write(
        self, proxy: FaultProxy, client: Rest, cluster: Cluster, config_maps: str
    ) -> None:
        """A connection reset after forwarding: the client hears nothing, yet the object is there."""
        proxy.inject(Rule(Reset("after"), methods=WRITES, count=1))
        with pytest.raises(urllib3.exceptions.ProtocolError):
            client.create(config_maps, config_map("a"))
        assert cluster.rest.exists(f"{config_maps}/a")

    def test_delay_holds_a_request_back(self, proxy: FaultProxy, client: Rest, config_maps: str) -> None:
        """A delayed write is answered in the end."""
        proxy.inject(Rule(Delay(0.2), methods=WRITES))
        client.create(config_maps, config_map("a"))
        assert (proxy.requests[-1].status, proxy.requests[-1].injected) == (201, "delay-0.2s")

    def test_watches_stream_and_can_be_cut(self, proxy: FaultProxy, cluster: Cluster, config_maps: str) -> None:
        """Events arrive as they happen; a cut ends the watch with an error."""
        watch = Watch(proxy, config_maps)
        cluster.rest.create(config_maps, config_map("a"))
        eventually(lambda: "a" in watch.names())
        assert proxy.cut_watches() == 1
        assert isinstance(watch.end(), OSError | HTTPException)
        assert proxy.open_watches() == 0

    def test_stalled_watch_stays_open_and_silent(self, proxy: FaultProxy, cluster: Cluster, config_maps: str) -> None:
        """A stalled watch tells nothing while a new one does; healed, it catches up."""
        stalled = Watch(proxy, config_maps)
        assert proxy.stall_watches() == 1
        fresh = Watch(proxy, config_maps)
        cluster.rest.create(config_maps, config_map("a"))
        eventually(lambda: "a" in fresh.names())
        assert "a" not in stalled.names()
        assert stalled.running()
        proxy.heal()
        eventually(lambda: "a" in stalled.names())

    def test_expired_watch_ends_with_an_error_event(self, proxy: FaultProxy, config_maps: str) -> None:
        """A watch can be told 410 within its stream, as the server does to slow clients."""
        watch = Watch(proxy, config_maps)
        assert proxy.expire_watches() == 1
        assert watch.end() is None
        assert [(each["type"], each["object"]["code"]) for each in watch.events[-1:]] == [("ERROR", 410)]


class Watch:
    """A watch of a collection through the proxy, read in a thread until it ends."""

    def __init__(self, proxy: FaultProxy, path: str) -> None:
        self.events: list[Object] = []
        self._error: BaseException | None = None
        self._url = f"{Access.read(proxy.kubeconfig).server}{path}?watch=1"
        self._thread = threading.Thread(target=self._read, daemon=True)
        before = proxy.open_watches()
        self._thread.start()
        eventually(lambda: proxy.open_watches() > before, what="an open watch")

    def names(self) -> set[str]:
        return {each["object"]["metadata"].get("name", "") for each in self.events if each["type"] == "ADDED"}

    def running(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> BaseException | None:
        """Wait for the end; the error with which it came, if with one."""
        self._thread.join(10)
        assert not self.running()
        return self._error

    def _read(self) -> None:
        try:
            with urlopen(self._url) as answer:
                for line in answer:
                    self.events.append(json.loads(line))
        except (OSError, HTTPException) as error:
            self._error = error


HARNESS = [sys.executable, "-m", "harness"]


def deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def ready_replicas(cluster: Cluster, namespace: str, name: str) -> int:
    status = cluster.rest.get(f"{deployments(namespace)}/{name}").get("status", {})
    return int(status.get("readyReplicas", 0))


def pod_addresses(cluster: Cluster, namespace: str) -> dict[str, str]:
    pods = cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}


def pods_in_phase(cluster: Cluster, namespace: str, phase: str, count: int) -> list[str]:
    """Names of the pods in a phase once there are `count` of them, else nothing."""
    pods = cluster.rest.items(f"/api/v1/namespaces/{namespace}/pods")
    names = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == phase]
    return names if len(names) == count else []


def endpoint_addresses(cluster: Cluster, namespace: str) -> set[str]:
    slices = cluster.rest.items(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
    endpoints = [endpoint for each in slices for endpoint in each["endpoints"] or []]
    return {address for each in endpoints if each["conditions"]["ready"] for address in each["addresses"]}


def succeeds(client: Rest, path: str, name: str) -> bool:
    try:
        client.create(path, config_map(name))
    except ApiError:
        return False
    return True
