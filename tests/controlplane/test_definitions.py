"""CustomResourceDefinitions that are older than the operator: it works, and says what the API server drops."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Final

import pytest

from harness.controlplane import ControlPlane
from harness.gateways import NAMESPACES, Gateways
from harness.kinds import DEFINITIONS
from harness.operator import OperatorProcess
from harness.release import operator_kubeconfig
from harness.rest import Object
from harness.wait import eventually

pytestmark = pytest.mark.controlplane

NAME: Final = "egressgateways.egressgateway.dev"
PATH: Final = f"{DEFINITIONS}/{NAME}"
SERIES: Final = f'egressgateway_crd_missing_fields{{crd="{NAME}"}}'


@pytest.fixture
def operator(control_plane: ControlPlane, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(operator_kubeconfig(control_plane), tmp_path / "log") as operator:
        eventually(lambda: operator.leads, what="a leader")
        yield operator


def before_consumers_and_probes(present: Object) -> Object:
    """The definition as it was when statuses had no `consumers` and destinations no `probe`."""
    former = deepcopy(present)
    [version] = former["spec"]["versions"]
    parts = version["schema"]["openAPIV3Schema"]["properties"]
    del parts["status"]["properties"]["consumers"]
    destination = parts["spec"]["properties"]["destinations"]["items"]
    del destination["properties"]["probe"]
    # Its rules may name no field that it does not have.
    rules = destination.get("x-kubernetes-validations", ())
    destination["x-kubernetes-validations"] = [each for each in rules if "probe" not in each["rule"]]
    return former


def replace(plane: ControlPlane, definition: Object) -> None:
    plane.rest.merge(PATH, {"spec": {"versions": definition["spec"]["versions"]}})


def told(operator: OperatorProcess) -> str:
    """What /readyz, whose answer is 200, says of the definition; empty if nothing."""
    return next((line for line in operator.get("/readyz").splitlines() if NAME in line), "")


def test_fields_that_are_dropped_are_named_while_they_are(
    control_plane: ControlPlane, operator: OperatorProcess
) -> None:
    """As soon as the definition changes, and until it is as new again; what both know works meanwhile."""
    eventually(lambda: SERIES in operator.get("/metrics"), what="a look at the definition")
    assert told(operator) == ""

    present = control_plane.rest.get(PATH)
    replace(control_plane, before_consumers_and_probes(present))
    eventually(lambda: operator.metric(SERIES) == 2, what="the count of missing fields")
    assert "status.consumers" in told(operator)
    assert "spec.destinations[].probe" in told(operator)
    assert "is older than the operator" in operator.log.read_text()

    control_plane.rest.create(NAMESPACES, {"metadata": {"name": "meanwhile"}})
    gateways = Gateways(control_plane, "meanwhile")
    gateways.apply("partners")
    gateways.wait_ready("partners")
    assert "consumers" not in gateways.get("partners")["status"]

    replace(control_plane, present)
    eventually(lambda: operator.metric(SERIES) == 0, what="a definition as new as the operator")
    assert told(operator) == ""


def test_definition_is_looked_at_by_every_replica(control_plane: ControlPlane, tmp_path: Path) -> None:
    """From its start on: one that does not lead may be the next."""
    present = control_plane.rest.get(PATH)
    replace(control_plane, before_consumers_and_probes(present))
    try:
        account = operator_kubeconfig(control_plane)
        with OperatorProcess(account, tmp_path / "leader") as leader:
            eventually(lambda: leader.leads, what="a leader")
            with OperatorProcess(account, tmp_path / "standby") as standby:
                eventually(lambda: "status.consumers" in told(standby), what="a word on the definition")
                assert not standby.leads
    finally:
        replace(control_plane, present)
