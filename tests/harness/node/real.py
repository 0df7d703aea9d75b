"""Nodes of this machine as the tests of the release see them."""

from __future__ import annotations

from egressgateway import __version__
from harness.gateways import destination
from harness.node import operator_image
from harness.node.cluster import NodeCluster
from harness.node.images import POD
from harness.real import HOST, RealCluster
from harness.rest import Object


class RealNodes(RealCluster):
    """Images are on the nodes already, and nobody could pull them; the partner is one of the world's servers."""

    def __init__(self, nodes: NodeCluster) -> None:
        self.cluster = self.nodes = nodes
        self.image = {"repository": operator_image.NAME, "tag": __version__}
        self.client = {"name": "client", "image": POD, "args": ["pause"]}

    def partner(self, *ports: Object) -> Object:
        return destination("partner", HOST, ports=list(ports) or [{"port": 80, "protocol": "HTTP"}])

    def peers(self, path: str) -> set[str]:
        return {str(each["peer"]) for each in self.nodes.world.journal.since() if each.get("path") == path}
