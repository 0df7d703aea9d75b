"""The leader's machine has a clock that is an hour fast: nothing ends before its time by the API server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from egressgateway.api.scalars import format_instant, parse_instant
from harness.controlplane import ControlPlane
from harness.faultproxy import FaultProxy
from harness.gateways import NAMESPACES, Gateways, destination
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.wait import eventually

pytestmark = pytest.mark.controlplane

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def fast(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator whose API server's answers say that it is an hour earlier than its machine does."""
    directory = tmp_path_factory.mktemp("clocks")
    with FaultProxy(operator_kubeconfig(plane), directory / "kubeconfig") as proxy:
        proxy.clock_offset = -HOUR
        with OperatorProcess(proxy.kubeconfig, directory / "log", "--push-grace-seconds", "0.3") as operator:
            eventually(lambda: operator.leads, what="a leader")
            yield operator


def test_nothing_expires_before_its_time(plane: ControlPlane, fast: OperatorProcess) -> None:
    """An end half an hour away by the server is half an hour away, and what is written down is of the server's time."""
    plane.rest.create(NAMESPACES, {"metadata": {"name": "clocks"}})
    gateways = Gateways(plane, "clocks")
    now = datetime.now(UTC)
    soon = {**destination("soon"), "expiresAt": format_instant(now - HOUR / 2)}
    over = {**destination("over"), "expiresAt": format_instant(now - 2 * HOUR)}
    gateways.apply("partners", soon, over)
    gateways.wait("partners", "Steered", "True", "Steered", part="soon")
    gateways.wait("partners", "Accepted", "False", "Expired", part="over")
    status = gateways.get("partners")["status"]
    for claim in status["claims"]:
        assert parse_instant(claim["claimedAt"]) < now - HOUR / 2
    for condition in status["conditions"]:
        assert parse_instant(condition["lastTransitionTime"]) < now - HOUR / 2
    skew = fast.metric("egressgateway_clock_skew_seconds")
    assert skew == pytest.approx(HOUR.total_seconds(), abs=60)
    log = fast.log.read_text()
    assert log.count("Clock differs from the API server's") == 1
