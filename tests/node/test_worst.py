"""What comes last, as nothing comes back from it: a node dies, with the operator's leader on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from harness.gateways import destination
from harness.installed import SECONDS, Installed
from harness.node.cluster import NodeCluster
from harness.objects import is_ready, places
from harness.shop import Shop
from harness.wait import eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

BOUND: Final = "bound"
"""A gateway that may run on the node that dies, and nowhere else."""

RETRIES: Final = 5
"""Half of the tries reach the dead pod while the node counts as Ready, and each of them takes a while to fail."""

Record = Callable[[str, object], None]


def test_dead_node_with_the_leader(
    nodes: NodeCluster, release: Installed, new_shop: Callable[..., Shop], record_property: Record
) -> None:
    """
    The node of the operator's leader and of one gateway pod dies as by a power cut. The other replica leads once the
    Lease has run out, whatever Kubernetes says of the node meanwhile. As soon as Kubernetes knows that the node is dead
    the status says what that means: no gateway is Ready whose only pod was there, and of another's pods one is left.
    Clients that make a failed request once more lose none.
    """
    first, second = nodes.machines
    shop = new_shop(on=first.name)
    shop.apply()
    only_there = {"replicas": 1, "nodeSelector": {"kubernetes.io/hostname": second.name}}
    shop.gateways.apply(BOUND, destination("other", ports=[{"port": 80, "protocol": "HTTP"}]), gateway=only_there)
    shop.gateways.wait_ready(BOUND, timeout=SECONDS)
    assert places(shop.pods()) == {first.name: 1, second.name: 1}
    assert places(release.pods()) == {first.name: 1, second.name: 1}
    leader = release.move_leader_to(second.name)
    with shop.load() as plain, shop.load(retries=RETRIES) as retrying:
        nodes.kill_node(second)
        successor = release.wait_for_leader(other_than=leader)
        # The node counts as Ready for longer than a Lease lives: nobody had to be told that it is dead.
        assert nodes.ready_nodes() == {first.name, second.name}
        [pod] = [each for each in release.pods() if each["metadata"]["name"] == successor]
        assert pod["spec"]["nodeName"] == first.name
        eventually(lambda: nodes.ready_nodes() == {first.name}, timeout=SECONDS, what="a node that is not Ready")
        eventually(lambda: ready_pods(shop, "partners") == 1, what="one pod that is left")
        shop.gateways.wait_ready("partners")
        shop.gateways.wait(BOUND, "Ready", "False", "GatewayNotReady")
        assert ready_pods(shop, BOUND) == 0
        moved = lambda: places([each for each in shop.pods() if is_ready(each)]) == {first.name: 2}  # noqa: E731
        eventually(moved, timeout=2 * SECONDS, what="gateway pods on the node that is left")
        shop.gateways.wait_ready("partners", timeout=SECONDS)
        # Whoever comes later sees nothing of it.
        retrying.wait_for(20)
    record_property("nodes", f"dead node: {plain.report}")
    record_property("nodes", f"dead node, with retries: {retrying.report}")
    assert not retrying.report.lost, str(retrying.report)


def ready_pods(shop: Shop, name: str) -> int:
    """How many pods of a gateway are ready, by its status."""
    return int(shop.gateways.get(name)["status"]["gateway"]["readyReplicas"])
