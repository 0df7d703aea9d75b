"""Services of type ExternalName: which of them a TCP port takes connections from, and whom a change concerns."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from egressgateway.cluster.store import Change
from egressgateway.engine.cache.budget import NamespaceBudget
from egressgateway.engine.cache.external_names import MOST_NAMES, ExternalNames
from egressgateway.refs import Manifest

EVERYWHERE = frozenset({"*"})
VERSIONS = count(1)


@pytest.fixture
def names() -> ExternalNames:
    return ExternalNames(NamespaceBudget(1 << 20), "cluster.local")


def service(name: str = "old-db", host: str | None = "old-db.example.com", *ports: int, **spec: Any) -> Manifest:
    """One that leads to `host`, by default on port 5432."""
    listed = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in ports or (5432,)]
    metadata = {"namespace": "legacy", "name": name, "creationTimestamp": "2027-01-01T00:00:00Z"}
    whole = {"type": "ExternalName", **({"externalName": host} if host else {}), "ports": listed, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": whole}


def put(names: ExternalNames, manifest: Manifest) -> dict[int, frozenset[str]]:
    """Store it as its informer does; the ports that the change concerns."""
    versioned = {**manifest["metadata"], "resourceVersion": f"{next(VERSIONS)}"}
    change = names.store.put({**manifest, "metadata": versioned})
    return {} if change is None else names.take(change)


def remove(names: ExternalNames, manifest: Manifest) -> dict[int, frozenset[str]]:
    change = names.store.remove(manifest)
    assert change is not None
    return names.take(change)


def hosts(names: ExternalNames, *ports: int) -> list[tuple[str, list[str]]]:
    return [(str(found.ref), sorted(found.hosts)) for found in names.on_ports(ports)]


def test_port_and_host_are_known_in_every_namespace(names: ExternalNames) -> None:
    assert put(names, service()) == {5432: EVERYWHERE}
    [found] = names.on_ports([5432, 3306])
    assert (str(found.ref), found.hosts) == ("Service legacy/old-db", {"old-db.example.com"})
    assert (found.visible_in, found.tcp_ports) == (EVERYWHERE, {5432})


@pytest.mark.parametrize(
    "other",
    [
        service(host="db.legacy.svc.cluster.local"),
        service(host="db.legacy.svc"),
        service(host=None),
        service(type="ClusterIP"),
        service(ports=None),
        service(ports=[{"port": 5432, "protocol": "UDP"}]),
    ],
    ids=["another Service", "its short name", "no host", "another type", "no port", "UDP"],
)
def test_what_keeps_its_connections_is_none(names: ExternalNames, other: Manifest) -> None:
    """Sidecars listen for other Services on addresses of their own; of a Service without ports nothing is known."""
    assert put(names, other) == {}
    assert hosts(names, 5432) == []


def test_names_are_compared_as_dns_does(names: ExternalNames) -> None:
    put(names, service(host="PG.Example.com."))
    assert hosts(names, 5432) == [("Service legacy/old-db", ["pg.example.com"])]


def test_a_change_concerns_the_ports_before_and_after(names: ExternalNames) -> None:
    put(names, service("old-db", "old-db.example.com", 5432, 3306))
    assert put(names, service("old-db", "old-db.example.com", 3306, 6379)).keys() == {5432, 3306, 6379}
    assert hosts(names, 5432) == []
    assert put(names, {**service("old-db", "old-db.example.com", 3306, 6379), "status": {"loadBalancer": {}}}) == {}
    assert remove(names, service()).keys() == {3306, 6379}
    assert hosts(names, 3306, 6379) == []


def test_of_one_host_one_service_is_told_of_and_of_very_many_the_first(names: ExternalNames) -> None:
    """Thousands of a hostile tenant must cost no pass more than a few."""
    for number in range(50):
        put(names, service(f"same-{number:02}", "same.example.com"))
    assert hosts(names, 5432) == [("Service legacy/same-00", ["same.example.com"])]
    for number in range(50):
        put(names, service(f"other-{number:02}", f"other-{number:02}.example.com"))
    assert len(hosts(names, 5432)) == MOST_NAMES


def test_one_without_memory_is_not_known(names: ExternalNames) -> None:
    """Its namespace has used up its share: that is told elsewhere, and harms nobody else."""
    tight = ExternalNames(NamespaceBudget(1), "cluster.local")
    change = tight.store.put(service())
    assert isinstance(change, Change)
    assert tight.take(change) == {}
    assert tight.on_ports([5432]) == ()
