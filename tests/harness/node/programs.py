"""The programs of a node, and those of its pods: built from `tests/tools`, taken from nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

from harness import tools
from harness.go import GatewayState
from harness.tools import Family, required_version

_STATIC: Final = "osusergo,netgo,static_build"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_PLUGINS: Final = "github.com/containernetworking/plugins"
_OURS: Final = "egressgateway.dev/tests/tools"

CNI_PLUGINS: Final = ("ptp", "host-local", "loopback", "portmap")

FAMILIES: Final = (
    Family(
        "kubernetes",
        tuple(f"k8s.io/kubernetes/cmd/{name}" for name in ("kubelet", "kube-proxy", "kube-scheduler")),
        tools.KUBERNETES.ldflags,
        only_built=True,
    ),
    Family(
        "containerd",
        tuple(f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        f"-s -w -X {_CONTAINERD}/version.Version={required_version('containerd', _CONTAINERD)}",
        # Snapshotters and checks that no test needs, and that draw in libraries of C.
        f"no_btrfs,no_devmapper,no_zfs,no_aufs,no_systemd,{_STATIC}",
        only_built=True,
    ),
    Family(
        "cni",
        tuple(
            f"{_PLUGINS}/plugins/{name}" for name in ("main/ptp", "ipam/host-local", "main/loopback", "meta/portmap")
        ),
        only_built=True,
    ),
    Family("kube-router", ("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",), only_built=True),
    Family("coredns", (f"{_OURS}/coredns",), only_built=True),
    Family("pod", (f"{_OURS}/pod",), only_built=True),
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where each lies."""

    kubelet: Path
    kube_proxy: Path
    kube_scheduler: Path
    containerd: Path
    containerd_shim_runc_v2: Path
    ctr: Path
    ptp: Path
    host_local: Path
    loopback: Path
    portmap: Path
    kube_router: Path
    coredns: Path
    pod: Path

    @classmethod
    def find(cls) -> Self:
        """
        All of them, without building anything.

        Raises:
            ToolsMissing: names what is missing and how to get it.
        """
        return cls._of(tools.find_programs(*FAMILIES, target="tools-node"))

    @classmethod
    def obtain(cls, progress: GatewayState | None = None) -> Self:
        """
        All of them; what is missing is built first.

        Raises:
            ToolsMissing: the build failed, with the compiler's words.
        """
        return cls._of(tools.obtain_programs(*FAMILIES, progress=progress))

    @classmethod
    def _of(cls, found: dict[str, Path]) -> Self:
        return cls(**{each.name: found[each.name.replace("_", "-")] for each in fields(cls)})

    def paths(self) -> list[Path]:
        return [getattr(self, each.name) for each in fields(self)]
