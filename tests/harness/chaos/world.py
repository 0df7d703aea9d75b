"""
The cluster in which a story takes place: namespaces, classes, shared gateways, Secrets, and other people's objects.

All of it can be applied again at any time, which undoes what a story did to it.
"""

from __future__ import annotations

from typing import Any, Final

from egressgateway.refs import EGRESS_GATEWAY_CLASS
from harness import apisix, istiod
from harness.controlplane import ControlPlane
from harness.objects import apply_all, client_secret, namespace, service
from harness.rest import Object

TENANTS: Final = tuple(f"chaos-{number}" for number in range(4))
SHARED: Final = "chaos-shared"
APISIX: Final = "chaos-apisix"
PLACES: Final = (*TENANTS, SHARED, APISIX)
"""Every namespace in which the operator writes."""

CREDENTIAL: Final = "client"
STRANGER: Final = "stranger"
"""An EgressGateway whose host somebody else's VirtualService has."""

TAKEN: Final = "taken"
"""An EgressGateway whose Service's name somebody else has."""

STRANGERS_HOST: Final = "stranger.example.com"


def build(plane: ControlPlane) -> None:
    """Everything but EgressGateways, as it is before a story."""
    istiod.install(plane)
    apisix.install(plane)
    apply_all(plane, [*map(namespace, PLACES), *classes(), *shared_gateways(), *foreign()])
    for place in TENANTS:
        give_credential(plane, place)


def classes() -> list[Object]:
    """One class for each way in which a gateway can be had."""
    gateway = {"namespace": SHARED, "service": "exit", "selector": {"app": "exit"}}
    ingress = {"namespace": APISIX, "service": "apisix", "selector": {"app": "apisix"}}
    return [
        class_("chaos-plain"),
        class_("chaos-open", allowedConsumers={"from": "All"}),
        class_("chaos-shared", allowedConsumers={"from": "All"}, shared=gateway),
        class_("chaos-apisix", provider="APISIX", mtls="Disabled", shared=ingress, apisix={"pushTimeout": "2s"}),
        guarded(),
    ]


def guarded(*denied: str) -> Object:
    """A class that denies these hosts, and one that nobody wants: applied, an emptied list would be null."""
    return class_("chaos-guarded", deniedHosts=["*.never.example.com", *denied])


def class_(name: str, **spec: Any) -> Object:
    head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
    return {**head, "metadata": {"name": name}, "spec": spec}


def shared_gateways() -> list[Object]:
    """A gateway of Istio and one of APISIX, each with a pod."""
    exits = [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]
    return [
        service(SHARED, "exit", *exits),
        deployment(SHARED, "exit", "istio-proxy"),
        service(APISIX, "apisix", {"name": "http", "port": 80}),
        deployment(APISIX, "apisix", "apisix"),
    ]


def deployment(place: str, name: str, container: str) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": container, "image": "image"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": place},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def foreign() -> list[Object]:
    """What is not the operator's and stands in its way; and the Service that is exposed."""
    route = {"route": [{"destination": {"host": STRANGERS_HOST}}]}
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "by-hand", "namespace": TENANTS[0]},
            "spec": {"hosts": [STRANGERS_HOST], "http": [route]},
        },
        service(TENANTS[1], f"{TAKEN}-egress", {"name": "http", "port": 80}),
        *(service(place, "web", {"name": "http", "port": 80}) for place in TENANTS),
    ]


def give_credential(plane: ControlPlane, place: str) -> None:
    """A client certificate, another one each time."""
    authority = plane.authority.certificate_file.read_bytes()
    apply_all(plane, [client_secret(place, CREDENTIAL, plane.authority.issue(CREDENTIAL), authority)])
