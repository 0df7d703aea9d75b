"""The status of an EgressGatewayClass, and requests for a pass, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways, in_parallel
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.session import Run
from harness.traffic import WriteCounter
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

OBJECTS = 20


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """A control plane of the module's own: classes belong to the whole cluster."""
    with run.private(run.options()) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with OperatorProcess(operator_kubeconfig(plane), tmp_path_factory.mktemp("operator") / "log") as operator:
        eventually(lambda: operator.leads, what="a leader")
        yield operator


@pytest.fixture
def gateways(plane: ControlPlane, operator: OperatorProcess, request: pytest.FixtureRequest) -> Gateways:
    namespace = request.node.name.replace("_", "-")[:60].strip("-")
    plane.rest.create(NAMESPACES, {"metadata": {"name": namespace}})
    return Gateways(plane, namespace)


def apply_class(plane: ControlPlane, name: str, **spec: object) -> None:
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    plane.rest.apply(EGRESS_GATEWAY_CLASS.path(None, name), {**head, "metadata": {"name": name}, "spec": spec})


def class_status(plane: ControlPlane, name: str) -> Object:
    found = plane.rest.get(EGRESS_GATEWAY_CLASS.path(None, name))
    status: Object = found.get("status") or {}
    assert status.get("observedGeneration") == found["metadata"]["generation"], status
    return status


def attached(plane: ControlPlane, name: str) -> int:
    return int(class_status(plane, name)["attachedGateways"])


def test_new_class_is_accepted(plane: ControlPlane, operator: OperatorProcess) -> None:
    """`kubectl wait --for=condition=Accepted` ends; nobody uses the class yet."""
    apply_class(plane, "unused")
    plane.kubectl("wait", "--for=condition=Accepted", "egressgatewayclass/unused", "--timeout=30s")
    assert attached(plane, "unused") == 0


def test_class_that_names_no_provider_shows_its_own(plane: ControlPlane, operator: OperatorProcess) -> None:
    """The column of `kubectl get` was empty for every class that left the provider to the default."""
    apply_class(plane, "plain")
    plane.kubectl("wait", "--for=condition=Accepted", "egressgatewayclass/plain", "--timeout=30s")
    header, row = plane.kubectl("get", "egressgatewayclass", "plain").stdout.splitlines()
    assert header.split() == ["NAME", "PROVIDER", "ACCEPTED", "ATTACHED", "AGE"]
    assert row.split()[:4] == ["plain", "Istio", "True", "0"]


def test_users_are_counted_in_few_writes(plane: ControlPlane, gateways: Gateways, operator: OperatorProcess) -> None:
    """Many objects at once are told in a few writes, one that goes is counted no more, a restart writes nothing."""
    apply_class(plane, "popular")
    eventually(lambda: attached(plane, "popular") == 0)
    counter = WriteCounter(plane)
    names = [f"gateway-{number}" for number in range(OBJECTS)]
    in_parallel(lambda name: gateways.apply(name, className="popular"), names)
    eventually(lambda: attached(plane, "popular") == OBJECTS)
    assert counter.read().classes < OBJECTS / 2
    gateways.wait_ready(*names, timeout=3 * CONVERGE)
    gateways.delete(names[0])
    gateways.wait_gone(names[0])
    eventually(lambda: attached(plane, "popular") == OBJECTS - 1)

    eventually(operator.is_idle, what="an idle operator")
    counter.restart()
    operator.stop()
    operator.start()
    eventually(lambda: operator.leads and operator.is_idle(OBJECTS - 1), timeout=2 * CONVERGE)
    assert counter.read().classes == 0


def test_class_on_trial_says_what_it_would_take(
    plane: ControlPlane, gateways: Gateways, operator: OperatorProcess
) -> None:
    """In its own status and in the object's; the object is served as before, also by the next leader, silently."""
    apply_class(plane, "tried", mtls="Strict")
    gateways.apply("partners", className="tried")
    gateways.wait_ready("partners")
    before = gateways.clients("partners").keys()
    apply_class(plane, "tried", mtls="Strict", trial={"allowedHosts": ["*.elsewhere.org"]})

    def listed() -> Object:
        found: Object = class_status(plane, "tried")["trial"]
        assert found["affectedGateways"] == 1
        return found

    [finding] = eventually(listed, what="a trial in the status of the class")["findings"]
    assert (finding["namespace"], finding["name"]) == (gateways.namespace, "partners")
    assert finding["reason"] == "HostNotAllowed"
    assert "not in force yet" in gateways.condition("partners", "Accepted", part="api")["message"]
    gateways.wait_ready("partners")
    assert gateways.clients("partners").keys() == before

    eventually(operator.is_idle, what="an idle operator")
    counter = WriteCounter(plane)
    operator.stop()
    operator.start()
    eventually(lambda: operator.leads and operator.is_idle(1), timeout=2 * CONVERGE)
    assert counter.read().classes == 0
    apply_class(plane, "tried", mtls="Strict")
    eventually(lambda: "trial" not in class_status(plane, "tried"), what="a status without the trial")


def test_class_edit_is_seen(plane: ControlPlane, operator: OperatorProcess) -> None:
    """Each generation is judged."""
    apply_class(plane, "edited")
    eventually(lambda: class_status(plane, "edited"))
    apply_class(plane, "edited", deniedHosts=["*.example.org"])
    eventually(lambda: class_status(plane, "edited")["observedGeneration"] == 2)


def test_requested_pass_is_answered(plane: ControlPlane, gateways: Gateways) -> None:
    """`kubectl annotate` asks for a pass, and the status answers with the value."""
    gateways.apply("partners")
    gateways.wait_ready("partners")
    for value in ("2026-01-01T00:00:00Z", "again"):
        annotation = f"egressgateway.dev/reconcile-requested-at={value}"
        namespaced = ("--namespace", gateways.namespace)
        plane.kubectl("annotate", "--overwrite", "egressgateway/partners", annotation, *namespaced)
        answer = f"--for=jsonpath={{.status.lastHandledReconcileAt}}={value}"
        plane.kubectl("wait", answer, "egressgateway/partners", "--timeout=30s", *namespaced)
    gateways.wait_ready("partners")


def test_child_that_somebody_fights_over_is_told_of(
    plane: ControlPlane, gateways: Gateways, operator: OperatorProcess
) -> None:
    """An event names the other field manager, the status says what is not in place, and writes end."""
    gateways.apply("partners")
    gateways.wait_ready("partners")
    path = gateways.child_path(("NetworkPolicy", "partners-egress"))
    ours = plane.rest.get(path)["spec"]

    def rewritten() -> bool:
        if plane.rest.get(path)["spec"] == ours:
            plane.rest.merge(f"{path}?fieldManager=policy-bot", {"spec": {"egress": [{}]}})
            return False
        return gateways.condition("partners", "Programmed")["status"] == "False"

    eventually(rewritten, what="a repair that waits")
    assert "policy-bot" in gateways.condition("partners", "Programmed")["message"]
    described = eventually(lambda: _events(plane, gateways.namespace, "RepairBackOff"), what="the event")
    assert "policy-bot" in described[0]["note"]
    # By itself, and while the other side rests: the first wait is ten seconds.
    eventually(lambda: plane.rest.get(path)["spec"] == ours, what="the repair")
    gateways.wait_ready("partners")


def _events(plane: ControlPlane, namespace: str, reason: str) -> list[Object]:
    found = plane.rest.items(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")
    return [each for each in found if each["reason"] == reason]


def test_readiness_is_logged_as_it_comes_and_goes(gateways: Gateways, operator: OperatorProcess) -> None:
    """Whoever watches the log sees each object become ready and stop being so, once each time."""
    gateways.apply("partners")
    gateways.wait_ready("partners")
    gateways.delete("partners")
    gateways.wait_gone("partners")
    # What stands behind the last line break may be half a line.
    lines = Path(operator.log).read_text().split("\n")[:-1]
    records = [json.loads(line) for line in lines if line.startswith("{")]
    told = [
        (each["message"], each["name"], each["reason"])
        for each in records
        if each.get("namespace") == gateways.namespace and each["message"].startswith("EgressGateway is ")
    ]
    # Pods may come and go in between: what is sure is the order, the beginning and the end.
    assert set(told[0::2]) == {("EgressGateway is ready", "partners", "Ready")}
    assert {message for message, *_ in told[1::2]} <= {
        "EgressGateway is no longer ready",
        "EgressGateway is being changed",
    }
    assert len(told) % 2 == 0


def test_operator_logged_no_error(operator: OperatorProcess) -> None:
    """Only the fight was worth a warning."""
    lines = Path(operator.log).read_text().splitlines()
    found = [line for line in lines if '"level": "error"' in line or '"level": "warning"' in line]
    assert [line for line in found if "keeps changing a child" not in line] == []
