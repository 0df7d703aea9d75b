"""The operator is killed again and again while objects come, change and go: nobody can tell afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from egressgateway.plan.names import CHILD_SELECTOR
from harness.controlplane import ControlPlane
from harness.gateways import (
    NAMESPACES,
    ChildName,
    Gateways,
    children,
    destination,
    in_parallel,
)
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.wait import eventually

pytestmark = pytest.mark.controlplane

SEED = 20261121
KILLS = 20
NAMESPACE_NAMES = [f"crash-{number}" for number in range(5)]
NAMES = [f"gateway-{number}" for number in range(10)]
LONG = 180.0
FLAGS = ("--no-leader-elect", "--push-grace-seconds", "0.2", "--log-level", "DEBUG")
"""Without a Lease, as a killed leader's would hold up its successor; `test_leader` is about that."""

MANAGED = dict([CHILD_SELECTOR.split("=")])
# What differs between two runs although nothing of ours does.
UNSTABLE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")

Step = Callable[[ControlPlane], object]


@pytest.fixture(scope="module")
def namespaces(plane: ControlPlane) -> list[str]:
    for name in NAMESPACE_NAMES:
        plane.rest.create(NAMESPACES, {"metadata": {"name": name}})
    return NAMESPACE_NAMES


@pytest.mark.timeout(600)
def test_killed_operator_leaves_what_an_undisturbed_one_does(
    plane: ControlPlane, namespaces: list[str], operator_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Killed (SIGKILL) at 20 random moments while 50 objects are applied, edited and deleted, the operator leaves the
    same objects, field by field, as one that nobody touched, and no orphans in between.
    """
    with OperatorProcess(operator_kubeconfig(plane), operator_log, *FLAGS):
        for step in story():
            step(plane)
        undisturbed = settled(plane)
        everything_deleted(plane)

    dice = random.Random(SEED)
    with capsys.disabled():
        print(f"\nkilling with the seed {SEED}: ", end="")
        disturbed = run_with_kills(plane, operator_log, dice)
    assert disturbed.keys() == undisturbed.keys()
    for name, each in undisturbed.items():
        assert disturbed[name] == each, name
    with OperatorProcess(operator_kubeconfig(plane), operator_log, *FLAGS):
        everything_deleted(plane)


def run_with_kills(plane: ControlPlane, log: Path, dice: random.Random) -> dict[str, str]:
    """The story in as many chapters as there are kills; each kill comes after a random number of writes."""
    steps = story()
    per_kill = -(-len(steps) // KILLS)
    for number in range(KILLS):
        operator = OperatorProcess(operator_kubeconfig(plane), log, *FLAGS).start(wait=False)
        in_parallel(lambda step: step(plane), steps[number * per_kill : (number + 1) * per_kill])
        moment = dice.randrange(0, 45)
        eventually(partial(has_written, operator, moment), timeout=LONG)
        operator.kill()
        print(moment, end=" ", flush=True)
    print()
    with OperatorProcess(operator_kubeconfig(plane), log, *FLAGS):
        return settled(plane)


def has_written(operator: OperatorProcess, count: int) -> bool:
    """Whether so many children were written or deleted by this process, or there is nothing left to write."""
    written = operator.log.read_text(errors="replace").count('"message": "Child ')
    return written >= count or (operator.answers("/readyz") and operator.is_idle(1))


def story() -> list[Step]:
    """What happens to the 50 objects; the same each time. Steps that follow one another may overlap."""
    keys = [(namespace, name) for namespace in NAMESPACE_NAMES for name in NAMES]
    dice = random.Random(SEED)
    edited = dice.sample(keys, 25)
    deleted = dice.sample(keys, 15)
    steps: list[Step] = [applied(key, destination("api", f"{key[1]}.example.com")) for key in keys]
    steps += [applied(key, *edit(key, number)) for number, key in enumerate(edited)]
    steps += [deleted_one(key) for key in deleted]
    return steps


def edit(key: tuple[str, str], number: int) -> list[Object]:
    """A host more, a port less, or another destination."""
    first = destination("api", f"{key[1]}.example.com")
    match number % 3:
        case 0:
            return [first, destination("more", f"more-{key[1]}.example.com")]
        case 1:
            return [destination("api", f"{key[1]}.example.com", ports=[{"port": 443, "protocol": "TLS"}])]
        case _:
            return [destination("other", f"other-{key[1]}.example.com")]


def applied(key: tuple[str, str], *destinations: Object) -> Step:
    return lambda plane: Gateways(plane, key[0]).apply(key[1], *destinations)


def deleted_one(key: tuple[str, str]) -> Step:
    return lambda plane: Gateways(plane, key[0]).delete(key[1])


def settled(plane: ControlPlane) -> dict[str, str]:
    """The state once all objects are Ready, deleted ones are gone and nothing changes any more."""
    for namespace in NAMESPACE_NAMES:
        gateways = Gateways(plane, namespace)

        def quiet(gateways: Gateways = gateways) -> bool:
            left = plane.rest.items(gateways.path())
            assert not any("deletionTimestamp" in each["metadata"] for each in left)
            return all(gateways.condition(each["metadata"]["name"], "Ready")["status"] == "True" for each in left)

        eventually(quiet, timeout=LONG, what=f"Ready objects in {namespace}")
    before: dict[str, str] = {}

    def unchanged() -> bool:
        nonlocal before
        last, before = before, state(plane)
        return last == before

    eventually(unchanged, timeout=LONG, what="a state that stays")
    return before


def state(plane: ControlPlane) -> dict[str, str]:
    """All children and EgressGateways as normalised JSON by name."""
    found: dict[str, str] = {}
    for namespace in NAMESPACE_NAMES:
        for each in plane.rest.items(Gateways(plane, namespace).path()):
            found[f"{namespace} EgressGateway {each['metadata']['name']}"] = normalised(each)
        for (kind, name), each in children_in(plane, namespace).items():
            found[f"{namespace} {kind} {name}"] = normalised(each)
    return found


def normalised(manifest: Object) -> str:
    """Without what the server counts, addresses that it hands out, times, and status other than ours."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in UNSTABLE}
    for owner in metadata.get("ownerReferences", []):
        owner["uid"] = ""
    metadata.get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    # The digest covers the owner's uid.
    metadata.get("annotations", {}).pop("egressgateway.dev/digest", None)
    spec = {key: value for key, value in manifest.get("spec", {}).items() if key not in ("clusterIP", "clusterIPs")}
    status = without_times(manifest["status"]) if manifest["kind"] == "EgressGateway" else None
    return json.dumps([metadata, spec, status], sort_keys=True)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("lastTransitionTime", "claimedAt", "since", "observedGeneration")
        return {key: without_times(each) for key, each in value.items() if key not in times}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def everything_deleted(plane: ControlPlane) -> None:
    """Delete all objects; nothing of theirs stays."""
    for namespace in NAMESPACE_NAMES:
        gateways = Gateways(plane, namespace)
        in_parallel(gateways.delete, [each["metadata"]["name"] for each in plane.rest.items(gateways.path())])
    for namespace in NAMESPACE_NAMES:
        eventually(partial(is_empty, plane, namespace), timeout=LONG, what="no object and no orphan")


def is_empty(plane: ControlPlane, namespace: str) -> bool:
    return not plane.rest.items(Gateways(plane, namespace).path()) and not children_in(plane, namespace)


def children_in(plane: ControlPlane, namespace: str) -> dict[ChildName, Object]:
    return children(plane, namespace, MANAGED)
