"""EgressGateways and their specs, written the way an author writes them: one builder each, for all unit tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from egressgateway.refs import EGRESS_GATEWAY, Key, Manifest

CREATED: Final = "2026-01-01T00:00:00Z"
HTTP: Final[Manifest] = {"port": 80, "protocol": "HTTP"}
TLS: Final[Manifest] = {"port": 443, "protocol": "TLS"}


def destination(name: str, *hosts: str, ports: Iterable[Manifest] = (HTTP,), **fields: Any) -> Manifest:
    """One destination; without hosts it has one of its own name."""
    return {"name": name, "hosts": list(hosts) or [f"{name}.example.com"], "ports": list(ports), **fields}


def one_each(*hosts: str, ports: Iterable[Manifest] = (HTTP,)) -> list[Manifest]:
    """A destination for each host: `d0`, `d1` and so on."""
    return [destination(f"d{number}", host, ports=ports) for number, host in enumerate(hosts)]


def spec(*destinations: Manifest, **fields: Any) -> Manifest:
    return {"destinations": list(destinations), **fields}


def gateway(key: Key, spec: Any, status: Any = None, *, version: int = 1, **metadata: Any) -> Manifest:
    """A whole EgressGateway, as the API server shows it."""
    fixed = {
        "namespace": key.namespace,
        "name": key.name,
        "uid": f"uid of {key}",
        "generation": 1,
        "resourceVersion": f"{version}",
        "creationTimestamp": CREATED,
    }
    return {
        "apiVersion": EGRESS_GATEWAY.api_version,
        "kind": EGRESS_GATEWAY.kind,
        "metadata": fixed | metadata,
        "spec": spec,
        "status": {} if status is None else status,
    }


def owner_reference(name: str, uid: str) -> Manifest:
    """What the children of an EgressGateway say of it."""
    return {"apiVersion": EGRESS_GATEWAY.api_version, "kind": EGRESS_GATEWAY.kind, "name": name, "uid": uid}
