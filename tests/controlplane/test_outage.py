"""
The API server is away, or there and silent: the operator stays, asks little, and goes on when it can.

A file of its own: an outage takes its time, and meanwhile the other tests go on in the other process. A proxy in front
of the server counts the requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from harness.controlplane import ControlPlane
from harness.faultproxy import FaultProxy
from harness.gateways import NAMESPACES, Gateways, in_parallel
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

OUTAGE_SECONDS = float(os.environ.get("EGRESSGATEWAY_OUTAGE_SECONDS", "30"))
"""How long the API server stays away: waits between attempts have grown to half a minute by then."""

SILENCE_SECONDS = 5.0
PATIENT = 3 * CONVERGE
OBJECTS = [f"gateway-{number}" for number in range(5)]
REQUESTS_PER_SECOND = 60
"""What 5 failing objects, the informers, kopf and the Lease may ask for together; a loop asks for 1,000."""

_namespaces = count()


@pytest.fixture(scope="module")
def proxy(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    with FaultProxy(operator_kubeconfig(plane), tmp_path_factory.mktemp("proxy") / "kubeconfig") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One process for all outages: each must leave it fit for the next. Its Lease outlasts them."""
    log = tmp_path_factory.mktemp("operator") / "log"
    flags = ("--lease-seconds", "90", "--push-grace-seconds", "0.3")
    with OperatorProcess(proxy.kubeconfig, log, *flags) as operator:
        eventually(lambda: operator.leads, what="a leader")
        yield operator


@pytest.fixture
def gateways(plane: ControlPlane, operator: OperatorProcess) -> Iterator[Gateways]:
    """A namespace of the test's own; afterwards the same process lives and keeps up."""
    namespace = f"outage-{next(_namespaces)}"
    plane.rest.create(NAMESPACES, {"metadata": {"name": namespace}})
    gateways = Gateways(plane, namespace)
    pid = operator.pid
    yield gateways
    gateways.apply("afterwards")
    gateways.wait_ready("afterwards", timeout=PATIENT)
    assert operator.running
    assert operator.pid == pid
    plane.rest.delete(f"{NAMESPACES}/{namespace}")


class TestOutage:
    """The API server is away for a while."""

    def test_stopped_server_is_survived(
        self, gateways: Gateways, plane: ControlPlane, proxy: FaultProxy, operator: OperatorProcess
    ) -> None:
        """
        The server is stopped while objects are on their way, and started again: the same process finishes the work.

        Requests are few while nobody answers, and /healthz stays good: a restart would help nobody.
        """
        in_parallel(gateways.apply, OBJECTS)
        plane.stop_apiserver()
        try:
            proxy.forget()
            passed(OUTAGE_SECONDS)
            asked = len(proxy.requests)
            assert operator.get("/healthz") == "ok\n"
        finally:
            plane.start_apiserver()
        assert asked / OUTAGE_SECONDS < REQUESTS_PER_SECOND
        gateways.wait_ready(*OBJECTS, timeout=PATIENT)
        in_parallel(gateways.delete, OBJECTS)
        gateways.wait_gone(*OBJECTS, timeout=PATIENT)

    def test_frozen_server_is_survived(
        self, gateways: Gateways, plane: ControlPlane, operator: OperatorProcess
    ) -> None:
        """A server that takes connections and never answers holds up requests, not the process."""
        gateways.apply("partners")
        plane.freeze_apiserver()
        try:
            passed(SILENCE_SECONDS)
            assert operator.get("/healthz") == "ok\n"
        finally:
            plane.thaw_apiserver()
        gateways.wait_ready("partners", timeout=PATIENT)

    def test_operator_started_before_the_server_waits_for_it(self, plane: ControlPlane, operator_log: Path) -> None:
        """Without an API server the process waits, tells on /readyz why, and works once it is there."""
        plane.stop_apiserver()
        operator = OperatorProcess(
            operator_kubeconfig(plane), operator_log, "--lease-seconds", "3", "--namespace", "default"
        )
        try:
            operator.start(wait=False)
            eventually(lambda: operator.answers("/healthz"), timeout=PATIENT, what="a healthy operator")
            assert not operator.answers("/readyz")
        finally:
            plane.start_apiserver()
        eventually(operator.is_ready, timeout=PATIENT, what="a ready operator")
        assert operator.stop() == 0


def passed(seconds: float) -> None:
    """An outage lasts as long as it lasts: the one thing here that time alone ends."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end, timeout=2 * seconds + 10)
