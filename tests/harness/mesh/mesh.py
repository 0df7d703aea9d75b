"""
A whole mesh on this machine: control plane, node, istiod and the world; started, found again, stopped.

kube-apiserver runs in the machine's own namespace, at an address of a link that leads to the node and nowhere else, so
that kubectl and an operator reach it as they are. All the rest has namespaces without a way out. Whatever is lost track
of is found by its prefix.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from harness.controlplane import TESTS, ControlPlane, Options
from harness.link import Link, free_link
from harness.mesh import istio, netns
from harness.mesh.layout import (
    DEAD_NETWORK,
    DNS_IP,
    INNER_NETWORK,
    METADATA_IP,
    NODE_IP,
    NODE_IP_6,
    POD_NETWORK,
    ROUTER_6,
    WORLD_DNS_IP,
    WORLD_IP,
    WORLD_IP_6,
    WORLD_NETWORK,
    WORLD_NETWORK_6,
)
from harness.mesh.netns import ROOTS, Netns
from harness.mesh.place import new_prefix
from harness.mesh.sync import Sync
from harness.mesh.world.certificates import Certificates
from harness.mesh.world.journal import Journal
from harness.mesh.world.outside import Outside
from harness.processes import Process, spawn
from harness.rest import Object
from harness.tools import MeshTools, Tools
from harness.wait import CONVERGE, START, eventually

WAYS_IN = 0o711
"""Mode of directories through which proxies, which are not root, reach their own files."""

WRAPPER = """#!/bin/sh
for argument; do
  shift
  [ "$before" = --file-flush-interval-msec ] && argument=20
  set -- "$@" "$argument"
  before=$argument
done
exec {envoy} "$@"
"""
"""
Envoy as pods start it: a line of the access log is there 20 ms after its request, where the agent asks for a second.
"""


OUTSIDE = (WORLD_NETWORK, INNER_NETWORK, METADATA_IP)
"""Where the world's servers answer."""

FENCE = """table ip fence {
 chain forward {
  type filter hook forward priority 0;
  ct state established accept;
  oifname machine reject;
 }
}
"""


class Mesh:
    """A mesh in `directory`, running or not."""

    def __init__(self, directory: Path, tools: Tools, mesh_tools: MeshTools) -> None:
        self.directory = directory
        self.cluster = ControlPlane(directory / "cluster", tools)
        self._tools = mesh_tools
        self._prefix = ""
        self._link = Link("", "", "")
        self.processes: dict[str, Process] = {}
        self.missed: list[str] = []
        """Acknowledgements that istiod missed; see `sync`."""

    @classmethod
    def load(cls, directory: Path) -> Mesh | None:
        """The mesh that was started in `directory` and not stopped, or None."""
        try:
            state = json.loads((directory / "mesh.json").read_text())
        except FileNotFoundError:
            return None
        tools = MeshTools(**{name: Path(path) for name, path in state["tools"].items()})
        plane = ControlPlane.load(directory / "cluster")
        mesh = cls(directory, plane.tools if plane else Tools(*[Path()] * 4), tools)
        mesh.cluster = plane or mesh.cluster
        mesh._prefix, mesh._link = state["prefix"], Link(**state["link"])
        mesh.processes = {name: Process.load(each) for name, each in state["processes"].items()}
        return mesh

    @property
    def kubeconfig(self) -> Path:
        return self.cluster.kubeconfig

    @property
    def node(self) -> Netns:
        return Netns(f"{self._prefix}node")

    @property
    def world(self) -> Netns:
        return Netns(f"{self._prefix}world")

    @cached_property
    def outside(self) -> Outside:
        """Everything outside of the cluster."""
        return Outside(self.directory / "world")

    @property
    def journal(self) -> Journal:
        """What the world's servers saw."""
        return self.outside.journal

    @property
    def certificates(self) -> Certificates:
        """The world's authorities."""
        return self.outside.certificates

    def heal(self, name: str) -> None:
        """From now on nothing is wrong with a name of the world; see `world.names`."""
        self.outside.heal(name)

    def unheal(self, name: str) -> None:
        """What its beginning says is wrong with a name, again."""
        self.outside.unheal(name)

    @property
    def node_address(self) -> str:
        """Where the machine reaches what runs in the node's namespace."""
        return self._link.node

    def route_pods(self) -> bool:
        """
        Let the machine reach pods, as what runs in a cluster does; whether it may: one mesh of a machine can have that.
        """
        try:
            netns.ip(f"route add {POD_NETWORK} via {self._link.node} dev {self._link.device}")
        except netns.NetworkError:
            return False
        return True

    def running(self) -> bool:
        return self.cluster.running() and all(each.alive() for each in self.processes.values())

    def start(
        self, *, definitions: tuple[Path, ...], owner: int | None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """
        Start everything in an empty directory and return when pods would run; else leave nothing behind.

        Raises:
            RuntimeError: a process ended; holds the end of its log.
            TimeoutError: not ready in time.
            NetworkError: the machine does not let us make namespaces.
        """
        try:
            self._start(definitions, owner, say)
        except BaseException:
            self.stop()
            raise

    def _start(self, definitions: tuple[Path, ...], owner: int | None, say: Callable[[str], None]) -> None:
        self._make_directories()
        self._prefix = new_prefix()
        self._link = free_link(self._prefix.rstrip("-"))
        self._save()
        if owner is not None:
            self._spawn("guard", _harness("guard-mesh", "--owner", str(owner), str(self.directory)))
        with ThreadPoolExecutor(3) as pool:
            generated = pool.submit(istio.generate, self._tools.istioctl, self._link.node)
            copied = pool.submit(self._copy_programs)
            self._wire()
            self.certificates.create()
            self.world.overlay(ROOTS, self.certificates.trusted.certificate_file.read_text())
            self.world.overlay("resolv.conf", f"nameserver {WORLD_DNS_IP}\n")
            self._spawn("world", self.outside.command(), self.world)
            say(f"starting the control plane on {self._link.host}")
            self.cluster.start(Options(kubelet=False, definitions=definitions, host=self._link.host))
            say("starting istiod and the node")
            copied.result()
            istio.install(self.cluster, generated.result(), self._proxy_config())
        self.start_istiod(wait=False)
        self._spawn("node", _harness("node", str(self.directory), self._prefix), self.node)
        self.wait_for_istiod()
        eventually(lambda: self.cluster.rest.items("/api/v1/nodes"), timeout=START, what="the node")

    def stop(self) -> None:
        """End all of it; logs stay."""
        # Data is thrown away, so nothing needs time to end well. The guard goes first: it would do the same.
        for name in sorted(self.processes, key=lambda name: name != "guard"):
            if self.processes[name].pid != os.getpid():
                self.processes[name].stop()
        self.cluster.stop()
        if self._prefix:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(Netns.delete, netns.with_prefix(self._prefix)))
        for name in ("programs", "names"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        with suppress(FileNotFoundError):
            (self.directory / "mesh.json").unlink()

    def start_istiod(self, *, wait: bool = True) -> None:
        """Start istiod, and return once it serves."""
        home = self.directory / "istiod"
        home.mkdir(exist_ok=True)
        values = istio.environment(home, self._link.node)
        self._spawn("istiod", istio.command(self._tools.discovery, self.kubeconfig), self.node, values, home)
        if wait:
            self.wait_for_istiod()

    def stop_istiod(self, patience: float = 0) -> None:
        """End istiod; proxies keep what they have."""
        self.processes["istiod"].stop(patience)

    def wait_for_istiod(self) -> None:
        def ready() -> bool:
            if not self.processes["istiod"].alive():
                raise RuntimeError(f"istiod ended:\n{self.log_tail('istiod')}")
            istio.ask(self.node, "/ready", istio.HTTP_PORT)
            return istio.admits_pods(self.cluster)

        eventually(ready, timeout=START, what="istiod")

    def settle(self) -> None:
        """
        Return once every connected proxy has acknowledged what it was sent, and nothing new was sent for a while.

        Raises:
            TimeoutError: a proxy does not acknowledge, or pushes do not end.
        """
        sync = Sync(self.sync_states, lambda: istio.push_all(self.node))
        eventually(sync.is_settled, timeout=CONVERGE, what="istiod and proxies in step", interval=0.1)
        self.missed += sync.missed

    def sync_states(self) -> list[Object]:
        """What istiod has sent to each proxy that is there now, and what it knows to be acknowledged."""
        return istio.sync_states(self.node, self._proxies())

    def _proxies(self) -> set[str]:
        """Pods with a proxy that are there now, as istiod calls them."""
        found = (path.parent for path in self.directory.glob("names/*/*/istio-proxy.log"))
        return {
            f"{path.name}.{path.parent.name}" for path in found if self.pod_netns(path.parent.name, path.name).exists()
        }

    def analyze(self, namespaces: Iterable[str]) -> list[str]:
        """What `istioctl analyze` finds wrong with objects of these namespaces, a message each: code, object, words."""
        argv = [str(self._tools.istioctl), "analyze", "--all-namespaces", "--output", "json"]
        argv += ["--kubeconfig", str(self.kubeconfig)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        # Its exit code says whether there are errors; without JSON it has failed itself.
        listed = [(each.get("origin", ""), each) for each in json.loads(done.stdout or done.stderr)]
        ours = tuple(f" {namespace}/" for namespace in namespaces)
        return [
            f"{each['code']} {origin}: {each['message']}"
            for origin, each in listed
            # No ztunnel runs here; that it does not know a field is no fault of an object for sidecars.
            if any(part in origin for part in ours) and "type=ZtunnelAccepted" not in each["message"]
        ]

    def pod_directory(self, namespace: str, name: str) -> Path:
        """
        Directory of a pod: its containers' logs, the name of its network namespace in the file `netns`.

        Raises:
            LookupError: the node has no such pod.
        """
        path = self.directory / "names" / namespace / name
        if not (path / "netns").exists():
            raise LookupError(f"no pod {namespace}/{name} on the node")
        return path.resolve()

    def pod_netns(self, namespace: str, name: str) -> Netns:
        """
        Raises:
            LookupError: the node has no such pod.
        """
        return Netns((self.pod_directory(namespace, name) / "netns").read_text())

    def log_tail(self, name: str, lines: int = 20) -> str:
        """The last lines that a process wrote."""
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _make_directories(self) -> None:
        for name in ("", "programs", "world", "pods", "names"):
            place = self.directory / name
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(WAYS_IN)

    def _copy_programs(self) -> None:
        # Proxies are not root, and the user's cache is often closed to others.
        place = self.directory / "programs"
        for path, name in (
            (self._tools.envoy, "envoy"),
            (self._tools.agent, "pilot-agent"),
            (self._tools.bootstrap, "bootstrap.json"),
        ):
            shutil.copyfile(path, place / name)
            (place / name).chmod(0o755)
        wrapper = place / "start-envoy"
        wrapper.write_text(WRAPPER.format(envoy=place / "envoy"))
        wrapper.chmod(0o755)

    def _proxy_config(self) -> dict[str, object]:
        """What every proxy's agent is told of this machine."""
        programs = self.directory / "programs"
        return {
            "binaryPath": str(programs / "start-envoy"),
            "proxyBootstrapTemplatePath": str(programs / "bootstrap.json"),
            "concurrency": 1,
            # Istio's default is 45 s, for which a test that waits for the end of old connections would wait.
            "drainDuration": "5s",
            # Else the agent looks for a cloud's metadata server.
            "proxyMetadata": {"CLOUD_PLATFORM": "none"},
        }

    def _wire(self) -> None:
        """The namespaces of the node and the world, with one link between them and one to the machine."""
        link, node, world = self._link, self.node, self.world
        node.create()
        world.create()
        netns.ip(
            f"link add name {link.device} type veth peer name machine netns {node.name}",
            f"address add {link.host}/30 dev {link.device}",
            f"link set {link.device} up",
        )
        node.ip(
            f"address add {link.node}/30 dev machine",
            "link set machine up",
            f"address add {NODE_IP}/32 dev lo",
            f"address add {DNS_IP}/32 dev lo",
            f"link add name world type veth peer name eth0 netns {world.name}",
            "link set world up",
            f"route add {WORLD_IP} dev world src {NODE_IP}",
            *(f"route add {each} via {WORLD_IP} dev world src {NODE_IP}" for each in OUTSIDE),
        )
        node.sysctl(net_ipv4_ip_forward=1)
        # Pods may not reach the machine: it would be a way past everything.
        node.nft(FENCE)
        world.ip(
            f"address add {WORLD_IP}/32 dev eth0",
            "link set eth0 up",
            f"route add {NODE_IP} dev eth0",
            f"route add default via {NODE_IP} dev eth0",
            # Every address of the world is the world's own, without being listed.
            *(f"route add local {each} dev lo" for each in OUTSIDE),
            f"route add unreachable {DEAD_NETWORK}",
        )
        world.sysctl(net_ipv4_ip_forward=1)
        if netns.knows_ipv6():
            self._wire_ipv6()

    def _wire_ipv6(self) -> None:
        """The same addresses once more. The machine has none of them: only pods and the world do."""
        self.node.sysctl(net_ipv6_conf_all_forwarding=1)
        self.node.ip(
            # Without `nodad` an address is tentative until a worker of the kernel has run, and no route may have it.
            f"address add {NODE_IP_6}/128 dev lo nodad",
            f"address add {ROUTER_6}/64 dev world nodad",
            f"route add {WORLD_IP_6} dev world src {NODE_IP_6}",
            f"route add {WORLD_NETWORK_6} via {WORLD_IP_6} dev world src {NODE_IP_6}",
        )
        self.world.ip(
            f"address add {WORLD_IP_6}/128 dev eth0 nodad",
            f"route add default via {ROUTER_6} dev eth0",
            f"route add local {WORLD_NETWORK_6} dev lo",
        )

    def _spawn(
        self,
        name: str,
        argv: list[str],
        where: Netns | None = None,
        values: dict[str, str] | None = None,
        home: Path | None = None,
    ) -> None:
        """Start a process, in a namespace, as far as network goes, and remember it."""
        entered = where.enter(*argv) if where else argv
        if where and home:
            entered.insert(1, f"--wd={home}")
        environment = {"PYTHONPATH": str(TESTS), **(values or {})}
        self.processes[name] = spawn(entered, self.directory / f"{name}.log", environment)
        self._save()

    def _save(self) -> None:
        state = {
            "prefix": self._prefix,
            "link": asdict(self._link),
            "tools": {name: str(path) for name, path in asdict(self._tools).items()},
            "processes": {name: asdict(process) for name, process in self.processes.items()},
        }
        temporary = self.directory / "mesh.json.new"
        temporary.write_text(json.dumps(state, indent=1))
        temporary.replace(self.directory / "mesh.json")


def _harness(command: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness.mesh", command, *arguments]
