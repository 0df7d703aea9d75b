"""Two replicas, one Lease: one of them writes, and the other one takes over whatever happens to the first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.chaos.account import passed
from harness.controlplane import ControlPlane
from harness.faultproxy import FaultProxy
from harness.faults import Answer, Rule
from harness.fetched import obtain_promtool
from harness.gateways import Gateways, destination, in_parallel
from harness.helm import CHART
from harness.operator import QUICK, OperatorProcess
from harness.release import operator_kubeconfig
from harness.tools import ToolsMissing
from harness.traffic import operator_writes
from harness.wait import eventually
from unit.chart.recordings import Recording, judge

pytestmark = pytest.mark.controlplane

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
LEASE = f"{LEASES}/egressgateway-operator"
LEASE_SECONDS = 3

MAX_IN_FLIGHT = 32
"""Calls that the operator has under way at most (`--max-in-flight`)."""


@pytest.fixture
def pair(plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """The leader and a follower, both with full caches."""
    first = OperatorProcess(operator_kubeconfig(plane), tmp_path / "first.log", *QUICK)
    second = OperatorProcess(operator_kubeconfig(plane), tmp_path / "second.log", *QUICK)
    try:
        first.start()
        eventually(lambda: first.leads, what="a leader")
        second.start()
        yield first, second
    finally:
        first.stop()
        second.stop()


@pytest.fixture
def gateways(plane: ControlPlane, request: pytest.FixtureRequest) -> Gateways:
    """A namespace of the test's own in the module's control plane."""
    name = request.node.name.replace("_", "-")[:60].rstrip("-")
    plane.rest.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return Gateways(plane, name)


def test_only_the_leader_writes(pair: tuple[OperatorProcess, OperatorProcess], gateways: Gateways) -> None:
    """The follower answers probes and has read everything, and reconciles nothing."""
    leader, follower = pair
    gateways.apply("partners")
    gateways.wait_ready("partners")
    assert (leader.leads, follower.leads) == (True, False)
    assert leader.total("egressgateway_children_applied_total") >= len(gateways.children("partners"))
    assert follower.total("egressgateway_children_applied_total") == 0
    assert follower.total("egressgateway_reconcile_total") == 0
    assert (follower.get("/healthz"), follower.get("/readyz")) == ("ok\n", "ok\n")


def test_an_hour_of_a_real_pair_alarms_nobody_but_the_author(
    pair: tuple[OperatorProcess, OperatorProcess], gateways: Gateways, tmp_path: Path
) -> None:
    """
    What both replicas really export, judged by every alert of the chart as if it went on so for an hour.

    The follower's queue is whatever it is; one object is well, and one names a class that does not exist.
    """
    try:
        promtool = obtain_promtool()
    except ToolsMissing as missing:
        pytest.skip(str(missing))
    pods = dict(zip(("leader", "follower"), pair, strict=True))

    def pages() -> dict[str, str]:
        return {name: pod.get("/metrics") for name, pod in pods.items()}

    gateways.apply("partners")
    gateways.wait_ready("partners")
    gateways.apply("typo", destination("api", "api.typo.example"), className="no-such-class")
    eventually(lambda: pair[0].total("egressgateway_not_ready_cause") == 1, what="the cause in the figures")
    before, began = pages(), time.monotonic()
    # Some more work, for figures that move.
    gateways.apply("more", destination("more", "more.example.com"))
    gateways.wait_ready("more")
    after, seconds = pages(), time.monotonic() - began
    recording = Recording.going_on(before, after, seconds, 61)
    assert {"egressgateway_queue_oldest_seconds", "egressgateway_leader"} <= recording.names
    told = ("EgressGatewayAuthorMustAct", {"namespace": gateways.namespace, "name": "typo", "reason": "ClassNotFound"})
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    assert judge(promtool, tmp_path, groups, recording, {9: (), 60: (told,)}) == ""


def test_killed_leader_is_succeeded_without_double_writes(
    pair: tuple[OperatorProcess, OperatorProcess], gateways: Gateways, plane: ControlPlane
) -> None:
    """
    After SIGKILL the follower waits for the Lease to run out, then finishes what was begun: each child is created once,
    and nothing that the first one wrote is written again.
    """
    leader, follower = pair
    seen = len(list(operator_writes(plane)))
    names = [f"gateway-{number}" for number in range(6)]
    in_parallel(gateways.apply, names)
    eventually(lambda: leader.total("egressgateway_children_applied_total") > 10, what="a leader at work")
    transitions = int(plane.rest.get(LEASE)["spec"]["leaseTransitions"])
    leader.kill()
    eventually(lambda: follower.leads, what="a successor")
    gateways.wait_ready(*names)
    eventually(follower.is_idle, what="an idle operator")

    lease = plane.rest.get(LEASE)["spec"]
    assert lease["leaseDurationSeconds"] == LEASE_SECONDS
    assert lease["leaseTransitions"] == transitions + 1
    # Refused writes left out: those of the successor for what it had not heard of yet.
    written = Counter(
        (each["objectRef"]["resource"], each["objectRef"]["name"])
        for each in [*operator_writes(plane)][seen:]
        if each["objectRef"]["resource"] not in ("egressgateways", "events") and not is_refused(each)
    )
    children = sum(len(gateways.children(name)) for name in names)
    assert len(written) == children
    # A write that was under way when its sender died may be made again, as nobody heard of its end.
    assert max(written.values()) <= 2
    assert sum(written.values()) - children <= MAX_IN_FLIGHT


def test_stopped_leader_hands_over_at_once(
    pair: tuple[OperatorProcess, OperatorProcess], gateways: Gateways, plane: ControlPlane
) -> None:
    """A leader that ends well gives the Lease back: its successor does not wait for it to run out."""
    leader, follower = pair
    gateways.apply("before")
    gateways.wait_ready("before")
    assert leader.stop() == 0
    released = plane.rest.get(LEASE)["spec"]
    eventually(lambda: follower.leads, what="a successor")
    # Either the empty Lease was still to be seen, or the follower had taken it already: no third holder in between.
    holder = plane.rest.get(LEASE)["spec"]
    assert released["holderIdentity"] in ("", holder["holderIdentity"])
    gateways.apply("after")
    gateways.wait_ready("before", "after")


def test_leader_that_loses_its_lease_stops_writing_until_it_leads_again(
    plane: ControlPlane, gateways: Gateways, tmp_path: Path
) -> None:
    """Cut off from the Lease it stops before another may start; when the Lease can be had again, it goes on."""
    with (
        FaultProxy(operator_kubeconfig(plane), tmp_path / "kubeconfig") as proxy,
        OperatorProcess(proxy.kubeconfig, tmp_path / "log", *QUICK) as operator,
    ):
        eventually(lambda: operator.leads, what="a leader")
        with proxy.injected(Rule(Answer(503), path="/leases/")):
            eventually(lambda: not operator.leads, what="a leader that gave up")
            gateways.apply("waits")
            passed(2)
            assert not gateways.children("waits")
        gateways.wait_ready("waits")
        assert "Leadership lost" in operator.log.read_text()


def test_leader_whose_lease_was_taken_stops_and_stands_again(plane: ControlPlane, tmp_path: Path) -> None:
    """Another holder in the Lease is enough, however it came there; one that never renews is succeeded."""
    with OperatorProcess(operator_kubeconfig(plane), tmp_path / "log", *QUICK) as operator:
        eventually(lambda: operator.leads, what="a leader")
        plane.rest.merge(LEASE, {"spec": {"holderIdentity": "somebody-else"}})
        eventually(lambda: not operator.leads, what="a leader that gave up")
        eventually(lambda: operator.leads, what="a leader again")
        assert plane.rest.get(LEASE)["spec"]["holderIdentity"] != "somebody-else"


def is_refused(event: dict[str, object]) -> bool:
    status = event.get("responseStatus")
    return isinstance(status, dict) and 400 <= int(status.get("code") or 0) < 499
