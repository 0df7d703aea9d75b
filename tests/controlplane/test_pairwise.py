"""
Two hundred EgressGateways in which every two choices meet: each works, or says of which field why not.

One operator, one API server; nothing that the operator renders is refused by the server or found wrong by Istio.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from apicases import pairwise
from apicases.corpus import model_errors
from controlplane.gateway_world import PROXY, GatewayWorld, conditions, open_world, parts
from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.refs import EGRESS_GATEWAY
from harness.controlplane import ControlPlane
from harness.gateways import children, in_parallel
from harness.istioctl import Istioctl
from harness.objects import client_secret, namespace, path_of, pod, secret, service
from harness.recorder import ConditionsRecorder
from harness.rest import Object
from harness.session import Run
from harness.wait import eventually

pytestmark = pytest.mark.timeout(1500)  # The objects are made and judged within the first test.

OBJECTS: Final = 200
NAMESPACES: Final = 8
STANDSTILL_SECONDS: Final = 180.0
"""Without one more object judged. An idle machine needs a minute for all, one at load 12 needs ten."""
OPA: Final = {"name": "opa", "envoyExtAuthzGrpc": {"service": "opa.opa.svc.cluster.local", "port": 9191}}
FIELD: Final = re.compile(r"spec\.(className|[a-z][A-Za-z]*(\[\d+\])?(\.[A-Za-z0-9]+)*)")

CLASSES: Final[dict[str, dict[str, Any]]] = {
    "dedicated": {"dedicated": {"replicas": 1}},
    "canary": {"dedicated": {"replicas": 1, "revision": "canary"}},
    "template": {
        "dedicated": {
            "replicas": 1,
            "podTemplate": {
                "spec": {"containers": [{"name": "opa", "image": "opa", "ports": [{"containerPort": 9191}]}]}
            },
            "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "pool", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "priorityClassName": "system-cluster-critical",
            "terminationGracePeriodSeconds": 20,
            "trafficDistribution": "PreferClose",
            "podLabels": {"team": "platform"},
            "podAnnotations": {"note": "yes: no"},
            "networkPolicy": {"mode": "Enabled"},
            "service": {"type": "ClusterIP", "annotations": {"example.com/tier": "inner"}},
        },
        "allowedNamespaces": {
            "from": "Selector",
            "selector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]},
        },
    },
    "authorizer": {
        "dedicated": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 60}},
        "externalAuthorization": {"provider": "opa"},
    },
    "plain": {"dedicated": {"replicas": 1}, "mtls": "Disabled"},
    "shared": {
        "shared": {
            "namespace": "istio-system",
            "service": "shared",
            "selector": {"istio": "shared"},
            "ports": {"http": 80, "tls": 443},
        }
    },
    "shared-plain": {
        "shared": {"namespace": "istio-system", "service": "shared", "selector": {"istio": "shared"}},
        "mtls": "Disabled",
    },
}
COMMON: Final = {
    "allowedCIDRs": ["192.0.2.0/24"],
    "allowedConsumers": {"from": "All"},
    "allowedGateways": ["istio-system/public-ingress"],
    "allowedExposedHosts": ["*.example.org"],
}


@dataclass(frozen=True)
class Outcome:
    """What became of a row. `children`: how many there are of the object."""

    row: pairwise.Row
    gateway: Object
    children: int

    @property
    def refusals(self) -> list[Object]:
        """False conditions of the object and its parts for which a field, its own or its class's, is the reason."""
        status = self.gateway["status"]
        holders = (status, *(status.get("destinations") or ()), *(status.get("expose") or ()))
        return [
            each
            for holder in holders
            for each in holder.get("conditions") or ()
            if each["type"] in (ConditionType.ACCEPTED, ConditionType.RESOLVED_REFS) and each["status"] == "False"
        ]


@pytest.fixture(scope="module")
def plane(run: Run) -> Iterator[ControlPlane]:
    """As elsewhere, but without an audit log, which would be a third of the work."""
    with run.private(run.options()) as plane, ConditionsRecorder(plane.kubeconfig):
        yield plane


@pytest.fixture(scope="module")
def world(plane: ControlPlane, istioctl: Istioctl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    yield from open_world(plane, istioctl, tmp_path_factory.mktemp("operator"), extensionProviders=[OPA])


@pytest.fixture(scope="module")
def outcomes(world: GatewayWorld) -> list[Outcome]:
    """Every row, applied, and left alone until the operator has nothing more to do."""
    world.apply(*surroundings(world))
    rows = pairwise.rows(OBJECTS)
    objects = [
        pairwise.manifest_of(row, f"g{number}", f"pairs-{number % NAMESPACES}", number)
        for number, row in enumerate(rows)
    ]
    in_parallel(lambda each: world.plane.rest.apply(path_of(each), each), objects)
    eventually(
        lambda: is_settled(world),
        timeout=STANDSTILL_SECONDS,
        interval=1,
        what="an answer to every object",
        progress=lambda: len(unjudged(world)),
    )
    live = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in everything(world)}
    counted = Counter(
        (
            each["metadata"]["labels"]["egressgateway.dev/namespace"],
            each["metadata"]["labels"]["egressgateway.dev/gateway"],
        )
        for each in all_children(world)
    )
    keys = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in objects]
    return [Outcome(row, live[key], counted[key]) for row, key in zip(rows, keys, strict=True)]


def test_rows_hold_every_possible_pair() -> None:
    """The generator keeps its word, and the models accept each of its objects."""
    rows = pairwise.rows(OBJECTS)
    assert len(rows) >= OBJECTS
    assert pairwise.possible_pairs() <= set().union(*map(pairwise.pairs_of, rows))
    objects = [pairwise.manifest_of(row, f"g{number}", "pairs", number) for number, row in enumerate(rows)]
    assert [each for each in objects if model_errors(each)] == []
    # Most choices get along: if the models refused more, the pairs above would be few, and prove little.
    every = sum(len(one) * len(other) for one, other in pairwise.factor_pairs())
    assert len(pairwise.possible_pairs()) > every * 0.95


def test_every_object_works_or_names_the_field(outcomes: list[Outcome]) -> None:
    """What nothing stands against is Ready; what the operator refuses says which field has to change."""
    wrong = [
        (outcome.row, conditions(outcome.gateway["status"]))
        for outcome in outcomes
        if (conditions(outcome.gateway["status"])["Ready"] == ("True", "Ready")) == pairwise.is_refused(outcome.row)
    ]
    assert wrong == []
    refused = [outcome for outcome in outcomes if pairwise.is_refused(outcome.row)]
    assert all(outcome.refusals for outcome in refused)
    nameless = [
        (outcome.row, each["reason"], each["message"])
        for outcome in refused
        for each in outcome.refusals
        if not FIELD.search(each["message"])
    ]
    assert nameless == []


def test_nothing_rendered_was_refused_by_the_server(outcomes: list[Outcome], world: GatewayWorld) -> None:
    """No ApplyFailed, no ResourceConflict, nothing of ours that broke, and no error in the log."""
    bad = {Reason.APPLY_FAILED, Reason.RESOURCE_CONFLICT, Reason.INTERNAL_ERROR}
    found = [
        (outcome.row, holder)
        for outcome in outcomes
        for holder in (
            conditions(outcome.gateway["status"]),
            *parts(outcome.gateway).values(),
            *parts(outcome.gateway, "expose").values(),
        )
        if bad & {reason for _, reason in holder.values()}
    ]
    assert found == []
    lines = world.operator.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []


def test_what_is_accepted_is_steered(outcomes: list[Outcome]) -> None:
    """A part that nothing stands against has everything that it needs; what is refused as a whole has no children."""
    for outcome in outcomes:
        for found in (*parts(outcome.gateway).values(), *parts(outcome.gateway, "expose").values()):
            if found["Accepted"][0] == found["ResolvedRefs"][0] == "True":
                assert set(found.values()) == {("True", each) for each in found}, (outcome.row, found)
    refused = [each for each in outcomes if conditions(each.gateway["status"])["Ready"][1] == Reason.UNSUPPORTED_VALUE]
    assert refused
    assert {outcome.children for outcome in refused} == {0}
    assert all(outcome.children for outcome in outcomes if not pairwise.is_refused(outcome.row))


def test_istio_finds_nothing_wrong(outcomes: list[Outcome], world: GatewayWorld) -> None:
    """`istioctl validate` of every child, and `istioctl analyze` once over all of them together."""
    assert world.invalid(all_children(world)) == ""
    assert world.judged() == []


def surroundings(world: GatewayWorld) -> Iterator[Object]:
    """What the rows refer to: classes, Secrets and a Service in each namespace, gateways of the platform."""
    for name, spec in CLASSES.items():
        head = {"apiVersion": EGRESS_GATEWAY.api_version, "kind": "EgressGatewayClass", "metadata": {"name": name}}
        yield {**head, "spec": {**COMMON, **spec}}
    yield namespace("consumer", egress="consumer")
    client, web = world.authority.issue("client"), world.authority.issue("web", (), ("web.example.org",))
    for number in range(NAMESPACES):
        place = f"pairs-{number}"
        yield namespace(place)
        yield client_secret(place, "client", client, world.authority_certificate)
        yield secret(place, "ca", {"ca.crt": world.authority_certificate})
        yield secret(place, "web", {"tls.crt": web.certificate, "tls.key": web.key})
        yield service(place, "web", {"name": "http", "port": 80})
    ports = [{"name": "http2", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]
    for name in ("shared", "public-ingress"):
        yield service("istio-system", name, *ports, selector={"istio": name})
        yield pod("istio-system", f"{name}-0", PROXY, istio=name)
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*/*.example.org"]}
    yield {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public-ingress", "namespace": "istio-system"},
        "spec": {"selector": {"istio": "public-ingress"}, "servers": [server]},
    }


def everything(world: GatewayWorld) -> list[Object]:
    return world.plane.rest.items(EGRESS_GATEWAY.path(None))


def is_settled(world: GatewayWorld) -> bool:
    """Every object was judged, waits for nothing, and nobody is at work. Later looks, at certificates, may be due."""
    left = unjudged(world)
    assert left == [], left[:20]
    busy = [world.operator.metric(f"egressgateway_queue_{name}") for name in ("depth", "processing")]
    return not any(busy)


def unjudged(world: GatewayWorld) -> list[str]:
    """Objects whose status does not speak of their newest spec, or that wait for something."""
    return [
        f"{each['metadata']['name']} {conditions(each['status'])}"
        for each in everything(world)
        if each["status"].get("observedGeneration") != each["metadata"]["generation"]
        or conditions(each["status"])["Ready"][1] in (Reason.PENDING, Reason.GATEWAY_NOT_READY)
    ]


def all_children(world: GatewayWorld) -> list[Object]:
    return [
        child
        for place in ("istio-system", *(f"pairs-{number}" for number in range(NAMESPACES)))
        for child in children(world.plane, place, {"app.kubernetes.io/managed-by": "egressgateway-operator"}).values()
    ]
