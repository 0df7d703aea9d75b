"""What helps to understand a failure of this tier, as a text: pods, gateways, and the ends of logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.mesh.mesh import Mesh

LOOKS = (
    ("get", "pods", "--all-namespaces", "--output=wide"),
    (
        "get",
        "egressgateways,serviceentries,gateways.networking.istio.io,virtualservices,destinationrules",
        "--all-namespaces",
    ),
    ("get", "egressgateways", "--all-namespaces", "--output=yaml"),
)
TAIL_LINES = 15


def dump_mesh(mesh: Mesh) -> str:
    """The state of a mesh as of now."""
    return "\n".join(_parts(mesh))


def _parts(mesh: Mesh) -> Iterator[str]:
    for look in LOOKS:
        done = mesh.cluster.kubectl(*look, "--request-timeout=5s", check=False)
        yield f"$ kubectl {' '.join(look)}\n{done.stdout}{done.stderr}"
    logs = [mesh.directory / f"{name}.log" for name in ("node", "istiod", "world")]
    for path in (*logs, *sorted(mesh.directory.glob("names/*/*/istio-proxy.log"))):
        yield f"==> {path.relative_to(mesh.directory)} <==\n{_tail(path)}"


def _tail(path: Path) -> str:
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])
