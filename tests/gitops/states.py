"""
Every state that a tool may find an object in, as the operator itself writes it.

The statuses come from the golden cases and from `status`, never from a test's imagination.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import yaml

from egressgateway.api.conditions import OBJECT_CONDITIONS, ConditionType
from egressgateway.api.objects import parse_class
from egressgateway.api.status import initial_status
from egressgateway.engine.process.classes import judge_class
from egressgateway.facts import WorkloadFacts
from egressgateway.status.merge import broken_status, class_status, stuck_status, suspended_status
from unit.golden.cases import CREATED, case_named, case_names, run

Object = dict[str, Any]
LATER = CREATED + timedelta(hours=1)
DELETED = {"deletionTimestamp": "2026-01-01T01:00:00Z", "finalizers": ["egressgateway.dev/withdraw"]}

FROM_CASES = {
    "on-its-way": "first-pass-holds-clients",
    "ready": "steady-state",
    "ready-one-destination-expired": "expired-not-counted",
    "refused": "namespace-not-allowed-withdraws",
    "cannot-be-done": "unsupported-values",
    "class-missing": "class-missing-keeps-everything",
    "host-of-another-object": "host-conflict-before-the-first-child",
    "host-lost-but-serving": "host-conflict-keeps-running",
    "secret-missing": "originate-secret-missing",
    "name-taken-by-a-foreign-object": "foreign-object-left-alone",
    "route-of-somebody-else": "route-of-somebody-else",
    "moving-clients-to-a-new-way": "port-changed-make-before-break",
}
"""State: golden case whose status is that state."""


def gateway_states() -> dict[str, Object]:
    """EgressGateways by the name of their state."""
    return {name.replace("_", "-"): each for name, each in sorted(_gateway_states())}


def _gateway_states() -> Iterator[tuple[str, Object]]:
    for state, case in FROM_CASES.items():
        yield state, _of_case(case)
    ready = _of_case("steady-state")
    status = ready["status"]
    new = initial_status(*OBJECT_CONDITIONS)
    yield "new", _with(ready, status=new)
    yield "edited", _with(ready, generation=2)
    yield "suspended", _with(ready, suspend=True, status=suspended_status(status, 1, LATER))
    yield "suspended-from-the-start", _with(ready, suspend=True, status=suspended_status(new, 1, LATER))
    yield "resumed", _with(ready, generation=2, status=suspended_status(status, 1, LATER))
    yield "no-pod-left", _of_case("steady-state", workload=WorkloadFacts(replicas=2, ready=0, complete=True))
    yield "deleted", _with(ready, metadata=DELETED)
    stuck = stuck_status(status, 1, LATER, "VirtualService partners-httpbin: the server answered 403")
    yield "deleted-but-stuck", _with(ready, metadata=DELETED, status=stuck)
    yield "failure-of-the-operator", _with(ready, status=broken_status(status, 1, LATER, ValueError("a bug")))


def class_states() -> dict[str, Object]:
    """EgressGatewayClasses by the name of their state."""
    manifest = {
        "apiVersion": "egressgateway.dev/v1alpha1",
        "kind": "EgressGatewayClass",
        "metadata": {"name": "standard", "generation": 1},
        "spec": {"allowedHosts": ["*.partner.example"]},
    }
    flawed = {**manifest, "spec": {"provider": "APISIX"}}
    return {
        "new": {**manifest, "status": initial_status(ConditionType.ACCEPTED)},
        "accepted": _judged(manifest),
        "edited": _with(_judged(manifest), generation=2),
        "invalid": _judged(flawed),
    }


def _judged(manifest: Object) -> Object:
    return {**manifest, "status": class_status({}, judge_class(parse_class(manifest)), 1, 1, CREATED)}


def _of_case(name: str, workload: WorkloadFacts | None = None) -> Object:
    assert name in case_names()
    case = case_named(name)
    result = run(replace(case, workload=workload) if workload else case)
    metadata = {**case.gateway["metadata"], "generation": 1}
    head = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", "metadata": metadata}
    return plain({**head, "spec": case.gateway["spec"], "status": result.status})


def _with(
    manifest: Object,
    *,
    generation: int = 1,
    status: Object | None = None,
    suspend: bool = False,
    metadata: Object | None = None,
) -> Object:
    spec = {**manifest["spec"], "suspend": True} if suspend else manifest["spec"]
    head = {**manifest["metadata"], "generation": generation, **(metadata or {})}
    return plain({**manifest, "metadata": head, "spec": spec, "status": status or manifest["status"]})


def plain(value: Any) -> Any:
    """`value` as plain lists, maps and texts, as they would come from the API server."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def as_yaml(value: Any) -> str:
    """A document for a person to read."""
    return yaml.safe_dump(plain(value), sort_keys=False, width=120, allow_unicode=True)
