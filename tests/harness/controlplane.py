"""
etcd, kube-apiserver, kube-controller-manager and the fake kubelet on loopback, in one directory.

The directory holds keys, data, logs and `state.json`, from which any program can stop or restart what
another one started. It never builds anything: `tools` does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import urllib3

from harness.cluster import Cluster
from harness.kinds import DEFINITIONS, install_definitions, read_definitions
from harness.kubeconfig import Access
from harness.pki import Authority, write_pair, write_token_keys
from harness.processes import Process, spawn
from harness.rest import ApiError
from harness.tools import Tools
from harness.wait import START, eventually

HOST = "127.0.0.1"
TESTS = Path(__file__).parent.parent

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "endpointslice-controller",
    "serviceaccount-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
    "disruption-controller",
    # Fills the ClusterRoles admin, edit and view, to which a chart may add rights.
    "clusterrole-aggregation-controller",
)
"""No horizontal autoscaler (there are no CPU figures), no quota, no pod collector (the node has no heartbeat)."""

COLLECT = "400"
"""
How much Go's heaps grow between collections, in percent (pkg.go.dev/runtime): the API server is most of what the tests
cost, and takes a quarter less CPU by 300 MB more than with Go's default of 100.
"""

AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


@dataclass(frozen=True, slots=True)
class Options:
    """What a control plane is started with. `owner`: it ends with this process; None: it stays."""

    audit: bool = False
    kubelet: bool = True
    definitions: tuple[Path, ...] = ()
    owner: int | None = None
    host: str = HOST
    """Address of the API server, one of this machine's."""

    port: int = 0
    """Its port; 0 for any that is free."""

    admission: tuple[str, ...] = ()
    """Admission plugins beside those that are on by default."""


class ControlPlane(Cluster):
    """A control plane in `directory`, running or not."""

    def __init__(self, directory: Path, tools: Tools) -> None:
        super().__init__(directory / "kubeconfig", tools.kubectl)
        self.directory = directory
        self.tools = tools
        self.audit_log = directory / "audit.log"
        self.authority = Authority(directory)
        self.processes: dict[str, Process] = {}

    @classmethod
    def load(cls, directory: Path) -> ControlPlane | None:
        """The control plane that runs in `directory`, or None."""
        try:
            state = json.loads((directory / "state.json").read_text())
        except FileNotFoundError:
            return None
        plane = cls(directory, Tools(**{name: Path(path) for name, path in state["tools"].items()}))
        plane.processes = {name: Process.load(each) for name, each in state["processes"].items()}
        return plane

    def running(self) -> bool:
        """Whether the API server's process lives."""
        return "kube-apiserver" in self.processes and self.processes["kube-apiserver"].alive()

    def start(self, options: Options, say: Callable[[str], None] = lambda _: None) -> None:
        """
        Start everything in an empty directory and return when pods would become Ready; else leave nothing running.

        Raises:
            RuntimeError: a process ended; holds the end of its log.
            TimeoutError: not ready in time.
        """
        try:
            self._start(options, say)
        except BaseException:
            self.stop()
            raise

    def _start(self, options: Options, say: Callable[[str], None]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if options.owner is not None:
            self._spawn("guard", [*_harness("guard"), "--owner", str(options.owner), str(self.directory)])
        ports = list(free_ports(3))
        ports[2] = options.port or ports[2]
        say(f"starting etcd and kube-apiserver on {options.host}:{ports[2]}")
        self._spawn("etcd", self._etcd(*ports[:2]))
        self._write_credentials(options.host, ports[2])
        self._spawn("kube-apiserver", self._apiserver(ports[0], ports[2], options))
        if options.kubelet:
            self._spawn("kubelet", [*_harness("kubelet"), "--kubeconfig", str(self.kubeconfig)])
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_definitions, options.definitions)
            # Kinds can be added a second and a half before the server has made its roles and calls itself ready.
            self._wait_until_serving(DEFINITIONS)
            definitions = reading.result()
        say(f"applying {len(definitions)} CRDs")
        # Before the controllers: the garbage collector looks for new kinds only every 30 s.
        install_definitions(self.rest, definitions)
        say("starting kube-controller-manager")
        self._spawn("kube-controller-manager", self._controller_manager())
        self._wait_until_serving()
        self._wait_for_controllers(options)

    def stop(self) -> None:
        """End all processes of this control plane and remove its directory's data; logs stay."""
        # Data is thrown away, so nothing needs time to end well. The guard goes first: it would do the same.
        for name in sorted(self.processes, key=lambda name: name != "guard"):
            if self.processes[name].pid != os.getpid():
                self.processes[name].stop()
        if "rest" in self.__dict__:
            self.rest.close()
        with suppress(FileNotFoundError):
            (self.directory / "state.json").unlink()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

    def stop_apiserver(self, patience: float = 2) -> None:
        """
        End the API server only. It may finish requests for `patience` seconds; 0 kills it.

        Open watches keep it from ending by itself for a minute, so more patience seldom helps.
        """
        self.processes["kube-apiserver"].stop(patience)

    def start_apiserver(self) -> None:
        """Start the API server again, on the same port and data, and wait until it serves."""
        self._start_again("kube-apiserver")
        self._wait_until_serving()

    def freeze_apiserver(self) -> None:
        """Stop the API server in its tracks: connections stay open, nothing is answered."""
        self.processes["kube-apiserver"].signal(signal.SIGSTOP)

    def thaw_apiserver(self) -> None:
        self.processes["kube-apiserver"].signal(signal.SIGCONT)

    def kill_etcd(self) -> None:
        """Kill etcd: the API server stays, and can neither read nor write."""
        self.processes["etcd"].stop()

    def start_etcd(self) -> None:
        """Start etcd again on its ports and data, and wait until the API server serves."""
        self._start_again("etcd")
        self._wait_until_serving()

    def compact(self) -> None:
        """
        Make etcd forget every version but the last one.

        Watches from before end with 410 once the API server is started anew: till then it has the last changes itself.
        """
        etcd = next(each for each in self.processes["etcd"].argv if each.startswith("--advertise-client-urls="))
        server = etcd.partition("=")[2]
        # etcd's own protocol as JSON (etcd.io, "Why gRPC gateway"); bytes are base64.
        header = _post(f"{server}/v3/kv/range", {"key": base64.b64encode(b"none").decode()})["header"]
        _post(f"{server}/v3/kv/compaction", {"revision": header["revision"], "physical": True})

    def kubeconfig_for(self, user: str, groups: Iterable[str] = ()) -> Path:
        """
        A kubeconfig for a user, made by a client certificate.

        For a service account give its user name, `system:serviceaccount:<namespace>:<name>`: it gets a token.
        """
        path = self.directory / f"kubeconfig-{user.replace(':', '-')}"
        if user.startswith("system:serviceaccount:"):
            namespace, name = user.split(":")[2:]
            return self.service_account_kubeconfig(namespace, name, path)
        pair = self.authority.issue(user, tuple(groups))
        server = Access.read(self.kubeconfig).server
        ca = self.authority.certificate_file.read_bytes()
        return Access(server, ca, pair.certificate, pair.key).write(path)

    def audit_events(self) -> Iterator[dict[str, object]]:
        """Every completed request by the audit log, oldest first. Needs `Options.audit`."""
        with self.audit_log.open() as file:
            yield from (json.loads(line) for line in file)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines that a process wrote."""
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _write_credentials(self, host: str, port: int) -> None:
        self.authority.create()
        write_token_keys(self.directory)
        names = (host, "localhost", "kubernetes.default.svc", "10.96.0.1")
        write_pair(self.authority.issue("kube-apiserver", (), names), self.directory, "apiserver")
        admin = self.authority.issue("admin", ("system:masters",))
        ca = self.authority.certificate_file.read_bytes()
        Access(f"https://{host}:{port}", ca, admin.certificate, admin.key).write(self.kubeconfig)

    def _etcd(self, client: int, peer: int) -> list[str]:
        clients, peers = f"http://{HOST}:{client}", f"http://{HOST}:{peer}"
        return [
            str(self.tools.etcd),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            # The data never has to survive the machine, and fsync is half of a write's time.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver(self, etcd: int, port: int, options: Options) -> list[str]:
        def file(name: str) -> str:
            return str(self.directory / name)

        arguments = [
            str(self.tools.apiserver),
            f"--etcd-servers=http://{HOST}:{etcd}",
            f"--bind-address={options.host}",
            f"--secure-port={port}",
            f"--cert-dir={file('generated')}",
            f"--tls-cert-file={file('apiserver.crt')}",
            f"--tls-private-key-file={file('apiserver.key')}",
            f"--client-ca-file={file('ca.crt')}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer=https://{options.host}:{port}",
            f"--service-account-key-file={file('sa.pub')}",
            f"--service-account-signing-key-file={file('sa.key')}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # An address must be given when the bound one is loopback; with no reconciler nobody reads it.
            "--advertise-address=198.51.100.1",
            "--endpoint-reconciler-type=none",
            # Its queues would make figures depend on who else asks.
            "--enable-priority-and-fairness=false",
            "--disable-admission-plugins=TaintNodesByCondition",
            "--allow-privileged=true",
        ]
        if options.admission:
            arguments.append(f"--enable-admission-plugins={','.join(options.admission)}")
        return arguments + (self._audit() if options.audit else [])

    def _audit(self) -> list[str]:
        policy = self.directory / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}", "--audit-log-mode=blocking"]

    def _controller_manager(self) -> list[str]:
        return [
            str(self.tools.controller_manager),
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            f"--root-ca-file={self.authority.certificate_file}",
            "--leader-elect=false",
            "--secure-port=0",
            # The default of 20 requests a second would be what a test of 200 objects waits for.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--concurrent-gc-syncs=20",
            "--concurrent-deployment-syncs=10",
            "--concurrent-replicaset-syncs=10",
            "--concurrent-namespace-syncs=10",
        ]

    def _spawn(self, name: str, argv: list[str]) -> None:
        environment = {"PYTHONPATH": str(TESTS)} if name in ("guard", "kubelet") else {"GOGC": COLLECT}
        self.processes[name] = spawn(argv, self.directory / f"{name}.log", environment)
        self._save()

    def _start_again(self, name: str) -> None:
        """
        Start a process as it was started before, once its ports are free.

        A killed process counts as ended with its first thread; on a busy machine the others hold its ports for longer.
        """
        argv = self.processes[name].argv
        for port in re.findall(r"--(?:secure-port=|listen-[a-z]+-urls=\S*:)(\d+)", " ".join(argv)):
            eventually(partial(is_free, int(port)), timeout=START, what=f"port {port} of {name}")
        self._spawn(name, list(argv))

    def _save(self) -> None:
        state = {
            "kubeconfig": str(self.kubeconfig),
            "server": Access.read(self.kubeconfig).server if self.kubeconfig.exists() else "",
            "tools": {name: str(path) for name, path in asdict(self.tools).items()},
            "processes": {name: asdict(process) for name, process in self.processes.items()},
        }
        temporary = self.directory / "state.json.new"
        temporary.write_text(json.dumps(state, indent=1))
        temporary.replace(self.directory / "state.json")

    def _wait_until_serving(self, path: str = "/readyz") -> None:
        eventually(lambda: self._serves(path), timeout=START, what=f"kube-apiserver {path}")

    def _serves(self, path: str) -> bool:
        self._assert_alive("etcd", "kube-apiserver")
        try:
            return bool(self.rest.text(path))
        except (ApiError, urllib3.exceptions.HTTPError):
            return False

    def _wait_for_controllers(self, options: Options) -> None:
        def ready() -> bool:
            self._assert_alive(*self.processes)
            account = self.rest.exists("/api/v1/namespaces/default/serviceaccounts/default")
            return account and (not options.kubelet or bool(self.rest.items("/api/v1/nodes")))

        eventually(ready, timeout=START, what="kube-controller-manager and kubelet")

    def _assert_alive(self, *names: str) -> None:
        for name in names:
            if not self.processes[name].alive():
                raise RuntimeError(f"{name} ended:\n{self.log_tail(name)}")


def free_ports(count: int) -> Iterator[int]:
    """
    Ports of loopback that nobody listens on, below the range from which the kernel takes clients' ports.

    Within that range a client that keeps connecting to a stopped API server ends up connected to itself,
    and then holds the port that the server wants back.
    """
    found = 0
    taken: set[int] = set()
    while found < count:
        port = SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in taken:
            taken.add(port)
            found += 1
            yield port


def _post(url: str, body: dict[str, object]) -> dict[str, Any]:
    answer = urllib3.request("POST", url, json=body, retries=False, timeout=30)
    found: dict[str, Any] = answer.json()
    assert answer.status == 200, found
    return found


def is_free(port: int) -> bool:
    """Whether nobody listens on `port`, at whichever address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _harness(command: str) -> list[str]:
    return [sys.executable, "-m", "harness", command]
