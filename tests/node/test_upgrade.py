"""From an earlier state of this version to the present one, and back, as a user does it: by Helm, under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from egressgateway.refs import EGRESS_GATEWAY
from harness.gateways import ChildName
from harness.helm import MAJORS
from harness.installed import SECONDS, Installed
from harness.load import Load
from harness.node import operator_image
from harness.node.cluster import NodeCluster
from harness.node.past import checkout
from harness.node.real import RealNodes
from harness.objects import apply_all, client_secret
from harness.real import HOST
from harness.rest import Object
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

PAST: Final = "a8617e3"
"""Before labels stopped proving anything, and gateways were spread anew: CHANGELOG, "Before you upgrade"."""

OBJECTS: Final = Path(__file__).with_name("upgrade.yaml")
NAMED: Final = {"Deployment", "NetworkPolicy", "VirtualService", "ServiceEntry"}
"""Kinds of children that the changelog says are written once."""

PULLED: Final[Object] = {"name": "istio-proxy", "imagePullPolicy": "IfNotPresent"}
VALUES: Final[Object] = {
    "defaultClass": {"enabled": True, "spec": {"dedicated": {"podTemplate": {"spec": {"containers": [PULLED]}}}}}
}
"""The past version pulled gateways' images always, which no node could do here."""

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
    present = Installed(RealNodes(past.nodes), request.param)
    if present.exists():
        present.install(values={"crds": {"keep": False}})
        present.uninstall()
    earlier = Installed(past, request.param)
    earlier.install(str(past.source / CHART), VALUES)
    yield earlier
    present.install(values={"crds": {"keep": False}})
    present.uninstall()


def test_upgrade_and_way_back_cost_no_request(
    past: Past, before: Installed, new_shop: Callable[..., Shop], record_property: Callable[[str, object], None]
) -> None:
    """
    Objects of every protocol are served throughout. The upgrade writes what the changelog names, and replaces each
    gateway's pods once; the way back asks for nothing that the past version would refuse.
    """
    shop = new_shop(on=past.nodes.machines[0].name)
    names = given(past.nodes, shop)
    present = Installed(RealNodes(past.nodes), 4)
    present.helm = before.helm
    children = versions(shop, names)
    with shop.load() as fresh, shop.load(keep=True) as kept, shop.load("http://bank.example.com/") as mutual:
        loads = (fresh, kept, mutual)
        present.install(values=VALUES)
        served_by(present, shop, names, loads)
        changed = {
            kind for (kind, name), version in versions(shop, names).items() if children.get((kind, name)) != version
        }
        assert changed <= NAMED
        generations = replica_sets(shop)
        assert all(count <= 2 for count in generations.values()), generations

        before.install(str(past.source / CHART), VALUES)
        served_by(before, shop, names, loads)
    for load in loads:
        record_property("nodes", f"upgrade and back: {load.report}")
        assert not load.report.lost, load.report
        assert "-" not in load.report.peers()


def given(nodes: NodeCluster, shop: Shop) -> list[str]:
    """Make the objects, and return their names once all are Ready."""
    authority = nodes.world.certificates.trusted.certificate_file.read_bytes()
    apply_all(nodes, [client_secret(shop.namespace, "bank", nodes.world.certificates.client("shop"), authority)])
    made: list[dict[str, Any]] = list(yaml.safe_load_all(OBJECTS.read_text()))
    for each in made:
        each["metadata"]["namespace"] = shop.namespace
        nodes.rest.apply(EGRESS_GATEWAY.path(shop.namespace, each["metadata"]["name"]), each)
    names = [str(each["metadata"]["name"]) for each in made]
    shop.gateways.wait_ready(*names, timeout=SECONDS)
    eventually(lambda: shop.ask(f"http://{HOST}/")["peer"] in shop.addresses(), what="a call by the gateway")
    return names


def served_by(release: Installed, shop: Shop, names: list[str], loads: tuple[Load, ...]) -> None:
    """Wait until a replica of a release leads, and all that it changed has come to rest."""
    release.wait_for_leader()
    rollouts = shop.cluster.rest.items(f"/apis/apps/v1/namespaces/{shop.namespace}/deployments")
    before = versions(shop, names)

    def rests() -> bool:
        nonlocal before
        found = versions(shop, names)
        same, before = found == before, found
        return same

    # Looked at seconds apart: what is planned is written within one pass.
    eventually(rests, timeout=SECONDS, interval=5, what="children at rest")
    for each in rollouts:
        rollout = ("rollout", "status", f"deployment/{each['metadata']['name']}", "--namespace", shop.namespace)
        shop.cluster.kubectl(*rollout, f"--timeout={SECONDS}s", timeout=SECONDS + 10)
    shop.gateways.wait_ready(*names, timeout=SECONDS)
    for load in loads:
        load.wait_for(20)


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


def replica_sets(shop: Shop) -> dict[str, int]:
    """How many generations of pods each gateway has had."""
    found: dict[str, int] = {}
    for each in shop.cluster.rest.items(f"/apis/apps/v1/namespaces/{shop.namespace}/replicasets"):
        [owner] = each["metadata"]["ownerReferences"]
        found[owner["name"]] = found.get(owner["name"], 0) + 1
    return found
