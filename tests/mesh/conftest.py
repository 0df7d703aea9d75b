"""Fixtures of this tier: the mesh, the operator beside it, clients, and a watch over what proxies refuse."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from harness import apisix
from harness.apisix import StandInController
from harness.gateways import Gateways
from harness.mesh import istio
from harness.mesh.clients import Clients, ensure_namespace
from harness.mesh.dump import dump_mesh
from harness.mesh.mesh import Mesh
from harness.mesh.proxies import rejected
from harness.mesh.scene import Scene
from harness.mesh.session import mesh_of
from harness.operator import OperatorProcess, Within
from harness.recorder import ConditionsRecorder
from harness.release import operator_kubeconfig
from harness.session import Run

MISSED = pytest.StashKey[tuple[str, ...]]()
"""Acknowledgements that istiod missed."""


@pytest.fixture(scope="session")
def mesh(run: Run, request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """The mesh of the whole run; never stop it, others use it too."""
    mesh = mesh_of(run)
    yield mesh
    mesh.cluster.rest.close()
    request.config.stash[MISSED] = tuple(mesh.missed)


@pytest.fixture(scope="session")
def operator(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """
    The operator of the run's mesh; each process of pytest-xdist starts a replica, and one of them works.

    Beside it the controller of an APISIX that takes every route; where no case has one, nothing is asked of it.
    """
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    apisix.install(mesh.cluster)
    # Where the pods are: it asks them about their probes.
    within = Within(mesh.node.enter, mesh.node_address)
    kubeconfig = operator_kubeconfig(mesh.cluster)
    with (
        ConditionsRecorder(mesh.kubeconfig),
        StandInController(mesh.cluster, look_seconds=1),
        OperatorProcess(kubeconfig, log, "--push-grace-seconds", "1", within=within) as operator,
    ):
        yield operator


@pytest.fixture(scope="session")
def clients(mesh: Mesh) -> Clients:
    """Pods that make requests."""
    return Clients(mesh)


@pytest.fixture
def gateways(mesh: Mesh, operator: OperatorProcess) -> Iterator[Gateways]:
    """The EgressGateways of a namespace of the test's own."""
    assert operator.running
    namespace = f"test-{secrets.token_hex(3)}"
    ensure_namespace(mesh, namespace)
    yield Gateways(mesh.cluster, namespace)
    mesh.cluster.rest.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
def scene(mesh: Mesh, operator: OperatorProcess, clients: Clients) -> Iterator[Scene]:
    """A place for events; see `harness.mesh.scene`."""
    assert operator.running
    scene = Scene(mesh, clients)
    yield scene
    scene.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """
    No proxy refuses an update in any test: neither those that are still there, by their own word, nor those that came
    and went, by istiod's.
    """
    result = yield
    mesh = getattr(item, "funcargs", {}).get("mesh")
    if mesh is not None:
        assert (rejected(mesh), istio.rejects(mesh.node)) == ({}, {})
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the state of the mesh to the report of a failure, before anything is cleaned up."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    if report.failed and report.when != "teardown" and "mesh" in arguments:
        report.sections.append(("mesh", dump_mesh(arguments["mesh"])))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the traffic tables of all cases, and what events cost."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.getreports(kind)]
    for table in ("traffic", "continuity", "probed"):
        rows = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == table]
        if rows:
            terminalreporter.section(table)
        for row in rows:
            terminalreporter.write_line(row)
    if missed := terminalreporter.config.stash.get(MISSED, ()):
        terminalreporter.section("acknowledgements that istiod missed until it pushed again")
        terminalreporter.write_line(", ".join(missed))
    counted = Counter(
        header
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "headers"
        for header in value.split()
    )
    if counted:
        terminalreporter.section("headers that reached external servers by way of a gateway, with how many requests")
        terminalreporter.write_line(", ".join(f"{name} {count}" for name, count in sorted(counted.items())))
