"""
What istiod tells ztunnels, which serve pods in ambient mode: nothing of an object takes a name from them.

No ztunnel runs here. It learns of every ServiceEntry, whatever its exportTo says, and answers its names with the
address that the entry has, if any (notes "ambient" §0).
"""

from __future__ import annotations

import json
from functools import partial

from harness.gateways import Gateways, destination
from harness.mesh import istio
from harness.mesh.mesh import Mesh
from harness.rest import Object
from harness.wait import eventually

HTTP = [{"port": 80, "protocol": "HTTP"}, {"port": 443, "protocol": "TLS"}]
TCP = [{"port": 5432, "protocol": "TCP"}]


def test_names_stay_those_of_the_world(mesh: Mesh, gateways: Gateways) -> None:
    """A name has no address of Istio's unless sidecars need one; a gateway's private names never do."""
    token = gateways.namespace
    web, database, moved = (f"{kind}-{token}.example.com" for kind in ("web", "db", "moved"))
    gateways.apply(
        "exit",
        destination("web", web, ports=HTTP),
        destination("db", database, ports=TCP),
        destination("moved", moved, ports=HTTP) | {"endpoints": [{"address": web}]},
    )
    gateways.wait_ready("exit")
    expected = {web: False, database: True, moved: True}
    eventually(partial(_are_known, mesh, set(expected)), what="what ztunnels are told")
    told = _addresses(mesh)
    assert {name: bool(told[name]) for name in expected} == expected
    private = [name for name in told if name.startswith("http-") and name.endswith(f".{token}.egress.internal")]
    assert private
    assert [name for name in private if told[name]] == []


def _are_known(mesh: Mesh, names: set[str]) -> bool:
    return names <= _addresses(mesh).keys()


def _addresses(mesh: Mesh) -> dict[str, list[Object]]:
    """Addresses of each name, as ztunnels are told."""
    services = json.loads(istio.ask(mesh.node, "/debug/ambientz"))["services"]
    return {each["hostname"]: each.get("addresses") or each.get("vips") or [] for each in services}
