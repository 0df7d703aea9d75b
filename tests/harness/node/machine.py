"""One node: its namespaces, its links, its places, and its end."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.link import Link
from harness.mesh.layout import INNER_NETWORK, METADATA_IP, WORLD_IP, WORLD_NETWORK
from harness.mesh.mesh import FENCE
from harness.mesh.netns import Netns, ip
from harness.node import cgroups, init, store
from harness.node.layout import SERVICE_NETWORK, ends_of, pods_of
from harness.node.manifests import CONTAINERD, cni_config, containerd_config
from harness.node.programs import Programs
from harness.processes import Process, remembered, spawn
from harness.wait import START, eventually

_OUTSIDE: Final = (WORLD_NETWORK, INNER_NETWORK, METADATA_IP)


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of a cluster, by its number, which counts from 1: running or not."""

    number: int
    prefix: str
    link: Link
    cluster: Path
    """The cluster's directory."""

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def directory(self) -> Path:
        return self.cluster / self.name

    @property
    def root(self) -> Path:
        """What the node's programs have at `HIDDEN`."""
        return self.directory / "root"

    @property
    def netns(self) -> Netns:
        return Netns(f"{self.prefix}{self.number}")

    @property
    def address(self) -> str:
        return self.link.node if self.number == 1 else ends_of(self.number)[1]

    @property
    def cgroup(self) -> str:
        return f"{self.prefix.rstrip('-')}/{self.name}"

    def wire(self) -> None:
        """Make the node's network: the first has the ways to the machine and to the world, others one to the first."""
        self.netns.create()
        self.netns.sysctl(net_ipv4_ip_forward=1)
        if self.number == 1:
            self._wire_first()
        else:
            self._wire_to_first(Netns(f"{self.prefix}1"))

    def _wire_first(self) -> None:
        link, world = self.link, world_of(self.prefix)
        near, far = ends_of(0)
        world.create()
        ip(
            f"link add name {link.device} type veth peer name machine netns {self.netns.name}",
            f"address add {link.host}/30 dev {link.device}",
            f"link set {link.device} up",
        )
        self.netns.ip(
            f"address add {link.node}/30 dev machine",
            "link set machine up",
            f"link add name world type veth peer name eth0 netns {world.name}",
            f"address add {near}/30 dev world",
            "link set world up",
            *(f"route add {each} via {far} dev world" for each in _OUTSIDE),
            # The node itself calls Services (kube-apiserver calls webhooks): what has no route at all is refused before
            # kube-proxy's rules see it.
            f"route add {SERVICE_NETWORK} dev world",
        )
        # Pods may not reach the machine: it would be a way past everything.
        self.netns.nft(FENCE)
        world.ip(
            f"address add {far}/30 dev eth0",
            f"address add {WORLD_IP}/32 dev lo",
            "link set eth0 up",
            f"route add default via {near}",
            # Every address of the world is the world's own, without being listed.
            *(f"route add local {each} dev lo" for each in _OUTSIDE),
        )

    def _wire_to_first(self, first: Netns) -> None:
        near, far = ends_of(self.number)
        first.ip(
            f"link add name {self.name} type veth peer name eth0 netns {self.netns.name}",
            f"address add {near}/30 dev {self.name}",
            f"link set {self.name} up",
            f"route add {pods_of(self.number)} via {far}",
        )
        self.netns.ip(
            f"address add {far}/30 dev eth0",
            "link set eth0 up",
            f"route add default via {near}",
        )

    def furnish(self, programs: Programs, images: Path) -> None:
        """Give the node its images, its plugins, and control groups for its pods."""
        cgroups.create(self.cgroup)
        library = self.root / "var/lib"
        library.mkdir(parents=True)
        store.copy(images, library / "containerd")
        for path in (programs.ptp, programs.host_local, programs.loopback, programs.portmap):
            (library / "cni/bin").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, library / "cni/bin" / path.name)
        (library / "cni/conf").mkdir()
        config = cni_config(pods_of(self.number))
        (library / "cni/conf/pods.conflist").write_text(json.dumps(config))
        inside = containerd_config(Path("/var/lib/containerd"), Path(CONTAINERD).parent)
        (self.directory / "containerd.toml").write_text(inside)

    def begin(self) -> tuple[Process, Process]:
        """Start the first process; returns its holder and it: with either all of the node ends."""
        isolated = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
        argv = self.netns.enter(*isolated, sys.executable, "-P", init.__file__, str(self.directory))
        log = self.directory / "init.log"
        holder = spawn(argv, log)

        def ready() -> bool:
            if not holder.alive():
                raise RuntimeError(f"the first process of {self.name} ended:\n{log.read_text()}")
            return (self.directory / init.READY).exists()

        eventually(ready, timeout=START, what=f"the first process of {self.name}")
        [first] = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        return holder, remembered(int(first), (sys.executable, init.__file__))

    def clear(self) -> None:
        """Remove what the node wrote; its logs stay. No process of it may be left."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.directory / "sysctl", ignore_errors=True)


def world_of(prefix: str) -> Netns:
    return Netns(f"{prefix}world")


def entered(first: int, *argv: str) -> list[str]:
    """The command that runs `argv` in the namespaces of a node's first process."""
    return [shutil.which("nsenter") or "nsenter", "--target", str(first), "--mount", "--net", "--pid", *argv]
