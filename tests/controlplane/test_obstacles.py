"""
What keeps gateway pods from being created, on a real API server with its own admission: said while it lasts, and gone
once it is mended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cluster import Cluster
from harness.gateways import Gateways
from harness.rest import Object
from harness.wait import eventually

pytestmark = pytest.mark.controlplane

ROUTED = "2/2 gateway pods ready, 1 destination routed"


def core(namespace: str, plural: str, name: str = "narrow") -> str:
    return f"/api/v1/namespaces/{namespace}/{plural}/{name}"


def limit(cluster: Cluster, namespace: str) -> Callable[[], None]:
    """No container may ask for as little memory as a gateway does."""
    spec = {"limits": [{"type": "Container", "min": {"memory": "64Gi"}}]}
    cluster.rest.apply(core(namespace, "limitranges"), manifest("LimitRange", spec))
    return lambda: cluster.rest.delete(core(namespace, "limitranges"))


def quota(cluster: Cluster, namespace: str) -> Callable[[], None]:
    """No pod at all. Its status is what the quota controller, which does not run here, would write."""
    hard = {"hard": {"pods": "0"}}
    path = core(namespace, "resourcequotas")
    cluster.rest.apply(path, manifest("ResourceQuota", hard))
    cluster.rest.merge(f"{path}/status", {"status": {**hard, "used": {"pods": "0"}}})
    return lambda: cluster.rest.delete(path)


def manifest(kind: str, spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "narrow"}, "spec": spec}


def message(gateways: Gateways, type_: str = "Ready", part: str = "") -> str:
    found: str = gateways.condition("partners", type_, part)["message"]
    return found


def announced(gateways: Gateways) -> list[str]:
    """Notes of the events about pods that do not start."""
    found = gateways.cluster.rest.items(f"/apis/events.k8s.io/v1/namespaces/{gateways.namespace}/events")
    return [each["note"] for each in found if each["reason"] == "PodNotStarted"]


def said(gateways: Gateways, words: str, *, part: str = "") -> None:
    type_ = "Steered" if part else "Ready"
    eventually(lambda: words in message(gateways, type_, part), what=f"{words!r} in the status")


@pytest.mark.parametrize(("narrow", "words"), [(limit, "minimum memory usage"), (quota, "exceeded quota: narrow")])
def test_refused_pods_are_said_and_forgotten_when_mended(
    gateways: Gateways, cluster: Cluster, narrow: Callable[..., Callable[[], None]], words: str
) -> None:
    """From the first second: in Ready, in Steered of the destination, and in one event that names no pod."""
    mend = narrow(cluster, gateways.namespace)
    gateways.apply("partners")
    gateways.wait("partners", "Ready", "False", "GatewayNotReady")
    said(gateways, words)
    said(gateways, words, part="api")
    [note] = eventually(lambda: announced(gateways), what="an event")
    assert note.startswith("the cluster cannot create a pod: ")
    assert words in note
    assert 'pods "' not in note
    mend()
    # The controller of ReplicaSets tries again ever more rarely; an edit of the template makes it look at once.
    gateways.apply("partners", gateway={"podAnnotations": {"try": "again"}})
    gateways.wait_ready("partners")
    eventually(lambda: message(gateways) == ROUTED, what="a message without the obstacle")
    assert announced(gateways) == [note]


def test_rollout_that_cannot_start_is_said_while_old_pods_serve(gateways: Gateways, cluster: Cluster) -> None:
    """A limit came after them, and meets new pods only; Ready stays True, clients notice nothing."""
    gateways.apply("partners")
    gateways.wait_ready("partners")
    mend = limit(cluster, gateways.namespace)
    gateways.apply("partners", gateway={"podAnnotations": {"roll": "1"}})
    said(gateways, "minimum memory usage")
    assert gateways.condition("partners", "Ready")["status"] == "True"
    mend()
    gateways.apply("partners", gateway={"podAnnotations": {"roll": "2"}})
    eventually(lambda: message(gateways) == ROUTED, what="a message without the obstacle")
