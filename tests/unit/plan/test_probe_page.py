"""The page from which the kubelet learns of probes stays while pods are asked for it, and comes for no other reason."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import parse_spec
from egressgateway.live.children import LiveChildren
from egressgateway.names import workload_name
from egressgateway.plan.pods.workload import GATE_PORT, has_gate, probes_name
from egressgateway.refs import Key, Manifest, ObjectRef

KEY = Key("payments", "partners")
ASKS = {"readinessProbe": {"httpGet": {"port": GATE_PORT}}}
CHECK, PAGE = {"applyTo": "CLUSTER"}, {"applyTo": "LISTENER"}


def deployment(*containers: dict[str, Any], updated: int = 2) -> Manifest:
    return {
        "metadata": {"generation": 3},
        "spec": {"template": {"spec": {"containers": [*containers]}}},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": updated},
    }


def page_is_planned(workload: Manifest | None, *patches: dict[str, Any], gates: str | None = None) -> bool:
    """For an object with one probe, whose EnvoyFilter has these patches now; without any there is none."""
    probe = {"path": "/healthz", **({"gates": gates} if gates else {})}
    ports = [{"port": 80, "protocol": "HTTP"}]
    spec = parse_spec({"destinations": [{"name": "api", "hosts": ["api.example.com"], "ports": ports, "probe": probe}]})
    assert isinstance(spec, EgressGatewaySpec)
    objects: dict[ObjectRef, Manifest] = {}
    if workload is not None:
        objects[ObjectRef("Deployment", KEY.namespace, workload_name(KEY))] = workload
    if patches:
        objects[ObjectRef("EnvoyFilter", KEY.namespace, probes_name(KEY))] = {"spec": {"configPatches": [*patches]}}
    live = LiveChildren(KEY, objects, {}, (), (), (), (), clients_pushed=True)
    return has_gate(spec, live)


@pytest.mark.parametrize("workload", [None, deployment({}), deployment({}, updated=1)])
def test_pods_that_are_rolled_get_no_page_for_that(workload: Manifest | None) -> None:
    """A rollout for another reason, as an upgrade makes it, would write the EnvoyFilter twice."""
    assert not page_is_planned(workload, CHECK)
    assert not page_is_planned(workload)


def test_page_stays_until_no_pod_is_asked() -> None:
    assert page_is_planned(deployment(ASKS), CHECK, PAGE)
    assert page_is_planned(deployment({}, updated=1), CHECK, PAGE), "old pods are still asked"
    assert not page_is_planned(deployment({}), CHECK, PAGE)


def test_page_comes_with_a_gate() -> None:
    assert page_is_planned(None, gates="Readiness")
