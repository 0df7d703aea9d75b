"""
What the operator writes, counted by the API server (`apiserver_request_total`), and what it does not.

The Lease is left out: its renewals are the only writes of a steady state.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from egressgateway.api.conditions import ConditionType
from harness.controlplane import ControlPlane
from harness.gateways import ChildName, Gateways, in_parallel
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.session import Run
from harness.traffic import WriteCounter, Writes
from harness.wait import CONVERGE, eventually

OBJECTS = 10
STATUS_CHANGES = 1000
BUSY = 2 * CONVERGE


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """As elsewhere, but without an audit log: a thousand requests are made here at once."""
    with run.private(run.options()) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with OperatorProcess(operator_kubeconfig(plane), tmp_path_factory.mktemp("operator") / "log") as operator:
        eventually(lambda: operator.leads, what="a leader")
        yield operator


@pytest.fixture(scope="module")
def settled(plane: ControlPlane, operator: OperatorProcess) -> Gateways:
    """Ten objects in the namespace `default`, all Ready, and an operator with nothing to do."""
    gateways = Gateways(plane, "default")
    names = [f"gateway-{number}" for number in range(OBJECTS)]
    in_parallel(gateways.apply, names)
    gateways.wait_ready(*names, timeout=BUSY)
    eventually(operator.is_idle, what="an idle operator")
    return gateways


@pytest.fixture
def counter(plane: ControlPlane, settled: Gateways, operator: OperatorProcess) -> WriteCounter:
    """Counts from the beginning of the test, at which all is quiet."""
    eventually(operator.is_idle, what="an idle operator")
    return WriteCounter(plane)


class TestBudget:
    """One object's way to Ready."""

    def test_new_object_costs_its_children_and_three_writes(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess
    ) -> None:
        """
        A write for each child, one for the finalizer, two for the status, one event; its end, one that says that its
        clients are withdrawn, and one for the finalizer.
        """
        settled.apply("counted")
        settled.wait_ready("counted")
        eventually(lambda: operator.is_idle() and counter.read().events, what="the event")
        children = len(settled.children("counted"))
        assert counter.read() == Writes(children=children, metadata=1, status=2, events=1)

        counter.restart()
        settled.delete("counted")
        settled.wait_gone("counted")
        found = counter.read()
        assert (found.children, found.status, found.metadata) == (0, 1, 1)

    def test_refused_object_costs_one_status(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess
    ) -> None:
        """What is not accepted is told once."""
        settled.apply("refused", className="no-such-class")
        settled.wait("refused", ConditionType.ACCEPTED, "False", "ClassNotFound")
        eventually(lambda: operator.is_idle() and counter.read().events, what="the event")
        assert counter.read() == Writes(status=1, events=1)
        settled.delete("refused")


class TestSteadyState:
    """Nothing changes: nothing is written."""

    def test_restart_writes_nothing(self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess) -> None:
        """A new process looks at every object and finds all as it should be."""
        operator.stop()
        operator.start()
        eventually(lambda: operator.is_idle(OBJECTS), timeout=BUSY, what="a reconcile of every object")
        assert counter.read() == Writes()

    def test_status_changes_of_children_write_nothing(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess
    ) -> None:
        """A thousand changes of children's status by istiod and controllers are seen, and lead to no write."""
        entries = children_of_kind(settled, "ServiceEntry")
        deployments = children_of_kind(settled, "Deployment")
        in_parallel(
            lambda number: settled.cluster.rest.merge(*status_change(settled, entries, deployments, number)),
            range(STATUS_CHANGES),
        )
        assert counter.read() == Writes()
        # Deleted after all of those: when it is there again, they have been seen.
        for child in (entries[0], deployments[0]):
            settled.cluster.rest.delete(settled.child_path(child))
        eventually(lambda: is_there(settled, entries[0]) and is_there(settled, deployments[0]), timeout=BUSY)
        eventually(operator.is_idle, timeout=BUSY, what="an idle operator")
        settled.wait_ready("gateway-0")
        eventually(operator.is_idle, timeout=BUSY, what="an idle operator")
        found = counter.read()
        assert (found.children, found.deletes, found.metadata) == (2, 2, 0)

    def test_metadata_of_others_writes_nothing(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess
    ) -> None:
        """`kubectl rollout restart`, labels and annotations of others stay, and are not worth a write."""
        names = {kind: (kind, name) for kind, name in sorted(settled.children("gateway-1"))}
        added = {"metadata": {"labels": {"team": "payments"}, "annotations": {"note": "seen"}}}
        for child in names.values():
            settled.cluster.rest.merge(settled.child_path(child), added)
        settled.cluster.kubectl("rollout", "restart", "deployment/gateway-1-egress")
        settled.cluster.kubectl("rollout", "status", "deployment/gateway-1-egress", "--timeout=60s")
        settled.wait_ready("gateway-1")
        eventually(operator.is_idle, what="an idle operator")

        found = counter.read()
        own = len(names) + 1
        assert (found.children - own, found.deletes, found.metadata) == (0, 0, 0)
        live = settled.children("gateway-1")
        assert all(live[child]["metadata"]["labels"]["team"] == "payments" for child in names.values())


class TestRepair:
    """One difference: one write."""

    @pytest.mark.parametrize(
        ("kind", "patch"),
        [
            ("VirtualService", {"spec": {"exportTo": ["*"]}}),
            ("VirtualService", {"spec": {"tcp": [{"route": [{"destination": {"host": "evil.example.com"}}]}]}}),
            ("Deployment", {"spec": {"replicas": 7}}),
            ("NetworkPolicy", {"metadata": {"labels": {"egressgateway.dev/stage": None}}}),
        ],
        ids=["value", "foreign-field", "replicas", "label"],
    )
    def test_edited_child_costs_one_write(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess, kind: str, patch: Object
    ) -> None:
        """A changed value, a field that somebody added, a label taken away: each is put back by one write."""
        child = sorted(name for name in settled.children("gateway-2") if name[0] == kind)[0]
        before = settled.children("gateway-2")[child]
        settled.cluster.rest.merge(settled.child_path(child), patch)
        eventually(lambda: spec_and_labels(settled, child) == (before["spec"], before["metadata"]["labels"]))
        settled.wait_ready("gateway-2")
        eventually(operator.is_idle, what="an idle operator")
        # The edit itself is counted, too.
        found = counter.read()
        assert (found.children - 1, found.deletes, found.metadata, found.refused) == (1, 0, 0, 0)

    @pytest.mark.parametrize("kind", ["ServiceAccount", "AuthorizationPolicy", "VirtualService"])
    def test_deleted_child_costs_one_write(
        self, settled: Gateways, counter: WriteCounter, operator: OperatorProcess, kind: str
    ) -> None:
        """It is made again at once, by one create."""
        child = sorted(name for name in settled.children("gateway-3") if name[0] == kind)[0]
        settled.cluster.rest.delete(settled.child_path(child))
        eventually(lambda: is_there(settled, child), what="the child")
        settled.wait_ready("gateway-3")
        eventually(operator.is_idle, what="an idle operator")
        found = counter.read()
        assert (found.children, found.deletes - 1, found.metadata, found.refused) == (1, 0, 0, 0)


class TestConfiguredPath:
    """The log of an operator that was never in trouble."""

    def test_operator_logged_no_error(self, settled: Gateways, operator: OperatorProcess) -> None:
        """Nothing above led to a warning or an error, least of all to a trace."""
        log = Path(operator.log).read_text()
        assert [line for line in log.splitlines() if '"level": "error"' in line or '"level": "warning"' in line] == []


def children_of_kind(gateways: Gateways, kind: str) -> list[ChildName]:
    names = [f"gateway-{number}" for number in range(OBJECTS)]
    return sorted(child for name in names for child in gateways.children(name) if child[0] == kind)


def status_change(
    gateways: Gateways, entries: list[ChildName], deployments: list[ChildName], number: int
) -> tuple[str, Object]:
    """Path and patch of one of many changes: three quarters as istiod makes them, the rest as a controller would."""
    if number % 4:
        address = {"value": f"240.240.{number // 250}.{number % 250}"}
        return f"{gateways.child_path(entries[number % len(entries)])}/status", {"status": {"addresses": [address]}}
    condition = {"type": "Seen", "status": "True", "reason": "Test", "message": f"{number}"}
    body = {"status": {"conditions": [condition]}}
    return f"{gateways.child_path(deployments[number % len(deployments)])}/status", body


def is_there(gateways: Gateways, child: ChildName) -> bool:
    path = gateways.child_path(child)
    return gateways.cluster.rest.exists(path) and "deletionTimestamp" not in gateways.cluster.rest.get(path)["metadata"]


def spec_and_labels(gateways: Gateways, child: ChildName) -> tuple[Object, Object]:
    live = gateways.cluster.rest.get(gateways.child_path(child))
    return live["spec"], live["metadata"]["labels"]
