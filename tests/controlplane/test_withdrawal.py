"""
An author cannot keep what was deleted or forbidden: tried with a tenant's rights, on a real API server.

Who takes the finalizer off, suspends the object, or names a class that is not there keeps nothing that way, in its own
namespace or in others'.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from egressgateway.names import FINALIZER
from egressgateway.refs import CONFIG_MAP, EGRESS_GATEWAY_CLASS
from harness.cluster import Cluster
from harness.gateways import Gateways, children, destination, egress_gateway
from harness.objects import apply_all, namespace, pod, service
from harness.operator import OperatorProcess
from harness.release import NAMESPACE as OPERATORS
from harness.rest import ApiError, Object, Rest
from harness.wait import eventually

pytestmark = pytest.mark.usefixtures("operator")

HELD = "evil.example.com/stay"
TLS: list[Object] = [{"port": 443, "protocol": "TLS"}]
RECORDS = {"labelSelector": "egressgateway.dev/record=remote-children"}


@pytest.fixture
def evil(operator: OperatorProcess, cluster: Cluster, new_namespace: Callable[[str], str]) -> Gateways:
    return Gateways(cluster, new_namespace("evil"))


@pytest.fixture
def victim(operator: OperatorProcess, cluster: Cluster, new_namespace: Callable[[str], str]) -> Gateways:
    return Gateways(cluster, new_namespace("victim"))


@pytest.fixture
def tenant(evil: Gateways, new_tenant: Callable[..., Rest]) -> Rest:
    """Who has all rights in the intruder's namespace, and none elsewhere."""
    return new_tenant(evil.namespace)


@pytest.fixture
def admin_class(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """`admin_class(**spec)` makes the class of the test, or changes it; returns its name. A shared one is another."""
    names = {shared: f"withdrawal-{secrets.token_hex(3)}" for shared in (True, False)}

    def make(**spec: object) -> str:
        name = names["shared" in spec]
        head = {"apiVersion": EGRESS_GATEWAY_CLASS.api_version, "kind": EGRESS_GATEWAY_CLASS.kind}
        path = EGRESS_GATEWAY_CLASS.path(None, name)
        cluster.rest.apply(path, {**head, "metadata": {"name": name}, "spec": spec})
        return name

    yield make
    for name in names.values():
        with suppress(ApiError):
            cluster.rest.delete(EGRESS_GATEWAY_CLASS.path(None, name))


@pytest.fixture
def shared_gateway(cluster: Cluster, new_namespace: Callable[[str], str]) -> Object:
    """A gateway that the platform runs; its namespace holds policies of tenants' objects."""
    place = new_namespace("edge")
    labels = {"istio": "egress"}
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    apply_all(
        cluster,
        [
            namespace(place),
            service(place, "egress", *ports, selector=labels),
            pod(place, "egress-0", {"name": "istio-proxy", "image": "proxyv2"}, **labels),
        ],
    )
    return {"namespace": place, "service": "egress", "selector": labels}


class Intruder:
    """A tenant that asks for a host in its own namespace and in the victim's."""

    def __init__(self, rest: Rest, places: Gateways, victim: Gateways, class_name: str) -> None:
        self.rest = rest
        self.places = places
        self.access = {"from": [{"namespaces": [places.namespace, victim.namespace]}]}
        self.class_name = class_name

    def apply(self, name: str, host: str, **more: object) -> None:
        spec = {"className": self.class_name, "access": self.access, **more}
        found = egress_gateway(self.places.namespace, name, destination("d", host, ports=TLS), **spec)
        self.rest.apply(self.places.path(name), found)

    def evade(self, name: str, host: str, evasion: Object) -> None:
        """Write the object so that it is not judged any more, and wait until the operator has seen that."""
        self.apply(name, host, **evasion)
        if "suspend" in evasion:
            self.places.wait(name, "Ready", "True", "Suspended")
        else:
            self.places.wait(name, "Accepted", "False", "ClassNotFound")

    def set_finalizers(self, name: str, *finalizers: str) -> None:
        self.rest.merge(self.places.path(name), {"metadata": {"finalizers": list(finalizers)}})

    def delete_without_ours(self, name: str) -> None:
        """With a finalizer of its own; the operator's is taken off again and again."""
        self.set_finalizers(name, HELD)
        self.rest.delete(self.places.path(name))
        for _ in range(5):
            with suppress(ApiError):
                self.set_finalizers(name, HELD)

    def free(self, name: str) -> None:
        with suppress(ApiError):
            self.set_finalizers(name)


@pytest.fixture
def intruder(tenant: Rest, evil: Gateways, victim: Gateways, admin_class: Callable[..., str]) -> Intruder:
    return Intruder(tenant, evil, victim, admin_class(allowedConsumers={"from": "All"}))


def own_host() -> str:
    """One that no other test of the run asks for."""
    return f"bank-{secrets.token_hex(3)}.example.com"


class TestFinalizer:
    """The operator's finalizer in the hands of the object's author."""

    def test_is_back_after_a_replace(self, intruder: Intruder) -> None:
        """`kubectl replace` and Argo CD's `Replace=true` write the metadata as it stands in a file: without it."""
        intruder.apply("g", own_host())
        intruder.places.wait_ready("g")
        intruder.rest.merge(intruder.places.path("g"), {"metadata": {"finalizers": None}})
        eventually(
            lambda: FINALIZER in intruder.places.get("g")["metadata"].get("finalizers", []), what="the finalizer"
        )

    def test_taken_off_with_the_deletion_keeps_no_clients(self, intruder: Intruder, victim: Gateways) -> None:
        """The next team gets the name when the intruder's routes are gone, and not while istiod still sends there."""
        host = own_host()
        intruder.apply("g", host)
        intruder.places.wait_ready("g")
        victim.apply("mine", destination("d", host, ports=TLS), className=intruder.class_name)
        victim.wait("mine", "Accepted", "False", "HostConflict")
        intruder.delete_without_ours("g")
        eventually(lambda: not intruder.places.clients("g"), what="the end of the intruder's routes")
        victim.wait_ready("mine")
        assert intruder.places.exists("g")
        assert not intruder.places.get("g")["status"].get("claims")
        intruder.free("g")

    @pytest.mark.parametrize("held", [True, False], ids=["held-by-another", "gone-at-once"])
    def test_taken_off_leaves_nothing_in_other_namespaces(
        self, intruder: Intruder, admin_class: Callable[..., str], shared_gateway: Object, *, held: bool
    ) -> None:
        """Policies beside the platform's gateway, where no garbage collector looks for their owner."""
        intruder.class_name = admin_class(allowedConsumers={"from": "All"}, shared=shared_gateway)
        cluster, place = intruder.places.cluster, shared_gateway["namespace"]
        ours = {"egressgateway.dev/namespace": intruder.places.namespace}
        intruder.apply("g", own_host())
        eventually(lambda: children(cluster, place, ours), what="policies beside the platform's gateway")
        assert owners_recorded(cluster) >= {f"{intruder.places.namespace}/g"}
        if held:
            intruder.delete_without_ours("g")
        else:
            eventually(lambda: is_gone_without_a_finalizer(intruder), what="a deletion before the finalizer is back")
        eventually(lambda: not children(cluster, place, ours), timeout=90, what="the end of the policies")
        assert not intruder.places.clients("g")
        eventually(
            lambda: f"{intruder.places.namespace}/g" not in owners_recorded(cluster), what="the end of the record"
        )
        intruder.free("g")


def is_gone_without_a_finalizer(intruder: Intruder) -> bool:
    """Once more: the operator puts its finalizer back, and is slower than the tenant only sometimes."""
    path = intruder.places.path("g")
    with suppress(ApiError):
        intruder.set_finalizers("g")
        intruder.rest.delete(path)
        intruder.set_finalizers("g")
    return not intruder.places.exists("g")


def owners_recorded(cluster: Cluster) -> set[str]:
    found = cluster.rest.items(CONFIG_MAP.path(OPERATORS), **RECORDS)
    return {each["data"]["owner"] for each in found}


@pytest.mark.parametrize(
    "evasion",
    [{"suspend": True}, {"className": "nosuch"}, {"suspend": True, "className": "nosuch"}],
    ids=["suspended", "without-class", "both"],
)
class TestRevocation:
    """The admin takes back what the class allowed."""

    def test_reaches_what_nobody_judges(
        self, intruder: Intruder, admin_class: Callable[..., str], evasion: Object
    ) -> None:
        """A denied host ends, with its claim; the status says why."""
        host = own_host()
        intruder.apply("g", host)
        intruder.places.wait_ready("g")
        intruder.evade("g", host, evasion)
        assert intruder.places.clients("g")

        admin_class(allowedConsumers={"from": "Same"}, deniedHosts=["*"])
        eventually(lambda: not intruder.places.clients("g"), what="the end of the routes")
        intruder.places.wait("g", "Accepted", "False", "HostNotAllowed", part="d")
        eventually(lambda: not intruder.places.get("g")["status"].get("claims"), what="the end of the claims")

    def test_leaves_what_is_still_allowed(
        self, intruder: Intruder, admin_class: Callable[..., str], evasion: Object
    ) -> None:
        """Consent for the other namespace alone is taken back: the own one is served as before."""
        host = own_host()
        intruder.apply("g", host)
        intruder.places.wait_ready("g")
        intruder.evade("g", host, evasion)
        before = {name: each["metadata"]["uid"] for name, each in intruder.places.children("g").items()}

        admin_class(allowedConsumers={"from": "Same"})

        def narrowed() -> bool:
            return all(each["spec"]["exportTo"] == ["."] for each in intruder.places.clients("g").values())

        eventually(narrowed, what="routes for the own namespace alone")
        assert {name: each["metadata"]["uid"] for name, each in intruder.places.children("g").items()} == before
