"""
Every alert over an hour of recorded figures: it fires where somebody has to act, names who, and nowhere else.

Statuses are those that the operator itself writes in such a state (golden cases), figures are its own /metrics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from egressgateway.api.conditions import Actor, Reason
from egressgateway.refs import Key
from egressgateway.status.causes import causes
from gitops.states import gateway_states
from harness.helm import CHART
from unit.chart.recordings import JOB, Fired, Recording, Replica, judge
from unit.golden.cases import run_named, state_names

GROUPS: Final = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
RULES: Final = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
OBJECT: Final = Key("shop", "partners")
WELL: Final = Key("shop", "well")
READY: Final = gateway_states()["ready"]["status"]
NO_POD: Final = gateway_states()["no-pod-left"]["status"]
HOUR: Final = 60

Judge = Callable[[Recording, Mapping[int, Sequence[Fired]]], None]


@pytest.fixture
def agreed(promtool: Path, tmp_path: Path) -> Judge:
    """Fails with promtool's words unless exactly these alerts fire at these minutes."""

    def check(recording: Recording, fired: Mapping[int, Sequence[Fired]]) -> None:
        assert recording.minutes > max(fired)
        words = judge(promtool, tmp_path, GROUPS, recording, fired)
        assert not words, words

    return check


def pair() -> tuple[Recording, Replica, Replica]:
    """A leader and a standby, as the chart installs them; both know an object that is well."""
    leader, standby = Replica("a", leads=True), Replica("b")
    leader.metrics.status(WELL, READY)
    # A replica that does not lead hears of every object, and takes nothing out of its queue.
    standby.queue.add(WELL)
    return Recording(leader, standby), leader, standby


async def play(recording: Recording, leader: Replica, minutes: int = HOUR + 1, *, result: str = "done") -> None:
    """Everyday work of the leader: twenty reconciles a minute."""
    for _ in range(minutes):
        for _ in range(20):
            await leader.reconcile(WELL, result)
        recording.minute()


def of_object(name: str, reason: str = "", **labels: str) -> Fired:
    given = {"namespace": OBJECT.namespace, "name": OBJECT.name, **labels}
    return name, {**given, **({"reason": reason} if reason else {})}


async def test_healthy_pair_of_replicas_is_silent_for_an_hour(agreed: Judge) -> None:
    """A standby whose queue only grows older is no stuck queue."""
    recording, leader, standby = pair()
    await play(recording, leader)
    assert standby.queue.oldest_seconds() > 3600
    agreed(recording, dict.fromkeys(range(0, HOUR + 1, 10), ()))


async def test_change_of_the_leader_is_silent(agreed: Judge) -> None:
    """For a scrape nobody leads; then the other one says all that is known."""
    recording, leader, standby = pair()
    await play(recording, leader, 30)
    leader.metrics.leads(False)
    recording.minute()
    standby.metrics.leads(True)
    assert await standby.queue.get() == WELL
    standby.queue.done(WELL)
    standby.metrics.status(WELL, READY)
    await play(recording, standby, 30)
    agreed(recording, dict.fromkeys(range(0, HOUR + 1, 5), ()))


async def test_outage_of_the_api_server_is_an_operator_that_is_down(agreed: Judge) -> None:
    """Nobody can lead; one alert says so, and ends with it."""
    recording, leader, standby = pair()
    await play(recording, leader, 20)
    leader.metrics.leads(False)
    standby.queue.add(OBJECT)
    for _ in range(20):
        recording.minute()
    leader.metrics.leads(True)
    leader.metrics.status(WELL, READY)
    await play(recording, leader, 21)
    down: Fired = ("EgressGatewayOperatorDown", {"job": JOB})
    agreed(recording, {19: (), 24: (), 26: (down,), 39: (down,), 41: (), HOUR: ()})


async def test_no_replica_at_all_is_an_operator_that_is_down(agreed: Judge) -> None:
    """With no series left there is no job to name."""
    recording, leader, standby = pair()
    await play(recording, leader, 20)
    leader.scraped = standby.scraped = False
    await play(recording, leader, 41)
    agreed(recording, {19: (), HOUR: (("EgressGatewayOperatorDown", {}),)})


async def test_two_that_lead_are_told(agreed: Judge) -> None:
    recording, leader, standby = pair()
    standby.metrics.leads(True)
    standby.metrics.status(WELL, READY)
    assert await standby.queue.get() == WELL
    await play(recording, leader)
    agreed(recording, {HOUR: (("EgressGatewayTwoLeaders", {"job": JOB}),)})


async def test_queue_of_a_leader_that_takes_nothing_out_is_stuck(agreed: Judge) -> None:
    """Whatever the standby's looks like."""
    recording, leader, _ = pair()
    leader.queue.add(OBJECT)
    for _ in range(HOUR + 1):
        recording.minute()
    agreed(recording, {5: (), HOUR: (("EgressGatewayQueueStuck", {}),)})


async def test_reconciles_that_fail_are_told_by_their_share(agreed: Judge) -> None:
    """One in twenty is everyday, all of them are not."""
    recording, leader, _ = pair()
    for _ in range(HOUR):
        await leader.reconcile(OBJECT, "error")
        await play(recording, leader, 1)
    await play(recording, leader, 31, result="error")
    agreed(recording, {HOUR - 1: (), HOUR + 30: (("EgressGatewayReconcileErrors", {}),)})


async def test_repairs_without_an_end_are_drift(agreed: Judge) -> None:
    """A repair now and then is what the operator is for."""
    recording, leader, _ = pair()
    for minute in range(HOUR + 1):
        if minute % 10 == 0:
            leader.metrics.drift_corrected("Service")
        for _ in range(3):
            leader.metrics.drift_corrected("VirtualService")
        await play(recording, leader, 1)
    agreed(recording, {HOUR: (("EgressGatewayDrift", {"kind": "VirtualService"}),)})


async def test_loss_of_every_pod_is_an_outage_after_two_minutes(agreed: Judge) -> None:
    """The one alert about an object that wakes somebody; it ends when a pod is back."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, READY)
    await play(recording, leader, 10)
    leader.metrics.status(OBJECT, NO_POD)
    await play(recording, leader, 30)
    leader.metrics.status(OBJECT, READY)
    await play(recording, leader, 21)
    lost = of_object("EgressGatewayOutage")
    unready = of_object("EgressGatewayNotReady", "GatewayNotReady")
    agreed(recording, {9: (), 13: (lost,), 39: (lost, unready), 41: (), HOUR: ()})


async def test_outage_is_told_by_a_new_leader_and_beside_a_typo(agreed: Judge) -> None:
    """What stands in the spec hides no outage, and the figures of the replica that saw the pods may be gone."""
    recording, leader, standby = pair()
    leader.metrics.status(OBJECT, READY)
    await play(recording, leader, 10)
    leader.metrics.leads(False)
    leader.scraped = False
    standby.metrics.leads(True)
    assert await standby.queue.get() == WELL
    standby.queue.done(WELL)
    typo = {**NO_POD, "conditions": [_refused(each) for each in NO_POD["conditions"]]}
    standby.metrics.status(OBJECT, typo)
    await play(recording, standby, 51)
    lost = of_object("EgressGatewayOutage")
    waits = of_object("EgressGatewayNotReady", "GatewayNotReady")
    agreed(recording, {HOUR: (lost, waits, of_object("EgressGatewayAuthorMustAct", "UnsupportedValue"))})


def _refused(condition: dict[str, Any]) -> dict[str, Any]:
    if condition["type"] not in ("Accepted", "Ready"):
        return condition
    return {**condition, "status": "False", "reason": "UnsupportedValue"}


async def test_certificate_that_ends_within_a_week_is_told_until_it_is_renewed(agreed: Judge) -> None:
    """Not one that ends in a month, nor a destination that its author lets end. Figures begin at the clock's zero."""
    recording, leader, _ = pair()
    soon = {"at": "1970-01-07T00:00:00Z", "secret": "client", "key": "tls.crt"}
    later = {**soon, "at": "1970-02-01T00:00:00Z"}
    leader.metrics.status(OBJECT, {**READY, "expirations": [soon, later]})
    leader.metrics.status(WELL, {**READY, "expirations": [later, {"at": "1970-01-02T00:00:00Z", "destination": "x"}]})
    await play(recording, leader, 30)
    leader.metrics.status(OBJECT, {**READY, "expirations": [later]})
    await play(recording, leader, 31)
    agreed(recording, {9: (), 29: (of_object("EgressGatewayCertificateExpires"),), 31: (), HOUR: ()})


async def test_gateway_whose_pods_never_started_is_no_outage(agreed: Judge) -> None:
    """Nobody is sent to it."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, NO_POD)
    await play(recording, leader)
    agreed(recording, {9: (), HOUR: (of_object("EgressGatewayNotReady", "GatewayNotReady"),)})


async def test_destination_that_does_not_answer_its_probe_is_named(agreed: Judge) -> None:
    """The object is Ready: it is not the gateway."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, READY)
    leader.metrics.reachable(OBJECT, {"bank": "False", "httpbin": "True", "new": "Unknown"})
    await play(recording, leader)
    agreed(recording, {9: (), HOUR: (of_object("EgressGatewayDestinationUnreachable", destination="bank"),)})


async def test_hosts_of_others_are_told_to_the_team_and_counted(agreed: Judge) -> None:
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, gateway_states()["host-of-another-object"]["status"])
    leader.metrics.host_conflicts(OBJECT, 2)
    await play(recording, leader)
    told = of_object("EgressGatewayAuthorMustAct", "HostConflict")
    agreed(recording, {9: (), HOUR: (("EgressGatewayHostConflict", {}), told)})


async def test_object_that_is_gone_is_told_of_no_more(agreed: Judge) -> None:
    """Its series go with it, in an outage too."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, READY)
    await play(recording, leader, 10)
    leader.metrics.status(OBJECT, NO_POD)
    await play(recording, leader, 20)
    leader.metrics.forget(OBJECT)
    await play(recording, leader, 31)
    agreed(
        recording,
        {29: (of_object("EgressGatewayOutage"), of_object("EgressGatewayNotReady", "GatewayNotReady")), 31: ()},
    )


AUTHOR, PLATFORM = "EgressGatewayAuthorMustAct", "EgressGatewayNotReady"
STATES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "cannot-be-done": ((AUTHOR, "UnsupportedValue"),),
    "class-missing": ((AUTHOR, "ClassNotFound"),),
    "deleted": (),
    "deleted-but-stuck": ((PLATFORM, "ApplyFailed"),),
    "edited": (),
    "failure-of-the-operator": ((PLATFORM, "InternalError"),),
    "host-lost-but-serving": ((AUTHOR, "HostConflict"),),
    "host-of-another-object": ((AUTHOR, "HostConflict"),),
    "moving-clients-to-a-new-way": ((PLATFORM, "Pending"),),
    "name-taken-by-a-foreign-object": ((AUTHOR, "ResourceConflict"),),
    "new": ((PLATFORM, "Pending"),),
    "no-pod-left": ((PLATFORM, "GatewayNotReady"),),
    "on-its-way": ((PLATFORM, "GatewayNotReady"),),
    "ready": (),
    "ready-one-destination-expired": (),
    "refused": ((AUTHOR, "NamespaceNotAllowed"),),
    "resumed": (),
    "route-of-somebody-else": ((PLATFORM, "RouteConflict"),),
    "secret-missing": ((AUTHOR, "SecretNotFound"),),
    "suspended": (),
    "suspended-from-the-start": ((AUTHOR, "Suspended"),),
}
"""What an hour in a state makes of it. What a tenant can bring about by a mistake of his is his."""


def test_every_state_is_listed() -> None:
    """A new one has to be thought about."""
    assert STATES.keys() == gateway_states().keys()


@pytest.mark.parametrize("state", STATES)
async def test_state_is_told_to_whoever_has_to_act(agreed: Judge, state: str) -> None:
    """After ten minutes, and to nobody else."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, gateway_states()[state]["status"])
    await play(recording, leader, 31)
    agreed(recording, {9: (), 30: [of_object(name, reason) for name, reason in STATES[state]]})


@pytest.mark.parametrize(
    ("case", "reason"), [("invalid-spec", "Invalid"), ("originate-secret-expired", "SecretInvalid")]
)
async def test_typo_and_expired_certificate_are_the_teams(agreed: Judge, case: str, reason: str) -> None:
    """An info with the namespace: nobody of the platform can mend them."""
    recording, leader, _ = pair()
    leader.metrics.status(OBJECT, run_named(case).status)
    await play(recording, leader, 31)
    assert RULES[AUTHOR]["labels"] == {"severity": "info"}
    agreed(recording, {9: (), 30: (of_object(AUTHOR, reason),)})


async def test_typo_in_a_new_object_is_the_teams_alone(agreed: Judge) -> None:
    """
    Its gateway has no pod, for nothing is asked of it: that is no second cause, and nobody of the platform's business.

    Seen on a control plane, with a class that does not exist.
    """
    recording, leader, _ = pair()
    state = gateway_states()["class-missing"]["status"]
    unready = {**NO_POD["destinations"][0]["conditions"][-1], "type": "Steered"}
    assert unready["reason"] == "GatewayNotReady"
    parts = [
        {**part, "conditions": [unready if each["type"] == "Steered" else each for each in part["conditions"]]}
        for part in state["destinations"]
    ]
    leader.metrics.status(OBJECT, {**state, "destinations": parts, "gateway": None})
    await play(recording, leader, 31)
    agreed(recording, {9: (), 30: (of_object(AUTHOR, "ClassNotFound"),)})


@pytest.mark.parametrize("case", state_names())
def test_every_object_that_is_not_ready_has_a_cause(case: str) -> None:
    """Or no alert would ever tell of it; and one that is ready has none."""
    status = run_named(case).status
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert bool(causes(status)) == (ready["status"] != "True")


def test_every_cause_is_told_by_one_alert() -> None:
    """Of the two that tell of causes exactly one takes each pair of reason and actor."""
    selectors = {name: re.findall(r"not_ready_cause\{(.*?)\}", RULES[name]["expr"]) for name in (AUTHOR, PLATFORM)}
    for reason in Reason:
        for actor in Actor:
            telling = [
                name for name, found in selectors.items() if any(_selects(each, reason, actor) for each in found)
            ]
            assert len(telling) == 1, (reason, actor, telling)


def _selects(selector: str, reason: str, acts: str) -> bool:
    """Prometheus' matchers, by the labels `reason` and `acts`."""
    given = {"reason": reason, "acts": acts}
    route_statuses = {
        "=": lambda value, wanted: value == wanted,
        "!=": lambda value, wanted: value != wanted,
        "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
        "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
    }
    matchers = re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', selector)
    assert matchers
    return all(route_statuses[how](given[label], wanted) for label, how, wanted in matchers)


def test_severities_say_who_is_woken() -> None:
    """An outage and an operator that is down; never by what a tenant alone can bring about."""
    by_severity: dict[str, set[str]] = {}
    for name, rule in RULES.items():
        by_severity.setdefault(rule["labels"]["severity"], set()).add(name)
    assert by_severity["critical"] == {"EgressGatewayOutage", "EgressGatewayOperatorDown", "EgressGatewayTwoLeaders"}
    assert {AUTHOR, "EgressGatewayHostConflict", "EgressGatewayDestinationUnreachable"} <= by_severity["info"]
