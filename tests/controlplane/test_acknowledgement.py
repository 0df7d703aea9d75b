"""Clients are sent to a gateway whose proxies have the way out, and the status says what speaks for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.gateways import Gateways, destination
from harness.objects import client_secret, is_ready
from harness.operator import OperatorProcess
from harness.pki import Authority
from harness.release import allow_secrets, operator_kubeconfig
from harness.traffic import WriteCounter, Writes
from harness.wait import eventually

LACKING = "a gateway pod does not have the configuration yet, and may be cut off from istiod: partners-egress-"
BY_TIME = "not every gateway pod tells what its proxy has"


def test_gateway_that_is_cut_off_gets_no_new_clients(cluster: Cluster, gateways: Gateways) -> None:
    """What it has goes on. A destination that is added waits, with the name of a pod, until the push arrives."""
    api, pay = (destination(name, f"{name}.{gateways.namespace}.example.com") for name in ("api", "pay"))
    gateways.apply("partners", api)
    gateways.wait("partners", "Ready", "True", "Ready")
    clients = gateways.clients("partners")

    cluster.set_page(gateways.namespace, "frozen")
    gateways.apply("partners", api, pay)
    eventually(
        lambda: gateways.condition("partners", "Steered", part="pay")["message"].startswith(LACKING),
        what="the name of the pod that lacks it",
    )
    assert gateways.condition("partners", "Steered", part="pay")["status"] == "False"
    assert gateways.condition("partners", "Steered", part="api")["status"] == "True"
    assert gateways.clients("partners") == clients, "clients were sent to a gateway that does not know the host"

    cluster.set_page(gateways.namespace, None)
    gateways.wait("partners", "Steered", "True", "Steered", part="pay")
    gateways.wait("partners", "Ready", "True", "Ready")
    assert BY_TIME not in gateways.condition("partners", "Steered", part="pay")["message"]


def test_time_decides_where_no_pod_tells_and_the_message_says_so(cluster: Cluster, gateways: Gateways) -> None:
    """It is said until a pod tells."""
    api, pay = (destination(name, f"{name}.{gateways.namespace}.example.com") for name in ("api", "pay"))
    cluster.set_page(gateways.namespace, "silent")
    gateways.apply("partners", api)
    said = gateways.wait("partners", "Steered", "True", "Steered", part="api")
    assert BY_TIME in said["message"]
    gateways.wait("partners", "Ready", "True", "Ready")

    cluster.set_page(gateways.namespace, None)
    gateways.apply("partners", api, pay)
    gateways.wait("partners", "Steered", "True", "Steered", part="pay")
    eventually(
        lambda: BY_TIME not in gateways.condition("partners", "Steered", part="api")["message"],
        what="a message without the doubt",
    )


class Bank:
    """An object `partners` with a destination that wants a client certificate, from the Secret `bank`."""

    def __init__(self, gateways: Gateways, directory: Path) -> None:
        self.gateways = gateways
        self.cluster = gateways.cluster
        self.place = gateways.namespace
        self._authority = Authority(directory)
        self._secrets = f"/api/v1/namespaces/{self.place}/secrets"
        self._authority.create()

    def apply(self) -> None:
        tls = {"mode": "Mutual", "credentialName": "bank"}
        port = {"port": 80, "protocol": "HTTP", "targetPort": 8443, "tls": tls}
        self.gateways.apply("partners", destination("bank", f"bank.{self.place}.example.com", ports=[port]))

    def create_secret(self) -> None:
        pair, authority = self._authority.issue("bank"), self._authority.certificate_file.read_bytes()
        self.cluster.rest.create(self._secrets, client_secret(self.place, "bank", pair, authority))

    def delete_secret(self) -> None:
        self.cluster.rest.delete(f"{self._secrets}/bank")

    def wait(self, type_: str, status: str, reason: str) -> str:
        """The message of the condition, once it has that status and reason."""
        part = "" if type_ == "Ready" else "bank"
        return str(self.gateways.wait("partners", type_, status, reason, part=part)["message"])

    def replace_pods(self) -> None:
        """One pod after the other, each when the one before has been replaced."""
        for name in self._ready_pods():
            self.cluster.rest.delete(f"/api/v1/namespaces/{self.place}/pods/{name}")
            eventually(lambda gone=name: gone not in self._ready_pods(), what=f"the end of {name}")
            eventually(lambda: len(self._ready_pods()) == 2, what="another pod")

    def _ready_pods(self) -> set[str]:
        pods = self.cluster.rest.items(f"/api/v1/namespaces/{self.place}/pods")
        return {pod["metadata"]["name"] for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]}


@pytest.fixture
def bank(gateways: Gateways, tmp_path: Path) -> Bank:
    """Its operator has the rights that the chart gives by default: none to Secrets."""
    return Bank(gateways, tmp_path)


def test_pods_that_wait_for_a_secret_get_no_clients_until_they_have_it(bank: Bank) -> None:
    """The status says by whose word; that the Secret comes is told by the pods, with no edit of anybody."""
    bank.apply()
    told = bank.wait("ResolvedRefs", "False", "SecretNotFound")
    assert f"a gateway pod waits for Secret {bank.place}/bank" in told
    assert bank.gateways.clients("partners") == {}, "clients were sent to a gateway that has no certificate"
    bank.create_secret()
    bank.wait("Ready", "True", "Ready")
    told = bank.wait("ResolvedRefs", "True", "ResolvedRefs")
    assert f"the gateway's pods have Secret {bank.place}/bank by their own word" in told


def test_deleted_secret_is_missed_by_pods_that_start_without_it(bank: Bank) -> None:
    """Those that run have it. Clients stay where they are."""
    bank.create_secret()
    bank.apply()
    bank.wait("Ready", "True", "Ready")
    clients = bank.gateways.clients("partners")
    bank.delete_secret()
    bank.replace_pods()
    bank.wait("ResolvedRefs", "False", "SecretNotFound")
    bank.wait("Ready", "False", "SecretNotFound")
    assert bank.gateways.clients("partners") == clients


def test_without_anybodys_word_readiness_is_not_known_and_the_right_helps(bank: Bank) -> None:
    """Clients are sent all the same. With the right the operator looks for itself."""
    bank.cluster.set_page(bank.place, "silent")
    bank.create_secret()
    bank.apply()
    told = bank.wait("Ready", "Unknown", "NotObserved")
    assert f"Secret {bank.place}/bank is not checked" in told
    assert "the chart's rbac.secrets" in told
    bank.wait("Steered", "True", "Steered")
    allow_secrets(bank.cluster, bank.place)
    bank.wait("Ready", "True", "Ready")


def test_restart_ends_in_the_same_answer_without_a_write(plane: ControlPlane, tmp_path: Path) -> None:
    """The pods are asked once more; until they have told, what the status says of the Secret holds."""
    bank = Bank(Gateways(plane, "default"), tmp_path)
    bank.create_secret()
    with OperatorProcess(operator_kubeconfig(plane), tmp_path / "first.log") as operator:
        bank.apply()
        bank.wait("Ready", "True", "Ready")
        eventually(operator.is_idle, what="an idle operator")
    counter, before = WriteCounter(plane), bank.gateways.get("partners")
    with OperatorProcess(operator_kubeconfig(plane), tmp_path / "second.log") as operator:
        eventually(lambda: operator.is_idle(2), what="a pass, and one after the pods have told")
        assert counter.read() == Writes()
    assert bank.gateways.get("partners") == before
