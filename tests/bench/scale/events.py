"""What happens to a cluster, and how many objects have another answer by it: no others need a pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.scale.apiserver import Place
from bench.scale.internals import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, SETTINGS, Key, Manifest
from bench.scale.mix import TEAM_SIZE, Kind, Mix, namespace, secret
from bench.scale.replica import Replica

_GATEWAYS = EGRESS_GATEWAY.plural
_CLASSES = EGRESS_GATEWAY_CLASS.plural


@dataclass(frozen=True, slots=True)
class Event:
    """What happens. `concerned`: how many objects it concerns; `of_namespace`: that a namespace came or changed."""

    name: str
    concerned: int
    of_namespace: bool = False


Act = Callable[[Replica], Any]
"""Makes an event happen."""


def events(mix: Mix) -> Iterator[tuple[Event, Act]]:
    """One after the other, in this order: classes last, as their passes leave the most behind."""
    first = {each.kind: each.key for each in reversed(mix.objects)}
    yield Event("Secret changed", 1), partial(change_secret, key=first[Kind.SECRET])
    yield Event("relist of EgressGateways", 0), Replica.list_gateways
    yield Event("resync", mix.size.objects), resync
    for wanted in map(mix.fresh, (Kind.OWN, Kind.TCP)):
        yield Event(f"object created: {wanted.kind}", 1), partial(create, manifest=wanted.manifest)
    for kind in (Kind.OWN, Kind.CROWD):
        yield Event(f"object edited: {kind}", 1), partial(add_host, key=first[kind])
    yield Event(f"object deleted: {Kind.TCP}", 1), partial(delete, key=mix.fresh(Kind.TCP).key)
    yield from namespace_events(mix)
    yield Event("class: one label changed", 0), partial(label_class, name="standard")
    for size, name in (("small", "guarded"), ("default", "standard")):
        yield Event(f"{size} class edited", objects_of_class(mix, name)), partial(edit_class, name=name)


def namespace_events(mix: Mix) -> Iterator[tuple[Event, Act]]:
    """Namespaces that come and that change their team."""
    team, other = mix.team_of(0), mix.team_of(TEAM_SIZE)
    # What serves everybody but some is spelled out for Istio, so that each new namespace is one more to name.
    crowd = sum(each.kind is Kind.CROWD for each in mix.objects)
    # Those in it are judged by its labels, too.
    moved = selecting(mix, {team, other}) | {
        each.key for each in mix.objects if each.key.namespace == mix.namespace_of(0)
    }
    for name, concerned, manifest in (
        ("namespace created, no selector means it", crowd, namespace("new-nobodys", "nobodys")),
        ("namespace created for a team", crowd + len(selecting(mix, {team})), namespace("new-member", team)),
        ("namespace relabelled", len(moved), namespace(mix.namespace_of(0), other)),
    ):
        yield Event(name, concerned, of_namespace=True), partial(put_namespace, manifest=manifest)


def selecting(mix: Mix, teams: set[str]) -> set[Key]:
    """Objects that serve one of these teams by a selector of their own."""

    def means(entry: Manifest) -> bool:
        return entry["namespaceSelector"].get("matchLabels", {}).get("team") in teams

    return {
        each.key for each in mix.objects if any(map(means, each.manifest["spec"].get("access", {}).get("from", ())))
    }


def objects_of_class(mix: Mix, name: str) -> int:
    return sum(each.manifest["spec"].get("className", "standard") == name for each in mix.objects)


def create(replica: Replica, manifest: Manifest) -> None:
    replica.server.put(_GATEWAYS, manifest)


def add_host(replica: Replica, key: Key) -> None:
    """One host more in the first destination."""
    found = replica.server.get(Place(_GATEWAYS, *key))
    assert found is not None
    hosts = found["spec"]["destinations"][0]["hosts"]
    hosts.append(f"more{len(hosts)}.{key.name}.example.com")
    replica.server.put(_GATEWAYS, found)


def delete(replica: Replica, key: Key) -> None:
    replica.server.delete(Place(_GATEWAYS, *key))


def put_namespace(replica: Replica, manifest: Manifest) -> None:
    replica.server.put("namespaces", manifest)


def change_secret(replica: Replica, key: Key) -> None:
    """Another certificate in the Secret that an object names."""
    replica.server.put("secrets", secret(key.namespace, f"{key.name}-client", "second"))


def label_class(replica: Replica, name: str) -> None:
    """A label, which says nothing to anybody."""
    found = _class(replica, name)
    found["metadata"]["labels"] = {"team": "platform"}
    replica.server.put(_CLASSES, found)


def edit_class(replica: Replica, name: str) -> None:
    """Every gateway gets a pod more."""
    found = _class(replica, name)
    found["spec"]["dedicated"] = {"replicas": 3}
    replica.server.put(_CLASSES, found)


def _class(replica: Replica, name: str) -> Manifest:
    found = replica.server.get(Place(_CLASSES, "", name))
    assert found is not None
    return found


async def resync(replica: Replica) -> None:
    """Wait until the operator lists all objects by itself."""
    period = SETTINGS.resync.total_seconds()
    since = (replica.loop.time() - replica.started) % period
    await asyncio.sleep(period - since + 0.1)
