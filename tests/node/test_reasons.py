"""
What keeps a gateway's pods from starting on real nodes: named in the message and in an event, and gone when mended.

The embedded control plane has no scheduler, no kubelet and no quota controller; here each of them speaks for itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pytest

from harness.gateways import NAMESPACES, Gateways
from harness.installed import Installed
from harness.objects import apply_all, namespace
from harness.real import RealCluster
from harness.rest import ApiError, Object
from harness.shop import SECONDS
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

NAME: Final = "narrow"
CLASS_PATH: Final = "/apis/egressgateway.dev/v1alpha1/egressgatewayclasses"
ENFORCE: Final = "pod-security.kubernetes.io/enforce"
REVISION: Final = "istio.io/rev"


@dataclass(frozen=True)
class Place:
    """A namespace of the mesh without a client: only its gateway matters."""

    real: RealCluster
    namespace: str

    @property
    def gateways(self) -> Gateways:
        return Gateways(self.real.cluster, self.namespace)

    def label(self, **labels: str | None) -> None:
        """Set labels of the namespace; None removes one. `_` stands for `-`."""
        self.real.cluster.rest.merge(f"{NAMESPACES}/{self.namespace}", {"metadata": {"labels": labels}})

    def put(self, plural: str, kind: str, spec: Object) -> Callable[[], object]:
        """Make a core object of the namespace; returns what removes it."""
        path = f"/api/v1/namespaces/{self.namespace}/{plural}/{NAME}"
        made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": NAME}, "spec": spec}
        self.real.cluster.rest.apply(path, made)
        return lambda: self.real.cluster.rest.delete(path)

    def put_class(self, pod_template: Object) -> str:
        """A class whose gateways have this pod template; it is deleted with the place."""
        made = {
            "apiVersion": "egressgateway.dev/v1alpha1",
            "kind": "EgressGatewayClass",
            "metadata": {"name": self.namespace},
            "spec": {"dedicated": {"podTemplate": pod_template}},
        }
        self.real.cluster.rest.apply(f"{CLASS_PATH}/{self.namespace}", made)
        return self.namespace

    def apply(self, **spec: Any) -> None:
        self.gateways.apply("partners", self.real.partner(), **self.real.spec(**spec))

    def message(self) -> str:
        """Of Ready."""
        return str(self.gateways.condition("partners", "Ready")["message"])

    def notes(self) -> list[str]:
        """Of the events about pods that do not start."""
        found = self.real.cluster.rest.items(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        return [each["note"] for each in found if each["reason"] == "PodNotStarted"]


@pytest.fixture
def place(release: Installed, real: RealCluster) -> Iterator[Place]:
    assert release.exists()
    made = Place(real, f"narrow-{secrets.token_hex(3)}")
    apply_all(real.cluster, [namespace(made.namespace, **{"istio-injection": "enabled"})])
    yield made
    for path in (made.gateways.path("partners"), f"{NAMESPACES}/{made.namespace}", f"{CLASS_PATH}/{made.namespace}"):
        with suppress(ApiError):
            real.cluster.rest.delete(path)


def limit(place: Place) -> Callable[[], object]:
    """The namespace's LimitRange asks for more than a gateway does; mended by its removal."""
    mend = place.put("limitranges", "LimitRange", {"limits": [{"type": "Container", "min": {"memory": "64Gi"}}]})
    place.apply()
    return mend


def quota(place: Place) -> Callable[[], object]:
    """A ResourceQuota that its controller has counted has no room for a pod."""
    mend = place.put("resourcequotas", "ResourceQuota", {"hard": {"pods": "0"}})
    path = f"/api/v1/namespaces/{place.namespace}/resourcequotas/{NAME}"
    eventually(lambda: place.real.cluster.rest.get(path).get("status", {}).get("hard"), what="a quota that counts")
    place.apply()
    return mend


def pod_security(place: Place) -> Callable[[], object]:
    """The class's template mounts a directory of the node, which the namespace's level forbids."""
    volume = {"name": "logs", "hostPath": {"path": "/var/log"}}
    place.label(**{ENFORCE: "baseline"})
    place.apply(className=place.put_class({"spec": {"volumes": [volume]}}))
    return lambda: place.label(**{ENFORCE: None})


def image(place: Place) -> Callable[[], object]:
    """The class names an image that no registry has; mended by the class."""
    named = {"metadata": {"annotations": {"sidecar.istio.io/proxyImage": "registry.invalid/none:1"}}}
    place.apply(className=place.put_class(named))
    # Not an empty template: where all fields of one are taken back the API server makes null of it, and refuses that.
    return lambda: place.put_class({"metadata": {"labels": {"mended": "true"}}})


def injector(place: Place) -> Callable[[], object]:
    """No injector has the revision that the namespace names."""
    place.label(**{"istio-injection": None, REVISION: "ghost"})
    place.apply()

    def mend() -> None:
        place.label(**{"istio-injection": "enabled", REVISION: None})
        pods = f"/api/v1/namespaces/{place.namespace}/pods"
        for pod in place.real.cluster.rest.items(pods):
            # Pods are injected when they are created, and only then.
            place.real.cluster.rest.delete(f"{pods}/{pod['metadata']['name']}")

    return mend


def room(place: Place) -> Callable[[], object]:
    """No node has the label that the object asks for; mended by its author."""
    place.apply(gateway={"nodeSelector": {"nowhere": "true"}})
    return place.apply


@pytest.mark.parametrize(
    ("narrow", "words"),
    [
        (limit, "minimum memory usage per Container"),
        (quota, f"exceeded quota: {NAME}"),
        (pod_security, 'violates PodSecurity "baseline'),
        (image, 'the image "registry.invalid/none:1" cannot be had'),
        (injector, "the mesh has not injected its proxy"),
        (room, "no node takes a pod: 0/"),
    ],
    ids=["limit", "quota", "pod security", "image", "injector", "room"],
)
def test_reason_is_named_and_gone_when_it_is_mended(
    place: Place, narrow: Callable[[Place], Callable[[], object]], words: str
) -> None:
    """In the message and in an event, in the cluster's words; afterwards the gateway serves, and nothing is left."""
    mend = narrow(place)
    eventually(lambda: words in place.message(), what=f"{words!r} in the message")
    eventually(lambda: any(words in note for note in place.notes()), what=f"an event with {words!r}")
    mend()
    # Kubernetes tries again ever more rarely: within some minutes after a minute of failures.
    place.gateways.wait_ready("partners", timeout=2 * SECONDS)
    eventually(lambda: words not in place.message(), what="a message without the reason")
