"""
A real cluster as the tests of the release see it, whoever runs it: nodes of this machine, or kind.

Both have Istio, the operator's image on every node, and a partner outside of the mesh, of whom it is known from where
he was asked.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Final

from harness.cluster import Cluster
from harness.rest import Object

KIND: Final = "EGRESSGATEWAY_NODE_TIER"
"""Set to `kind`, the tier `node` runs on kind."""

SYSTEM: Final = "egressgateway-system"
HOST: Final = "httpbin.org"
"""The partner's name."""


def on_kind() -> bool:
    """Whether the tests of tier `node` are to run on kind."""
    return os.environ.get(KIND) == "kind"


class RealCluster(ABC):
    """A cluster, and what surrounds it."""

    cluster: Cluster
    image: dict[str, Any]
    """The value `image` of the chart: this tree's."""

    client: Object
    """A container that waits, and in which curl can be called; its name is `client`."""

    class_name: str = ""
    """The class of EgressGateways that lead to the partner; empty where they need none."""

    @abstractmethod
    def partner(self, *ports: Object) -> Object:
        """A destination: the partner, by HTTP on port 80 if no other ports are named."""

    @abstractmethod
    def peers(self, path: str) -> set[str]:
        """Addresses from which the partner was asked for a path."""

    def spec(self, **further: Any) -> Object:
        """Fields of an EgressGateway beside its destinations."""
        return {**({"className": self.class_name} if self.class_name else {}), **further}
