"""
The operator's clock is an hour ahead of the API server's, or behind it: nothing ends early or late, and nobody loses.

`test_chaos_replicas` plays a whole story under leaders with different clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from harness.chaos.account import writes_stop
from harness.chaos.clock import wrong_by
from harness.chaos.stage import ALONE
from harness.chaos.story import LONG, wait_at_rest
from harness.chaos.world import class_
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways, destination
from harness.objects import apply_all, namespace
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig

pytestmark = pytest.mark.controlplane

HOUR: Final = 3600.0

_namespaces = count()


@pytest.fixture
def tenant(plane: ControlPlane) -> Iterator[Gateways]:
    """A namespace of the test's own."""
    yield from new_tenant(plane)


@pytest.fixture
def neighbour(plane: ControlPlane) -> Iterator[Gateways]:
    """Another one."""
    yield from new_tenant(plane)


def new_tenant(plane: ControlPlane) -> Iterator[Gateways]:
    place = f"clock-{next(_namespaces)}"
    apply_all(plane, [namespace(place), class_("for-all", allowedConsumers={"from": "All"})])
    yield Gateways(plane, place)
    plane.rest.delete(f"{NAMESPACES}/{place}")


@pytest.mark.parametrize(("ahead", "left"), [(HOUR, timedelta(minutes=30)), (-HOUR, timedelta(minutes=-30))])
def test_end_of_a_destination_is_by_the_api_servers_clock(
    plane: ControlPlane, tenant: Gateways, operator_log: Path, ahead: float, left: timedelta
) -> None:
    """
    What ends in half an hour serves under a leader that is an hour fast; what ended half an hour ago does not
    under one that is an hour slow.
    """
    with operator(plane, operator_log, ahead):
        moment = (datetime.now(UTC) + left).strftime("%Y-%m-%dT%H:%M:%SZ")
        part = destination("trial") | {"expiresAt": moment}
        manifest = tenant.apply("partners", part, destination("api", "always.example.com"))
        wait_at_rest(plane, manifest)
        expected = ("True", "Accepted") if left > timedelta(0) else ("False", "Expired")
        accepted = tenant.condition("partners", "Accepted", "trial")
        served = {name.partition("-")[2] for _, name in tenant.clients("partners")}
        assert (accepted["status"], accepted["reason"]) == expected
        assert any(name.startswith("trial-") for name in served) == (left > timedelta(0))
        tenant.delete("partners")
        tenant.wait_gone("partners", timeout=LONG)


@pytest.mark.parametrize(("first", "then"), [(HOUR, 0.0), (0.0, -HOUR), (HOUR, -HOUR)], ids=str)
def test_claims_keep_their_order(
    plane: ControlPlane, tenant: Gateways, tmp_path: Path, first: float, then: float
) -> None:
    """Who was first has the host, whichever clock its claim was written by: a slower leader turns nothing round."""
    name = f"{tenant.namespace}.example.com"
    with operator(plane, tmp_path / "first.log", first):
        tenant.apply("early", destination("api", name))
        tenant.wait_ready("early", timeout=LONG)
        before = tenant.clients("early")
    with operator(plane, tmp_path / "then.log", then):
        tenant.apply("late", destination("api", name))
        tenant.wait("late", "Ready", "False", "HostConflict", timeout=LONG)
        writes_stop(plane, LONG)
        tenant.wait_ready("early", timeout=LONG)
        assert tenant.clients("late") == {}
        assert tenant.clients("early").keys() == before.keys()
        for each in ("early", "late"):
            tenant.delete(each)
        tenant.wait_gone("early", "late", timeout=LONG)


@pytest.mark.parametrize("first", [0.0, HOUR], ids=str)
def test_right_of_elsewhere_takes_nothing_over(
    plane: ControlPlane, tenant: Gateways, neighbour: Gateways, tmp_path: Path, first: float
) -> None:
    """
    Who has a host for its own namespace and widens its access later does not take it from who had it there first.

    Not either where the first right was written by a clock that is an hour fast, and looks younger than it is.
    """
    name = f"{tenant.namespace}.example.com"
    with operator(plane, tmp_path / "first.log", first):
        tenant.apply("early", destination("api", name))
        tenant.wait_ready("early", timeout=LONG)
        before = tenant.clients("early")
    with operator(plane, tmp_path / "then.log", 0.0):
        neighbour.apply("late", destination("api", name), className="for-all")
        neighbour.wait_ready("late", timeout=LONG)
        both = {"from": [{"namespaces": [tenant.namespace, neighbour.namespace]}]}
        neighbour.apply("late", destination("api", name), className="for-all", access=both)
        neighbour.wait("late", "Accepted", "False", "HostConflict", timeout=LONG)
        writes_stop(plane, LONG)
        assert neighbour.condition("late", "Accepted")["reason"] == "HostConflict"
        tenant.wait_ready("early", timeout=LONG)
        assert tenant.clients("early").keys() == before.keys()
        for child in neighbour.clients("late").values():
            assert tenant.namespace not in child["spec"].get("exportTo", [])
        tenant.delete("early")
        neighbour.delete("late")
        tenant.wait_gone("early", timeout=LONG)
        neighbour.wait_gone("late", timeout=LONG)


def operator(plane: ControlPlane, log: Path, ahead: float) -> OperatorProcess:
    """One whose clock is so many seconds ahead."""
    return OperatorProcess(operator_kubeconfig(plane), log, *ALONE, within=wrong_by(ahead))
