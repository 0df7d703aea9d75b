"""
A whole cluster on this machine: control plane, nodes and the world; started, found again, stopped.

The control plane is that of `harness.controlplane`, in the network of the first node. Whatever is lost track of is
found by the cluster's prefix: namespaces, devices and control groups are named after it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Final, Self

import yaml

from harness.controlplane import TESTS, ControlPlane, Options
from harness.kubeconfig import Access
from harness.link import Link, free_link
from harness.mesh import netns
from harness.mesh.layout import WORLD_DNS_IP
from harness.mesh.world.outside import Outside
from harness.node import cgroups
from harness.node.machine import Machine, entered, world_of
from harness.node.manifests import CONTAINERD, coredns, kube_proxy_config, kubelet_config
from harness.node.place import new_prefix
from harness.node.programs import Programs
from harness.pki import write_pair
from harness.processes import Process, spawn
from harness.tools import Tools
from harness.wait import START, eventually

PORT: Final = 6443
"""Of the API server, as most clusters have it: NetworkPolicies name it."""

_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
_READY_SECONDS = 120
_REPLACED = (
    # Lists, of which the API server takes no second one.
    "--authorization-mode",
    "--enable-admission-plugins",
    # What the embedded control plane does without, a cluster has.
    "--disable-admission-plugins",
    "--enable-priority-and-fairness",
    "--advertise-address",
    "--endpoint-reconciler-type",
)


class NodeCluster(ControlPlane):
    """A cluster in `directory`, running or not."""

    def __init__(self, directory: Path, found: Tools, programs: Programs, images: Path, nodes: int = 2) -> None:
        """`images`: the store from which each node gets its images."""
        super().__init__(directory, found)
        self.programs = programs
        self.images = images
        self.nodes = nodes
        self.prefix = ""
        self.link = Link("", "", "")

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The cluster that was started in `directory` and not stopped, or None."""
        try:
            state = json.loads((directory / "node.json").read_text())
        except FileNotFoundError:
            return None
        programs = Programs(**{name: Path(path) for name, path in state["programs"].items()})
        found = Tools(**{name: Path(path) for name, path in state["tools"].items()})
        cluster = cls(directory, found, programs, Path(state["images"]), state["nodes"])
        cluster.prefix, cluster.link = state["prefix"], Link(**state["link"])
        cluster.processes = {name: Process.load(each) for name, each in state["processes"].items()}
        return cluster

    @property
    def machines(self) -> list[Machine]:
        return [Machine(number, self.prefix, self.link, self.directory) for number in range(1, self.nodes + 1)]

    @cached_property
    def world(self) -> Outside:
        """Everything outside of the cluster."""
        return Outside(self.directory / "world")

    def up(self, owner: int | None, say: Callable[[str], None] = lambda _: None) -> None:
        """
        Start everything in an empty directory and return when nodes are Ready and names resolve; else leave nothing
        behind. `owner`: it ends with this process; None: it stays.

        Raises:
            RuntimeError: a process ended; holds the end of its log.
            TimeoutError: not ready in time.
            NetworkError: the machine does not let us make namespaces.
        """
        self.directory.mkdir(parents=True)
        # Programs that are not root have files below.
        self.directory.chmod(0o711)
        self.prefix = new_prefix()
        self.link = free_link(self.prefix.rstrip("-"))
        self._save()
        try:
            self._up(owner, say)
        except BaseException:
            self.stop()
            raise

    def _up(self, owner: int | None, say: Callable[[str], None]) -> None:
        if owner is not None:
            guard = [sys.executable, "-m", "harness.node", "guard", "--owner", str(owner), str(self.directory)]
            self._start_process("guard", guard, {"PYTHONPATH": str(TESTS)})
        say(f"making {self.nodes} nodes")
        for machine in self.machines:
            machine.directory.mkdir()
            machine.wire()
        self._begin_world()
        with ThreadPoolExecutor(1) as pool:
            furnished = pool.submit(self._furnish)
            self.start(Options(kubelet=False, host=self.link.node, port=PORT), say)
            furnished.result()
        say("starting the nodes")
        self._kubeconfig_of("scheduler", "system:kube-scheduler")
        self._kubeconfig_of("proxy", "system:kube-proxy")
        scheduler = [str(self.programs.kube_scheduler), f"--kubeconfig={self._file('scheduler.kubeconfig')}"]
        self._spawn("kube-scheduler", [*scheduler, "--leader-elect=false"])
        for machine in self.machines:
            self.begin_node(machine)
        for machine in self.machines:
            self._begin_firewall(machine)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=_documents(coredns(self.machines[0].name)))
        eventually(self._nodes_ready, timeout=_READY_SECONDS, what="nodes that are Ready")
        rollout = ("rollout", "status", "deployment/coredns", "--namespace", "kube-system")
        self.kubectl(*rollout, f"--timeout={_READY_SECONDS}s", timeout=_READY_SECONDS + 10)

    def begin_node(self, machine: Machine) -> None:
        """Start the programs of a node whose network and places are there."""
        holder, first = machine.begin()
        self.processes |= {f"{machine.name}/holder": holder, f"{machine.name}/init": first}
        config = machine.directory / "containerd.toml"
        self._spawn(f"{machine.name}/containerd", [str(self.programs.containerd), "--config", str(config)], machine)
        socket = machine.root / CONTAINERD.lstrip("/")
        eventually(lambda: self._alive_and(machine, socket.exists), timeout=START, what="containerd")
        self._spawn(f"{machine.name}/kubelet", self._kubelet(machine), machine)
        self._spawn(f"{machine.name}/kube-proxy", self._kube_proxy(machine), machine)

    def load_image(self, archive: Path) -> None:
        """Give every node the images of an archive, as a registry would."""
        for machine in self.machines:
            argv = (str(self.programs.ctr), "--address", CONTAINERD, "--namespace", "k8s.io", "images", "import")
            inside = entered(self.processes[f"{machine.name}/init"].pid, *argv, str(archive))
            done = subprocess.run(inside, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{archive}: {done.stderr}")

    def _begin_firewall(self, machine: Machine) -> None:
        path = f"/api/v1/nodes/{machine.name}"
        # kube-router ends where its node is not known yet.
        there = partial(self._alive_and, machine, partial(self.rest.exists, path))
        eventually(there, timeout=START, what=machine.name)
        self._spawn(f"{machine.name}/kube-router", self._kube_router(machine), machine)

    def kill_node(self, machine: Machine) -> None:
        """End a node at once, as a power cut would: nothing says goodbye, its link is dead, no answer comes."""
        if machine.number == 1:
            raise ValueError("the control plane lives on the first node")
        machine.netns.ip("link set eth0 down")
        for name in ("holder", "init"):
            self.processes[f"{machine.name}/{name}"].stop()

    def stop(self) -> None:
        """End all of it and remove what it made; logs stay."""
        guard = self.processes.get("guard")
        if guard and guard.pid != os.getpid():
            guard.stop()
        # With a node's first process all of its own end, and what they had mounted.
        for name in sorted(self.processes.keys() - {"guard"}, key=lambda name: not name.endswith("/holder")):
            self.processes[name].stop()
        super().stop()
        if self.prefix:
            netns.delete_all(netns.with_prefix(self.prefix))
            with suppress(netns.NetworkError):
                netns.ip(f"link delete {self.link.device}")
            eventually(self._groups_removed, timeout=START, what="the end of the cluster's control groups")
        for machine in self.machines:
            machine.clear()
        with suppress(FileNotFoundError):
            (self.directory / "node.json").unlink()

    def left_behind(self) -> list[str]:
        """What is still there of a cluster that was stopped, but for its logs: nothing is what is wanted."""
        links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
        name = self.prefix.rstrip("-")
        return [
            *(str(each.path) for each in netns.with_prefix(self.prefix)),
            *(line for line in links.splitlines() if name in line),
            *(str(each) for each in cgroups.found(name)),
            *(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.directory) in line),
            *(str(each) for each in self.directory.rglob("*") if each.is_file() and each.suffix in (".db", ".json")),
            *(name for name, each in self.processes.items() if each.alive()),
        ]

    def _furnish(self) -> None:
        for machine in self.machines:
            machine.furnish(self.programs, self.images)

    def _begin_world(self) -> None:
        self.world.directory.mkdir(mode=0o711)
        self.world.certificates.create()
        entered = world_of(self.prefix).enter(*self.world.command())
        self._start_process("world", entered, {"PYTHONPATH": str(TESTS)})

    def _groups_removed(self) -> bool:
        # A group is busy for a moment after its last process has ended.
        try:
            cgroups.remove(self.prefix.rstrip("-"))
        except OSError as busy:
            raise AssertionError(str(busy)) from busy
        return True

    def _alive_and(self, machine: Machine, check: Callable[[], bool]) -> bool:
        self._assert_alive(*(name for name in self.processes if name.startswith(f"{machine.name}/")))
        return check()

    def _nodes_ready(self) -> bool:
        self._assert_alive(*self.processes)
        return self.ready_nodes() == {machine.name for machine in self.machines}

    def ready_nodes(self) -> set[str]:
        """Nodes that are Ready."""
        return {
            node["metadata"]["name"]
            for node in self.rest.items("/api/v1/nodes")
            for each in node["status"].get("conditions", ())
            if (each["type"], each["status"]) == ("Ready", "True")
        }

    # -- How programs are started.

    def _spawn(self, name: str, argv: list[str], machine: Machine | None = None) -> None:
        if machine:
            argv = entered(self.processes[f"{machine.name}/init"].pid, *argv)
        elif name in _PLANE or name == "kube-scheduler":
            argv = self.machines[0].netns.enter(*argv)
        path = f"{self.programs.containerd.parent}:/usr/sbin:/sbin:{os.environ['PATH']}"
        self._start_process(name, argv, {"PATH": path})

    def _start_process(self, name: str, argv: list[str], environment: dict[str, str]) -> None:
        log = self.directory / f"{name}.log"
        self.processes[name] = spawn(argv, log, environment)
        self._save()

    def _apiserver(self, etcd: int, port: int, options: Options) -> list[str]:
        write_pair(self.authority.issue("kubelet-client", ("system:masters",)), self.directory, "kubelet-client")
        return [
            *(each for each in super()._apiserver(etcd, port, options) if not each.startswith(_REPLACED)),
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--endpoint-reconciler-type=lease",
            f"--advertise-address={self.link.node}",
            f"--kubelet-client-certificate={self._file('kubelet-client.crt')}",
            f"--kubelet-client-key={self._file('kubelet-client.key')}",
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _controller_manager(self) -> list[str]:
        listed = (each for each in super()._controller_manager() if not each.startswith("--controllers"))
        return [*listed, "--controllers=*", "--use-service-account-credentials=true"]

    def _kubelet(self, machine: Machine) -> list[str]:
        self._kubeconfig_of(machine.name, f"system:node:{machine.name}", "system:nodes")
        resolv, config = machine.directory / "resolv.conf", machine.directory / "kubelet.yaml"
        resolv.write_text(f"nameserver {WORLD_DNS_IP}\n")
        config.write_text(yaml.safe_dump(kubelet_config(machine.cgroup, self.authority.certificate_file, resolv)))
        return [
            str(self.programs.kubelet),
            f"--config={config}",
            f"--kubeconfig={self._file(f'{machine.name}.kubeconfig')}",
            f"--hostname-override={machine.name}",
            f"--node-ip={machine.address}",
            "--cert-dir=/var/lib/kubelet/pki",
        ]

    def _kube_proxy(self, machine: Machine) -> list[str]:
        config = machine.directory / "kube-proxy.yaml"
        config.write_text(yaml.safe_dump(kube_proxy_config(self.directory / "proxy.kubeconfig", machine.name)))
        return [str(self.programs.kube_proxy), f"--config={config}"]

    def _kube_router(self, machine: Machine) -> list[str]:
        """Its firewall alone: it enforces NetworkPolicies."""
        return [
            str(self.programs.kube_router),
            f"--kubeconfig={self.kubeconfig}",
            f"--hostname-override={machine.name}",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            "--metrics-port=0",
            "--iptables-sync-period=30s",
        ]

    def _kubeconfig_of(self, name: str, user: str, *groups: str) -> None:
        admin, pair = Access.read(self.kubeconfig), self.authority.issue(user, groups)
        Access(admin.server, admin.ca, pair.certificate, pair.key).write(self.directory / f"{name}.kubeconfig")

    def _file(self, name: str) -> str:
        return str(self.directory / name)

    def _save(self) -> None:
        super()._save()
        state = {
            "prefix": self.prefix,
            "link": asdict(self.link),
            "nodes": self.nodes,
            "images": str(self.images),
            "programs": {name: str(path) for name, path in asdict(self.programs).items()},
            "tools": {name: str(path) for name, path in asdict(self.tools).items()},
            "processes": {name: asdict(process) for name, process in self.processes.items()},
        }
        temporary = self.directory / "node.json.new"
        temporary.write_text(json.dumps(state, indent=1))
        temporary.replace(self.directory / "node.json")


def _documents(objects: list[dict[str, object]]) -> str:
    return "\n---\n".join(map(json.dumps, objects))


def remove(directory: Path) -> bool:
    """Stop the cluster of a directory, if there is one, and remove all that is left of it; whether there was one."""
    cluster = NodeCluster.load(directory)
    if cluster:
        cluster.stop()
    shutil.rmtree(directory, ignore_errors=True)
    return cluster is not None
