"""A Secret that the operator may not read, from the first pass on: clients, conditions and writes by what pods tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from egressgateway.facts import Acknowledgement, Answers, PodSelection, Receipt
from egressgateway.refs import Key, ObjectRef
from unit import objects
from unit.engine.simulation import GRACE, World

TLS = {"mode": "Mutual", "credentialName": "bank"}
SPEC = objects.spec(
    objects.destination(
        "bank", "a.example.com", ports=[{"port": 80, "protocol": "HTTP", "targetPort": 8443, "tls": TLS}]
    )
)
SECRETS = tuple(ObjectRef("Secret", "shop", name) for name in ("bank", "bank-cacert"))


class Proxies:
    """In place of the reader of pods' pages: what all of them say of each Secret that they are asked for."""

    def __init__(self) -> None:
        self.receipt = Receipt.AWAITED
        self.asked: frozenset[str] = frozenset()

    def want(
        self,
        key: Key,
        pods: PodSelection,
        ready: int,
        exits: Mapping[str, frozenset[str]],
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.asked = secrets

    def said(self, key: Key) -> Acknowledgement:
        return Acknowledgement(Answers.COMPLETE, secrets=dict.fromkeys(self.asked, self.receipt))


def without_right(world: World, proxies: Proxies) -> None:
    """Of an operator that has just started."""
    for ref in SECRETS:
        world.caches.references.refuse(ref)
    world.reconciler._observer._acknowledgements = proxies  # type: ignore[assignment]  # all that it needs of a reader


@pytest.fixture
def proxies() -> Proxies:
    return Proxies()


@pytest.fixture
def world(proxies: Proxies) -> Iterator[World]:
    world = World(SPEC)
    without_right(world, proxies)
    world.settle()
    yield world
    world.close()


def condition(world: World, type_: str) -> tuple[str, str]:
    listed = world.status["destinations"][0]["conditions"] if type_ != "Ready" else world.status["conditions"]
    [found] = [each for each in listed if each["type"] == type_]
    return found["status"], found["reason"]


def conditions(world: World) -> dict[str, tuple[str, str]]:
    return {type_: condition(world, type_) for type_ in ("ResolvedRefs", "Steered", "Ready")}


def has_clients(world: World) -> bool:
    return any(found["metadata"]["labels"]["egressgateway.dev/stage"] == "clients" for found in world.live.values())


def go_on(world: World, receipt: Receipt, proxies: Proxies) -> None:
    """The pods say so from now on, for some time."""
    proxies.receipt = receipt
    for _ in range(8):
        world.reconcile()
        world.loop.now += GRACE / 2


def test_clients_wait_while_the_pods_are_asked(world: World, proxies: Proxies) -> None:
    assert proxies.asked == {"bank", "bank-cacert"}
    assert not has_clients(world)
    assert condition(world, "ResolvedRefs") == ("Unknown", "Pending")
    assert {condition(world, type_)[0] for type_ in ("Steered", "Ready")} == {"False"}


def test_no_client_is_sent_to_a_pod_that_waits_for_the_secret(world: World, proxies: Proxies) -> None:
    """It would answer 503. Its gateway stays as it is: the Secret comes, and the pod tells."""
    before = world.live.keys()
    go_on(world, Receipt.LACKING, proxies)
    assert (world.live.keys(), has_clients(world)) == (before, False)
    assert conditions(world) == {
        "ResolvedRefs": ("False", "SecretNotFound"),
        "Steered": ("False", "Pending"),
        "Ready": ("False", "SecretNotFound"),
    }
    go_on(world, Receipt.RECEIVED, proxies)
    assert set(conditions(world).values()) == {("True", each) for each in ("ResolvedRefs", "Steered", "Ready")}


def test_time_decides_where_no_pod_tells_and_readiness_is_not_known(world: World, proxies: Proxies) -> None:
    """As without their word for the ways out; what works is not withdrawn for it."""
    go_on(world, Receipt.UNTOLD, proxies)
    assert has_clients(world)
    assert conditions(world) == {
        "ResolvedRefs": ("Unknown", "NotObserved"),
        "Steered": ("True", "Steered"),
        "Ready": ("Unknown", "NotObserved"),
    }


def test_pod_that_loses_the_secret_withdraws_nothing(world: World, proxies: Proxies) -> None:
    """A new one started after it was deleted: clients stay, and nobody says that all is well."""
    go_on(world, Receipt.RECEIVED, proxies)
    assert world.writes_of(lambda: go_on(world, Receipt.LACKING, proxies)) == []
    assert has_clients(world)
    assert conditions(world) == {
        "ResolvedRefs": ("False", "SecretNotFound"),
        "Steered": ("Unknown", "Pending"),
        "Ready": ("False", "SecretNotFound"),
    }


@pytest.mark.parametrize("receipt", [Receipt.RECEIVED, Receipt.LACKING, Receipt.UNTOLD])
def test_restart_ends_in_the_same_answer_without_a_write(world: World, proxies: Proxies, receipt: Receipt) -> None:
    """Until the pods have told the new process, and while none of them is ready, what is stored holds."""
    go_on(world, receipt, proxies)
    before = world.server.objects[world.owner]
    proxies.receipt = Receipt.AWAITED
    world.restart()
    without_right(world, proxies)
    go_on(world, Receipt.AWAITED, proxies)
    go_on(world, receipt, proxies)
    assert world.server.objects[world.owner] is before


def test_outage_of_all_pods_says_nothing_of_the_secret(world: World, proxies: Proxies) -> None:
    go_on(world, Receipt.RECEIVED, proxies)
    world.pods_ready = False
    world.kubelet()
    go_on(world, Receipt.RECEIVED, proxies)
    assert conditions(world) == {
        "ResolvedRefs": ("True", "ResolvedRefs"),
        "Steered": ("False", "GatewayNotReady"),
        "Ready": ("False", "GatewayNotReady"),
    }
