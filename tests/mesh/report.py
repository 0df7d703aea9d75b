"""
What events cost requests when the operator makes them, beside the same manifests written with one `kubectl apply`, and
those that are not wanted any more deleted, all at once. A report and no test: `make mesh-report`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.gateways import Gateways
from harness.mesh.events import EVENTS
from harness.mesh.exits import ByHand, ByOperator, Exit
from harness.mesh.scene import MODES, Scene


@pytest.mark.parametrize("who", ["operator", "by hand"])
@pytest.mark.parametrize("name", EVENTS)
def test_report(name: str, who: str, scene: Scene, record_property: Callable[[str, object], None]) -> None:
    exit_: Exit = (
        ByHand(scene.mesh, scene.namespace)
        if who == "by hand"
        else ByOperator(Gateways(scene.mesh.cluster, scene.namespace))
    )
    seen = EVENTS[name](scene, exit_)
    for mode in MODES:
        record_property("continuity", seen.cost(mode).line(f"{name}: {mode}, {who}"))
    # What cannot fail reports nothing: requests were made, and most of them by the gateway.
    assert all(report.through > 30 for report in seen.reports.values())
