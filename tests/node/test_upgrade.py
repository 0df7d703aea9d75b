"""From an earlier state of this version to the present one, and back, as a user does it: by Helm, under load."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from egressgateway.refs import EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS
from harness.gateways import ChildName
from harness.helm import MAJORS
from harness.installed import SECONDS, Installed
from harness.kinds import install_definitions, read_definitions
from harness.load import Load
from harness.node import operator_image
from harness.node.cluster import NodeCluster
from harness.node.past import checkout
from harness.node.real import RealNodes
from harness.objects import apply_all, client_secret
from harness.real import HOST
from harness.rest import Object
from harness.session import ROOT
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

PAST: Final = "a8617e3"
"""Before labels stopped proving anything, and gateways were spread anew: CHANGELOG, "Before you upgrade"."""

OBJECTS: Final = Path(__file__).with_name("upgrade.yaml")
WRITTEN: Final = {"Deployment", "NetworkPolicy", "VirtualService", "ServiceEntry", "DestinationRule"}
"""Kinds of children that the changelog says are written once."""

ADDED: Final = {"VirtualService", "EnvoyFilter", "DestinationRule"}
"""Kinds of which the changelog says that gateways get one more."""

PULLED: Final[Object] = {"name": "istio-proxy", "imagePullPolicy": "IfNotPresent"}
VALUES: Final[Object] = {
    "defaultClass": {"enabled": True, "spec": {"dedicated": {"podTemplate": {"spec": {"containers": [PULLED]}}}}}
}
"""The past version pulled gateways' images always, which no node could do here."""

LACKS: Final = re.compile(r"the API server drops [^;]*\bstatus\.portClaims\b")
"""What the operator says of the past version's CRDs, among other fields."""

FORGETFUL: Final = 3
"""The Helm by which the CRDs stay as they were. By Helm 4 people would have to take them over from who applied them."""

SELDOM: Final = 5.0
"""Requests a second of those loads that have a gateway of their own."""

DEFINITIONS: Final = sorted((ROOT / "crds").glob("*.yaml"))
CHART: Final = "deploy/helm/egressgateway-operator"


class Past(RealNodes):
    """The cluster with an earlier image."""

    def __init__(self, nodes: NodeCluster, source: Path) -> None:
        super().__init__(nodes)
        self.source = source
        self.image = {"repository": operator_image.NAME, "tag": PAST}
        nodes.load_image(operator_image.archive(source, PAST))


@pytest.fixture(scope="module")
def past(nodes: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(nodes, checkout(PAST, tmp_path_factory.mktemp("past")))


@pytest.fixture(params=MAJORS, ids=lambda major: f"helm{major}")
def before(past: Past, request: pytest.FixtureRequest) -> Iterator[Installed]:
    """The earlier release, alone: its own CRDs, and none of ours."""
    earlier = Installed(past, request.param)
    earlier.end()
    earlier.install(str(past.source / CHART), VALUES)
    yield earlier
    earlier.end()


def test_upgrade_and_way_back_cost_no_request(
    past: Past, before: Installed, new_shop: Callable[..., Shop], record_property: Callable[[str, object], None]
) -> None:
    """
    Objects of every protocol are served throughout. The upgrade writes what the changelog names, and replaces each
    gateway's pods once; the way back asks for nothing that the past version would refuse. Where the CRDs are forgotten
    all of it holds as well, and the operator says what they lack until they are applied.
    """
    shop = new_shop(on=past.nodes.machines[0].name)
    names = given(past.nodes, shop)
    present = Installed(RealNodes(past.nodes), 4)
    present.helm = before.helm
    at_rest(shop, names)
    children = versions(shop, names)
    forgets = before.major == FORGETFUL
    with ExitStack() as stack:
        loads = [stack.enter_context(each) for each in loads_of(shop)]
        present.install(values=VALUES | {"crds": {"enabled": not forgets}})
        served_by(present, shop, names, loads)
        if forgets:
            eventually(lambda: LACKS.search(present.log()), what="a word on the CRDs")
            install_definitions(past.cluster.rest, read_definitions(DEFINITIONS))
            eventually(lambda: "The CRD is as new as the operator" in present.log(), what="a word on the new CRDs")
            served_by(present, shop, names, loads)
        changed = differences(children, versions(shop, names))
        unnamed = [f"{child}:\n{was}\n{now}" for child, (was, now) in changed.items() if not is_named(child, was)]
        assert not unnamed, "\n".join(unnamed)
        generations = replica_sets(shop)
        assert all(count <= 2 for count in generations.values()), generations

        before.install(str(past.source / CHART), VALUES)
        served_by(before, shop, names, loads)
    for load in loads:
        record_property("nodes", f"upgrade and back: {load.report}")
    for load in loads:
        assert not load.report.lost, str(load.report)
        assert "-" not in load.report.peers()


def loads_of(shop: Shop) -> Iterator[Load]:
    """One that opens a connection for each request, one that keeps it, and some for what is rarer."""
    yield shop.load()
    yield shop.load(keep=True)
    for host in ("bank.example.com", "any.partners.example.com", "search.example.com"):
        yield shop.load(f"http://{host}/", rate=SELDOM)


def given(nodes: NodeCluster, shop: Shop) -> list[str]:
    """Make the objects, and return their names once all are Ready."""
    authority = nodes.world.certificates.trusted.certificate_file.read_bytes()
    apply_all(nodes, [client_secret(shop.namespace, "bank", nodes.world.certificates.client("shop"), authority)])
    apply_all(nodes, shared_gateway(shop.namespace))
    made: list[dict[str, Any]] = list(yaml.safe_load_all(OBJECTS.read_text().replace("SHOP", shop.namespace)))
    for each in made:
        each["metadata"]["namespace"] = shop.namespace
        nodes.rest.apply(EGRESS_GATEWAY.path(shop.namespace, each["metadata"]["name"]), each)
    names = [str(each["metadata"]["name"]) for each in made]
    shop.gateways.wait_ready(*names, timeout=SECONDS)
    eventually(lambda: shop.ask(f"http://{HOST}/")["peer"] in shop.addresses(), what="a call by the gateway")
    for host in ("any.partners.example.com", "search.example.com"):
        eventually(lambda: shop.status(f"http://{host}/") == "200", what=f"an answer of {host}")  # noqa: B023
    return names


def shared_gateway(namespace: str) -> list[Object]:
    """A gateway that the platform runs, and its class; it lies in the tenant's namespace, to end with it."""
    name, labels = "commons", {"istio": "commons"}
    here = {"name": name, "namespace": namespace}
    template = {
        "metadata": {
            "labels": {**labels, "sidecar.istio.io/inject": "true"},
            "annotations": {"inject.istio.io/templates": "gateway"},
        },
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto", "imagePullPolicy": "IfNotPresent"}]},
    }
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]
    shared = {"namespace": namespace, "service": name, "selector": labels}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": here, "spec": {"selector": labels, "ports": ports}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": here,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": EGRESS_GATEWAY_CLASS.api_version,
            "kind": EGRESS_GATEWAY_CLASS.kind,
            "metadata": {"name": name},
            "spec": {"shared": shared},
        },
    ]


def served_by(release: Installed, shop: Shop, names: list[str], loads: Sequence[Load]) -> None:
    """Wait until a replica of a release leads, and all that it changed has come to rest."""
    release.wait_for_leader()
    at_rest(shop, names)
    rollouts = shop.cluster.rest.items(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments")
    for each in rollouts:
        rollout = ("rollout", "status", f"deployment/{each['metadata']['name']}", "--namespace", shop.namespace)
        shop.cluster.kubectl(*rollout, f"--timeout={SECONDS}s", timeout=SECONDS + 10)
    shop.gateways.wait_ready(*names, timeout=SECONDS)
    for load in loads:
        load.wait_for(20)


def at_rest(shop: Shop, names: list[str]) -> None:
    """Wait until nothing is written any more, by looks seconds apart: what is planned is written within one pass."""
    before = versions(shop, names)

    def rests() -> bool:
        nonlocal before
        found = versions(shop, names)
        same, before = found == before, found
        return same

    eventually(rests, timeout=SECONDS, interval=5, what="children at rest")


def versions(shop: Shop, names: list[str]) -> dict[ChildName, str]:
    """A text for each child that differs where its spec, labels or annotations do."""
    found = {}
    for name in names:
        for child, each in shop.gateways.children(name).items():
            metadata: Object = each["metadata"]
            told = {key: metadata.get(key) for key in ("labels", "annotations")}
            # Controllers write those of theirs.
            told["annotations"] = {
                k: v for k, v in (told["annotations"] or {}).items() if k.startswith("egressgateway")
            }
            found[child] = str((told, each.get("spec"), each.get("data")))
    return found


def differences(before: dict[ChildName, str], after: dict[ChildName, str]) -> dict[ChildName, tuple[str, str]]:
    """Children that differ or are new, with both texts."""
    return {child: (before.get(child, ""), text) for child, text in after.items() if before.get(child) != text}


def is_named(child: ChildName, before: str) -> bool:
    """Whether the changelog says that a child is written, or made."""
    return child[0] in (WRITTEN if before else ADDED)


def replica_sets(shop: Shop) -> dict[str, int]:
    """How many generations of pods each gateway has had."""
    found: dict[str, int] = {}
    for each in shop.cluster.rest.items(f"/apis/apps/v1/namespaces/{shop.namespace}/replicasets"):
        [owner] = each["metadata"]["ownerReferences"]
        found[owner["name"]] = found.get(owner["name"], 0) + 1
    return found
