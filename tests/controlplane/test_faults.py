"""
Everything between the operator and the API server goes wrong, on purpose: it converges, and never makes a hot loop.

A proxy stands in between. It breaks what a rule says and remembers each request, so the rate of requests is counted and
not guessed. Bounds on it are far below a loop's thousands a second, and a slow machine only lowers the rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest

from harness.controlplane import ControlPlane
from harness.faultproxy import FaultProxy, Record
from harness.faults import WRITES, Answer, Effect, Empty, Reset, Rule
from harness.gateways import CLIENTS, NAMESPACES, Gateways, destination, in_parallel
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

TROUBLE_SECONDS = 10.0
"""How long every write fails: waits have doubled five times by then."""

PATIENT = 3 * CONVERGE
OBJECTS = [f"gateway-{number}" for number in range(5)]
REQUESTS_PER_SECOND = 60
"""What 5 failing objects, 14 informers, kopf and the Lease may ask for together; a loop asks for 1,000."""

_namespaces = count()


@pytest.fixture(scope="module")
def proxy(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    with FaultProxy(operator_kubeconfig(plane), tmp_path_factory.mktemp("proxy") / "kubeconfig") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One process for all faults: each of them must leave it fit for the next. Its Lease outlasts an outage."""
    log = tmp_path_factory.mktemp("operator") / "log"
    flags = ("--lease-seconds", "90", "--push-grace-seconds", "0.3")
    with OperatorProcess(proxy.kubeconfig, log, *flags) as operator:
        eventually(lambda: operator.leads, what="a leader")
        yield operator


@pytest.fixture
def gateways(plane: ControlPlane, operator: OperatorProcess, proxy: FaultProxy) -> Iterator[Gateways]:
    """A namespace of the test's own; afterwards no fault is left, and the operator lives and keeps up."""
    namespace = f"faults-{next(_namespaces)}"
    plane.rest.create(NAMESPACES, {"metadata": {"name": namespace}})
    gateways = Gateways(plane, namespace)
    proxy.forget()
    yield gateways
    proxy.heal()
    pid = operator.pid
    gateways.apply("afterwards")
    gateways.wait_ready("afterwards", timeout=PATIENT)
    assert operator.running
    assert operator.pid == pid
    plane.rest.delete(f"{NAMESPACES}/{namespace}")


class TestWrites:
    """Writes fail, one way or the other."""

    @pytest.mark.parametrize(
        "effect",
        [
            Answer(500),
            Answer(503),
            Answer(429, retry_after_seconds=1),
            Answer(409),
            Answer(410),
            Reset("before"),
            Reset("after"),
        ],
        ids=str,
    )
    def test_every_third_write_fails(self, gateways: Gateways, proxy: FaultProxy, effect: Effect) -> None:
        """With every third write lost for a while, all objects get to Ready, are edited, and leave nothing behind."""
        with proxy.injected(
            Rule(effect, methods=WRITES, path="egressgateway|istio|-egress", every=3, count=15)
        ) as injection:
            in_parallel(gateways.apply, OBJECTS)
            gateways.wait_ready(*OBJECTS, timeout=PATIENT)
            in_parallel(lambda name: gateways.apply(name, destination("other", f"{name}.example.org")), OBJECTS)
            gateways.wait_ready(*OBJECTS, timeout=PATIENT)
            for name in OBJECTS:
                parts = {child["metadata"]["labels"].get("egressgateway.dev/part") for child in clients(gateways, name)}
                assert parts == {"other"}
            in_parallel(gateways.delete, OBJECTS)
            gateways.wait_gone(*OBJECTS, timeout=PATIENT)
        assert injection.hits > len(OBJECTS)
        assert rate(proxy.requests) < REQUESTS_PER_SECOND

    def test_no_write_succeeds_for_a_while(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """While all writes fail, each object is tried ever more seldom; healed, all get to Ready."""
        with proxy.injected(Rule(Answer(500), methods=WRITES)):
            in_parallel(gateways.apply, OBJECTS)
            passed(TROUBLE_SECONDS)
            asked = [each for each in proxy.requests if each.write and "/leases/" not in each.path]
        assert asked
        # Waits double from 0.2 s: an object has a dozen attempts in ten minutes, each with the ten writes of a stage.
        assert len(asked) < len(OBJECTS) * 10 * 12
        gateways.wait_ready(*OBJECTS, timeout=PATIENT)

    def test_throttled_operator_waits_as_long_as_told(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """After 429 with Retry-After nothing but the Lease asks for anything until then."""
        rule = Rule(Answer(429, retry_after_seconds=3), methods=WRITES, path="egressgateways/", count=1)
        with proxy.injected(rule) as injection:
            gateways.apply("partners")
            eventually(lambda: injection.hits == 1, what="the refusal")
            gateways.wait_ready("partners", timeout=PATIENT)
        records = proxy.requests
        refused = next(each for each in records if each.injected)
        pause = [each for each in records if refused.at + 0.1 < each.at < refused.at + 2.9]
        assert [each.path for each in pause if each.write and "/leases/" not in each.path] == []

    def test_lost_status_is_written_in_the_end(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """Of the writes of a status the first ten are lost without a word: the last state is told nevertheless."""
        rule = Rule(Reset("before"), methods=WRITES, path="egressgateways/[^/]+/status", count=10)
        with proxy.injected(rule) as injection:
            gateways.apply("partners")
            gateways.wait_ready("partners", timeout=PATIENT)
            gateways.cluster.set_ready(False, gateways.namespace)
            gateways.wait("partners", "Ready", "False", "GatewayNotReady", timeout=PATIENT)
            gateways.cluster.set_ready(True, gateways.namespace)
            gateways.wait_ready("partners", timeout=PATIENT)
        assert injection.hits == 10


class TestWatches:
    """Watches end in all ways that they can end."""

    def test_cut_watches_miss_nothing(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """Cut again and again while objects come and children are deleted, nothing gets lost."""
        for name in OBJECTS:
            gateways.apply(name)
            assert proxy.cut_watches() >= 0
        gateways.wait_ready(*OBJECTS, timeout=PATIENT)
        for name in OBJECTS:
            proxy.cut_watches()
            gateways.cluster.rest.delete(gateways.child_path(("Gateway", f"{name}-egress")))
        for name in OBJECTS:
            eventually(partial(exists, gateways, name), timeout=PATIENT, what="the deleted Gateway")
        assert rate(proxy.requests) < REQUESTS_PER_SECOND

    def test_expired_watches_list_again(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """After 410 everything is listed anew; an object deleted meanwhile leaves nothing."""
        in_parallel(gateways.apply, OBJECTS)
        gateways.wait_ready(*OBJECTS, timeout=PATIENT)
        with proxy.injected(Rule(Answer(410), watches=True, count=30)):
            assert proxy.expire_watches() > 0
            in_parallel(gateways.delete, OBJECTS[1:])
            gateways.cluster.rest.delete(gateways.child_path(("Gateway", f"{OBJECTS[0]}-egress")))
            eventually(lambda: exists(gateways, OBJECTS[0]), timeout=PATIENT, what="the deleted Gateway")
            gateways.wait_gone(*OBJECTS[1:], timeout=PATIENT)
        assert rate(proxy.requests) < REQUESTS_PER_SECOND

    @pytest.mark.parametrize("effect", [Empty(), Answer(200), Answer(404), Reset("before")], ids=str)
    def test_watches_that_end_at_once_make_no_loop(self, gateways: Gateways, proxy: FaultProxy, effect: Effect) -> None:
        """Watches that end without an event, with nonsense or with a refusal are asked for ever more seldom."""
        with proxy.injected(Rule(effect, watches=True)) as injection:
            proxy.cut_watches()
            proxy.forget()
            eventually(lambda: injection.hits >= 20, timeout=PATIENT, what="twenty watches that ended")
            assert rate(proxy.requests) < REQUESTS_PER_SECOND
        gateways.apply("partners")
        gateways.wait_ready("partners", timeout=PATIENT)

    def test_stalled_watches_come_back(self, gateways: Gateways, proxy: FaultProxy) -> None:
        """Connections that are open and silent hold up what happens meanwhile, and nothing of it is lost."""
        gateways.apply("partners")
        gateways.wait_ready("partners", timeout=PATIENT)
        assert proxy.stall_watches() > 0
        gateways.cluster.rest.delete(gateways.child_path(("Gateway", "partners-egress")))
        gateways.apply("other")
        proxy.heal()
        eventually(lambda: exists(gateways, "partners"), timeout=PATIENT, what="the deleted Gateway")
        gateways.wait_ready("partners", "other", timeout=PATIENT)


def passed(seconds: float) -> None:
    """Trouble lasts as long as it lasts: the one thing here that time alone ends."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end, timeout=2 * seconds + 10)


def rate(records: list[Record]) -> float:
    """Requests a second over the whole time of `records`; short bursts of work are no loop."""
    return len(records) / max(records[-1].at - records[0].at, 10.0)


def exists(gateways: Gateways, name: str) -> bool:
    return gateways.cluster.rest.exists(gateways.child_path(("Gateway", f"{name}-egress")))


def clients(gateways: Gateways, name: str) -> list[dict[str, dict[str, dict[str, str]]]]:
    return list(gateways.children(name, **CLIENTS).values())
