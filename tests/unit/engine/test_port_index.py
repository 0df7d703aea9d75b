"""Live ports are found where they are seen, and one tenant cannot fill the index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from egressgateway.cluster.store import Change
from egressgateway.contention.claim_index import MOST_FILED
from egressgateway.contention.requested import Requested
from egressgateway.engine.cache.port_index import PortIndex
from egressgateway.refs import Key
from unit.engine.test_observe import telling


def of(index: PortIndex, port: int, *namespaces: str) -> set[Key]:
    return {entry.owner for entry in index.sharing(Requested(tcp_ports={port: frozenset(namespaces)}))}


def entry(namespace: str, *exported: str, ports: Iterable[int] = (5432,)) -> dict[str, Any]:
    manifest = telling(Key(namespace, "g"), *exported)
    manifest["spec"]["ports"] = [{"number": port, "protocol": "TCP"} for port in ports]
    return manifest


def test_an_entry_is_found_in_the_namespaces_that_see_it() -> None:
    index = PortIndex()
    for manifest in (entry("a", "."), entry("b", "shop"), entry("c", "*")):
        index.take(Change("ADDED", None, manifest, False))
    keys = {name: Key(name, "g") for name in "abc"}
    assert of(index, 5432, "a") == {keys["a"], keys["c"]}
    assert of(index, 5432, "shop") == {keys["b"], keys["c"]}
    assert of(index, 5432, "*") == set(keys.values())
    assert of(index, 80, "*") == set()
    index.take(Change("MODIFIED", entry("b", "shop"), entry("b", "lab"), False))
    index.take(Change("DELETED", entry("c", "*"), None, False))
    assert of(index, 5432, "shop") == set()
    assert of(index, 5432, "lab") == {keys["b"]}


def test_an_entry_for_too_many_is_filed_as_one_for_all() -> None:
    """Tenants write ServiceEntries: a thousand ports for a thousand namespaces would be a million sets."""
    index, many = PortIndex(), range(1, 1001)
    big = entry("evil", *(f"n{number}" for number in many), ports=many)
    index.take(Change("ADDED", None, big, False))
    assert sum(map(len, index._tcp._refs.values())) <= MOST_FILED
    assert of(index, 7, "n7") == {Key("evil", "g")}
    index.take(Change("DELETED", big, None, False))
    assert of(index, 7, "n7") == set()
