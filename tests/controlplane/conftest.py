"""Fixtures of this tier: the operator as a process, and a recorder that judges every status that it writes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness import tiers, tools
from harness.cluster import Cluster
from harness.controlplane import ControlPlane
from harness.gateways import Gateways
from harness.istioctl import Istioctl
from harness.operator import OperatorProcess
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.rest import ApiError, Rest
from harness.session import Run
from harness.tenants import tenant


@pytest.fixture(scope="session")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """
    The operator of the run's cluster.

    Each process of pytest-xdist starts a replica, and the Lease decides which of them works: every test of the shared
    cluster is one of leader election, too. A replica ends with its process, and the other takes over.
    """
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with ConditionsRecorder(cluster.kubeconfig), OperatorProcess(operator_kubeconfig(cluster), log) as operator:
        yield operator


@pytest.fixture
def gateways(operator: OperatorProcess, cluster: Cluster, namespace: str) -> Gateways:
    """The EgressGateways of the test's namespace, served by the run's operator."""
    return Gateways(cluster, namespace)


@pytest.fixture
def new_namespace(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """`new_namespace("intruder")` makes one with a name of that beginning; all are deleted afterwards."""
    made: list[str] = []

    def make(prefix: str) -> str:
        made.append(f"{prefix}-{secrets.token_hex(3)}")
        cluster.rest.create("/api/v1/namespaces", {"metadata": {"name": made[-1]}})
        return made[-1]

    yield make
    for name in made:
        with suppress(ApiError):
            cluster.rest.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def new_tenant(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Rest]]:
    """`new_tenant(*namespaces)`: a client with the role `edit` there, as a team has it, and no right elsewhere."""
    clients: list[Rest] = []

    def make(*namespaces: str) -> Rest:
        clients.append(tenant(cluster, tmp_path, *namespaces))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """A control plane of the module's own, without an operator; every status written in it is judged."""
    with run.private(run.options(audit=True)) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


@pytest.fixture
def operator_log(tmp_path: Path) -> Path:
    """Where an operator of the test's own logs to."""
    return tmp_path / "operator.log"


@pytest.fixture(scope="session")
def istioctl() -> Istioctl:
    """Istio's own judgement; the tests that ask for it are skipped where the program is not built, but not in CI."""
    try:
        return Istioctl(tools.find_istioctl())
    except tools.ToolsMissing as missing:
        if not tiers.may_be_skipped("mesh"):
            pytest.fail(f"istioctl must be here: {missing}", pytrace=False)
        pytest.skip(str(missing))
