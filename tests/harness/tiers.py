"""The tiers of the tests beyond unit tests: what each needs, and whether it may be left out here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache

from harness import tools
from harness.helm import find_helm
from harness.mesh import place
from harness.node import place as node_place
from harness.node.programs import Programs
from harness.real import on_kind
from harness.session import FOREIGN

REQUIRE = "EGRESSGATEWAY_REQUIRE_TIERS"
_DOCKER_SECONDS = 20


def missing(tier: str) -> str:
    """What the tier `controlplane`, `mesh`, `node` or `kind` lacks on this machine; empty if nothing."""
    lacking: dict[str, Callable[[], str]] = {
        "controlplane": _control_plane,
        "mesh": _mesh,
        "node": _node,
        "kind": _kind,
    }
    return lacking[tier]()


def may_be_skipped(tier: str) -> bool:
    """Whether a tier that lacks something is skipped, not failed: in CI only `kind` is, as it needs docker."""
    required = os.environ.get(REQUIRE, "")
    if "kind" in required.split(",") or tier != "kind":
        return not (required or os.environ.get("CI"))
    return True


def left_out(tier: str) -> str:
    """Why the tier is not run here; empty if it is, be it to say that something is missing which may not be."""
    return missing(tier) if may_be_skipped(tier) else ""


def _control_plane() -> str:
    try:
        if os.environ.get(FOREIGN):
            tools.find_kubectl()
        else:
            tools.find()
        tools.istio_crds(download=False)
        find_helm()
    except tools.ToolsMissing as error:
        return str(error)
    return ""


def _mesh() -> str:
    if lacking := place.missing() or _control_plane():
        return lacking
    try:
        tools.find_mesh()
    except tools.ToolsMissing as error:
        return str(error)
    return ""


def _node() -> str:
    if on_kind():
        return _kind()
    if lacking := place.missing() or node_place.missing() or _control_plane():
        return lacking
    try:
        tools.find_mesh()
        Programs.find()
    except tools.ToolsMissing as error:
        return str(error)
    return ""


@cache
def _kind() -> str:
    if not shutil.which("docker"):
        return "docker: not in PATH"
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False)
    return "" if done.returncode == 0 else f"docker: no engine answers ({done.stderr.strip().splitlines()[-1]})"
