"""Whole objects as they come from the API server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from egressgateway.api.objects import parse_class, parse_gateway
from egressgateway.api.status import EgressGatewayStatus
from egressgateway.refs import Key

SPEC = {"destinations": [{"name": "a", "hosts": ["a.example"], "ports": [{"port": 443, "protocol": "TLS"}]}]}


def gateway(name: str = "partners", status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "payments", **metadata}, "spec": SPEC, "status": status}


def test_gateway_is_read() -> None:
    """Identity, times and status are there, typed."""
    times = {"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z"}
    claims = [{"host": "a.example", "claimedAt": "2026-01-01T00:00:00.000001Z"}]
    parsed = parse_gateway(gateway(uid="1", generation=3, status={"claims": claims}, **times))
    assert parsed.key == Key("payments", "partners")
    assert parsed.spec is not None
    assert parsed.metadata.deleted_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert parsed.status.claims[0].claimed_at == datetime(2026, 1, 1, 0, 0, 0, 1, UTC)


@pytest.mark.parametrize("name", ["a.b", "1a", "A", "a-", "a\n", "a" * 51])
def test_gateway_name_is_checked(name: str) -> None:
    """Names of children are made from the name, so that it is a DNS label of at most 50 characters."""
    parsed = parse_gateway(gateway(name))
    assert parsed.spec is None
    assert [error.field for error in parsed.errors] == ["metadata.name"]


@pytest.mark.parametrize(
    "status", [[], "x", {"claims": [{"host": 1}]}, {"conditions": "x"}, {"observedGeneration": "1"}]
)
def test_forged_status_counts_as_none(status: Any) -> None:
    """Somebody with access to the status cannot stop the operator with it."""
    assert parse_gateway(gateway(status=status)).status == EgressGatewayStatus()


def test_status_of_another_version_is_read() -> None:
    """Fields that this version does not know are dropped, the others kept."""
    status = {"observedGeneration": 2, "later": True, "summary": {"destinations": "1/1", "later": 1}}
    parsed = parse_gateway(gateway(status=status)).status
    assert parsed.observed_generation == 2
    assert parsed.summary is not None
    assert parsed.summary.destinations == "1/1"


def test_status_is_written_as_it_is_read() -> None:
    """What was set is written in JSON spelling, the rest left out."""
    status = {"remoteChildren": [{"apiVersion": "v1", "kind": "Secret", "namespace": "a", "name": "b"}]}
    assert parse_gateway(gateway(status=status)).status.as_json() == status


@pytest.mark.parametrize(("value", "is_default"), [("true", True), ("True", False), ("", False)])
def test_default_class_is_annotated(value: str, is_default: bool) -> None:
    """Only the literal "true" makes a class the default one."""
    annotations = {"egressgateway.dev/is-default-class": value}
    assert parse_class({"metadata": {"name": "a", "annotations": annotations}, "spec": {}}).is_default is is_default
