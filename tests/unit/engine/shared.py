"""A world whose object is served by a gateway of the platform's, in namespace `edge`."""

from __future__ import annotations

from typing import Final

from egressgateway.facts import PodSelection
from egressgateway.refs import ObjectRef
from unit.engine.simulation import World
from unit.objects import destination, spec

SELECTOR: Final = {"istio": "egress"}
CLASS: Final = {"shared": {"namespace": "edge", "service": "egress", "selector": SELECTOR}}


def shared_world(*, settle: bool = True) -> World:
    """Two destinations, served unless not asked to `settle`."""
    world = World({"className": "standard", **spec(destination("a"), destination("b"))})
    world.set_namespace("edge")
    metadata = {"namespace": "edge", "name": "egress", "resourceVersion": "1"}
    service = {"metadata": metadata, "spec": {"ports": [{"port": 80}, {"port": 443}]}}
    world.set_reference(ObjectRef("Service", "edge", "egress"), service)
    pod = {
        "metadata": {"name": "p", "namespace": "edge", "labels": SELECTOR},
        "spec": {"serviceAccountName": "egress"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    world.set_pods(PodSelection("edge", tuple(SELECTOR.items())), pod)
    world.set_class(CLASS)
    if settle:
        world.settle()
        assert world.status["remoteChildren"]
    return world
