"""`egressgw run` before the cluster is ready for it: it waits, says for what, and goes on by itself."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.controlplane import ControlPlane, Options
from harness.gateways import NAMESPACES, Gateways, destination
from harness.kinds import install_definitions, read_definitions
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.session import ROOT, Run, definition_files
from harness.wait import START, eventually

pytestmark = pytest.mark.controlplane

OWN = tuple(sorted((ROOT / "crds").glob("*.yaml")))


@pytest.fixture(scope="module")
def bare_plane(run: Run) -> Iterator[ControlPlane]:
    """A control plane with Istio's CRDs and without the operator's."""
    foreign = tuple(path for path in definition_files(download=False) if path not in OWN)
    with run.private(Options(definitions=foreign, owner=run.owner)) as plane:
        yield plane


def starting(plane: ControlPlane, log: Path) -> OperatorProcess:
    """An operator that answers probes, whether or not it is ready."""
    operator = OperatorProcess(operator_kubeconfig(plane), log).start(wait=False)
    eventually(lambda: operator.answers("/healthz"), timeout=START, what="an answer to /healthz")
    return operator


def reason_for_waiting(operator: OperatorProcess) -> str:
    """What /readyz answers while the operator is not ready."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        operator.get("/readyz")
    return str(refused.value.read().decode())


def test_missing_definitions_are_waited_for(bare_plane: ControlPlane, tmp_path: Path) -> None:
    """Installed later, they are served without a restart: objects become Ready, and edits are heard of."""
    operator = starting(bare_plane, tmp_path / "operator.log")
    try:
        missing = "EgressGateway CRDs are not installed: kubectl apply -f crds/"
        eventually(lambda: missing in operator.log.read_text(), what="the reason in the log")
        assert reason_for_waiting(operator) == f"{missing}\n"

        install_definitions(bare_plane.rest, read_definitions(OWN))
        eventually(operator.is_ready, timeout=START, what="the operator's readiness")
        bare_plane.rest.create(NAMESPACES, {"metadata": {"name": "late"}})
        gateways = Gateways(bare_plane, "late")
        gateways.apply("partners")
        gateways.wait_ready("partners")
        # kopf looks for kinds once: had it looked too early, only the resync of ten minutes would tell of this edit.
        gateways.apply("partners", destination("one"), destination("two"))
        gateways.wait_ready("partners")
    finally:
        operator.stop()


def test_unreachable_server_is_waited_for(bare_plane: ControlPlane, tmp_path: Path) -> None:
    """A server that is away is no reason to end: the operator stays healthy, says so once, and finds it again."""
    install_definitions(bare_plane.rest, read_definitions(OWN))
    bare_plane.stop_apiserver()
    operator = starting(bare_plane, tmp_path / "operator.log")
    try:
        eventually(lambda: "Not started yet" in operator.log.read_text(), what="the reason in the log")
        assert reason_for_waiting(operator).startswith("the API server does not answer: ")
        bare_plane.start_apiserver()
        eventually(operator.is_ready, timeout=START, what="the operator's readiness")
        log = operator.log.read_text()
        assert log.count("Cannot connect to host") == 1
        assert "Traceback" not in log
    finally:
        operator.stop()
