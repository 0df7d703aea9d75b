"""
Without a right to look, nothing is said that rests on what would be seen: no condition of a new object is True until
the operator has the right, and all of them are with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Final

import pytest

from harness import release
from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways
from harness.objects import apply_all
from harness.operator import OperatorProcess
from harness.rest import Object
from harness.wait import CONVERGE, eventually

pytestmark = pytest.mark.controlplane

APISIX: Final = {"apisix": {"enabled": True}}
"""Its kinds are served in this cluster, and so are watched."""

LOOKS: Final = {"list", "watch"}

KINDS: Final = {
    "namespaces": "whose clients there are",
    "deployments": "which pods serve",
    "virtualservices": "which routes there are, of ours and of others",
    "serviceentries": "which hosts clients know",
    "destinationrules": "what takes the hop",
    "sidecars": "what clients' proxies learn of",
}
"""Kinds that conditions rest on, and what is seen in them."""


@pytest.fixture(scope="module")
def kubeconfig(plane: ControlPlane) -> Path:
    return release.operator_kubeconfig(plane)


@pytest.fixture(params=KINDS)
def missing(plane: ControlPlane, kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A kind that the operator may write, as far as it writes it, and not look at."""
    assert kubeconfig.exists()
    apply_all(plane, [without(request.param, each) for each in release.rights(APISIX)])
    yield request.param
    apply_all(plane, release.rights(APISIX))


def without(kind: str, role: Object) -> Object:
    """`role` without the right to look at a kind."""
    changed = deepcopy(role)
    if "rules" not in changed:
        return changed
    rules = []
    for rule in changed["rules"]:
        others = [each for each in rule["resources"] if each != kind]
        rules += [{**rule, "resources": others}] if others else []
        verbs = [verb for verb in rule["verbs"] if verb not in LOOKS]
        rules += [{**rule, "resources": [kind], "verbs": verbs}] if kind in rule["resources"] and verbs else []
    return {**changed, "rules": rules}


def test_nothing_is_true_without_a_look(
    plane: ControlPlane, kubeconfig: Path, missing: str, operator_log: Path
) -> None:
    gateways = Gateways(plane, f"without-{missing}")
    plane.rest.create(NAMESPACES, {"metadata": {"name": gateways.namespace}})
    operator = OperatorProcess(kubeconfig, operator_log)
    operator.start(wait=False)
    try:
        gateways.apply("partners")
        eventually(lambda: is_refused(operator, missing), what=f"a word about {missing} in the log")
        assert true_of(gateways.get("partners")) == set()
        apply_all(plane, release.rights(APISIX))
        gateways.wait_ready("partners", timeout=3 * CONVERGE)
        assert true_of(gateways.get("partners")) >= {"Ready", "api/Steered"}
    finally:
        operator.stop()
    gateways.delete("partners")


def is_refused(operator: OperatorProcess, kind: str) -> bool:
    lines = operator.log.read_text(errors="replace").splitlines()
    return any(kind in line and "forbidden" in line.lower() for line in lines)


def true_of(gateway: Object) -> set[str]:
    status = gateway.get("status") or {}
    found = {each["type"] for each in status.get("conditions") or () if each["status"] == "True"}
    for part in status.get("destinations") or ():
        found |= {f"{part['name']}/{each['type']}" for each in part["conditions"] if each["status"] == "True"}
    return found - {"Reconciling", "Stalled"}
