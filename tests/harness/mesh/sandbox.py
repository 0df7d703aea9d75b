"""A pod on the machine: its network namespace, its directory, and the processes of its containers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.mesh.containers import Container, arguments, environment, user_of
from harness.mesh.layout import CLUSTER_DOMAIN, DNS_IP, NODE_IP, NODE_IP_6, ROUTER_6, twin_of
from harness.mesh.netns import ROOTS, Netns, ip, knows_ipv6

Object = dict[str, Any]

AGENT = "pilot-agent"


@dataclass(frozen=True, slots=True)
class Programs:
    """What a pod's processes need of the machine: a directory with `pilot-agent`, and the roots that pods trust."""

    directory: Path
    roots: Path


class Sandbox:
    """One pod's place. It is made by `create` and ended by `destroy`."""

    def __init__(self, pod: Object, address: str, netns: Netns, directory: Path, programs: Programs) -> None:
        self.pod = pod
        self.address = address
        self.netns = netns
        self.directory = directory
        self._programs = programs

    def create(self, device: str) -> None:
        """Make namespace and directory. `device` is the name of the link to the pod in the node's namespace."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, mode=0o711)
        (self.directory / "netns").write_text(self.netns.name)
        self.netns.create()
        # Each pod is routed, not bridged: the node sees all of its traffic, as with Calico, and translates Services on
        # the way.
        ip(
            f"link add name {device} type veth peer name eth0 netns {self.netns.name}",
            f"link set {device} up",
            f"route add {self.address}/32 dev {device} src {NODE_IP}",
        )
        self.netns.ip(
            f"address add {self.address}/32 dev eth0",
            "link set eth0 up",
            f"route add {NODE_IP} dev eth0",
            f"route add default via {NODE_IP} dev eth0",
        )
        if knows_ipv6():
            self._add_ipv6(device)
        self.netns.sysctl(net_ipv4_ip_unprivileged_port_start=0)
        namespace = self.pod["metadata"]["namespace"]
        search = " ".join([f"{namespace}.svc.{CLUSTER_DOMAIN}", f"svc.{CLUSTER_DOMAIN}", CLUSTER_DOMAIN])
        self.netns.overlay("resolv.conf", f"nameserver {DNS_IP}\nsearch {search}\noptions ndots:5 timeout:2\n")
        self.netns.overlay("hosts", f"127.0.0.1 localhost\n{self.address} {self.pod['metadata']['name']}\n")
        self.netns.overlay(ROOTS, self._programs.roots.read_text())

    def _add_ipv6(self, device: str) -> None:
        own = twin_of(self.address)
        ip(f"address add {ROUTER_6}/64 dev {device} nodad", f"route add {own}/128 dev {device} src {NODE_IP_6}")
        self.netns.ip(
            f"address add {own}/128 dev eth0 nodad",
            f"route add default via {ROUTER_6} dev eth0",
        )

    def root_of(self, container: Container) -> Path:
        """
        The directory that a container's process takes for `/`: it is started there and looks for files relative to it.
        """
        return self.directory / container.name

    def own(self, container: Container) -> None:
        """Give a container's files to the user whose process it is."""
        user = user_of(self.pod, container)
        for place in (self.root_of(container), self.directory / "volumes"):
            for path in (place, *place.rglob("*")) if place.exists() else ():
                os.chown(path, user, user, follow_symlinks=False)

    async def start(self, container: Container) -> Process:
        """Start a container's process; its output goes to a file beside its directory."""
        log = self.directory / f"{container.name}.log"
        if not container.real:
            # With the harness's own rights and path: the program may be one of ours.
            return await Process.start(
                self.netns.inside(*container.stand_in), log, os.environ, self.directory, os.geteuid()
            )
        user = user_of(self.pod, container)
        values = environment(self.pod, container, self.address)
        identity = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs")
        command = (str(self._programs.directory / AGENT), *arguments(container, values))
        values = {"PATH": os.environ["PATH"], "HOME": "/", **values}
        return await Process.start(self.netns.inside(*identity, *command), log, values, self.root_of(container), user)

    def destroy(self) -> None:
        """End whatever runs in it and remove the namespace. The directory stays, for whoever looks for the reason."""
        self.netns.delete()
        shutil.rmtree(self.directory / "volumes", ignore_errors=True)


class Process:
    """A started container."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, argv: list[str], log: Path, values: Mapping[str, str], directory: Path, user: int) -> Process:
        """Start it in a session of its own, appending to `log`, which the process may open anew: Envoy does."""
        with log.open("ab") as output:
            os.chown(log, user, user)
            return cls(
                await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(values),
                    cwd=directory,
                    start_new_session=True,
                )
            )

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask the container's first process to end; what that means for others is its affair."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
