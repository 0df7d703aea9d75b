"""Requests from within pods, and what came of them: by the client's word and by that of the server, if one saw it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.mesh.layout import WORLD_IP
from harness.mesh.netns import Netns
from harness.rest import ApiError, Object
from harness.wait import eventually

if TYPE_CHECKING:
    from harness.mesh.mesh import Mesh

DIAL: Final = Path(__file__).with_name("dial.py")
CHAT: Final = Path(__file__).with_name("chat.py")
TIMEOUT_SECONDS: Final = 15
INJECT: Final = "sidecar.istio.io/inject"
CAPTURE: Final = {"proxy.istio.io/config": json.dumps({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}})}
"""Annotations of a pod whose sidecar answers its DNS queries (istio.io, "DNS Proxying")."""

GRPC_EMPTY: Final = b"\0\0\0\0\0"
"""One empty message."""

MARK: Final = "\n==="
_WRITE_OUT: Final = f"{MARK}%{{http_code}} %{{errormsg}}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got. `status` is 0 where no HTTP answer came, and `error` says why."""

    status: int
    error: str = ""
    seen: Object = field(default_factory=dict)
    """What the world's server saw, as it says itself; empty where the answer is a proxy's."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer, trailers among them; names in lower case."""

    body: str = ""

    @property
    def peer(self) -> str:
        """The address from which the server was reached."""
        return str(self.seen.get("peer", ""))


@dataclass(frozen=True, slots=True)
class Client:
    """A pod from which requests are made."""

    name: str
    netns: Netns
    address: str

    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        body: bytes | None = None,
    ) -> Answer:
        """One HTTP request, by curl. `options` are further ones of curl's."""
        given = [part for name, value in (headers or {}).items() for part in ("--header", f"{name}: {value}")]
        data = ("--data-binary", "@-") if body is not None else ()
        argv = [
            *("curl", "--silent", "--include", "--max-time", str(TIMEOUT_SECONDS), "--request", method),
            *("--write-out", _WRITE_OUT, *given, *data, *options, url),
        ]
        return _answer(self._run(argv, body or b""))

    def grpc(self, host: str, port: int, metadata: Mapping[str, str] | None = None) -> Answer:
        """One call without a message worth the name; the answer's trailers are in `headers`."""
        headers = {"content-type": "application/grpc", "te": "trailers", **(metadata or {})}
        url = f"http://{host}:{port}/test.Echo/Call"
        return self.request(url, method="POST", headers=headers, options=("--http2-prior-knowledge",), body=GRPC_EMPTY)

    def tcp(self, host: str, port: int, *options: str) -> Answer:
        """
        Connect, send a line, and read what the server tells of the connection, then the line again.

        `options` are those of `dial`: `--tls`, `--silent` (send nothing, and read a greeting), `--ssl-request` (send
        PostgreSQL's, and read what comes), `--idle SECONDS` (say it once more after so long). `status` is 200 if all of
        it came; `body` is every byte that came.
        """
        return _dialled(self._run([sys.executable, "-S", "-E", str(DIAL), *options, host, str(port)]))

    def websocket(self, url: str, headers: Mapping[str, str] | None = None, *options: str) -> Answer:
        """
        Open a WebSocket, read what the server tells of it, and have a text and bytes sent back.

        `options` are those of `chat`: `--idle SECONDS`. `status` is 101 if all of it came, else that of the refusal.
        """
        given = [part for name, value in (headers or {}).items() for part in ("--header", f"{name}: {value}")]
        # -E: the harness's own modules are not on the way, only what is installed.
        return _dialled(self._run([sys.executable, "-E", str(CHAT), *given, *options, url]))

    def _run(self, argv: list[str], stdin: bytes = b"") -> bytes:
        return subprocess.run(self.netns.inside(*argv), input=stdin, capture_output=True, check=False).stdout


class Clients:
    """
    The client pods of a mesh, one for each service account that was asked for. They stay for as long as the mesh does.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def get(
        self, namespace: str, service_account: str = "app", *, sidecar: bool = True, dns_capture: bool = False
    ) -> Client:
        """
        The client of a service account, with a sidecar or without; namespace, account and pod are made when missing.

        `dns_capture`: its sidecar answers its DNS queries and gives hosts without an address one of their own.

        Raises:
            TimeoutError: it does not become Ready.
        """
        name = f"client-{service_account}" + ("" if sidecar else "-plain") + ("-dns" if dns_capture else "")
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        if not self._exists(path):
            ensure_namespace(self._mesh, namespace)
            labels = {"app": name, INJECT: str(sidecar).lower()}
            self._create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": service_account}})
            container = {"name": "app", "image": "none"}
            spec = {
                "serviceAccountName": service_account,
                "containers": [container],
                "terminationGracePeriodSeconds": 1,
            }
            metadata = {"name": name, "labels": labels, "annotations": CAPTURE if dns_capture else {}}
            self._create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata, "spec": spec})
        eventually(lambda: is_ready(self._mesh.cluster.rest.get(path)), what=f"the client {namespace}/{name}")
        address = self._mesh.cluster.rest.get(path)["status"]["podIP"]
        return Client(f"{namespace}/{name}", self._mesh.pod_netns(namespace, name), address)

    def outside(self) -> Client:
        """A client outside of the cluster."""
        return Client("world", self._mesh.world, WORLD_IP)

    def _exists(self, path: str) -> bool:
        return self._mesh.cluster.rest.exists(path)

    def _create(self, path: str, body: Object) -> None:
        try:
            self._mesh.cluster.rest.create(path, body)
        except ApiError as error:
            # Another process of the same run was faster.
            if error.reason != "AlreadyExists":
                raise


def ensure_namespace(mesh: Mesh, name: str, *, injected: bool = True) -> None:
    """Make a namespace, whose pods get sidecars unless told otherwise, and wait until pods may be made in it."""
    labels = {"istio-injection": "enabled"} if injected else {}
    try:
        mesh.cluster.rest.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: mesh.cluster.rest.exists(account), what=f"the default service account of {name}")


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _dialled(output: bytes) -> Answer:
    """What a program for a pod prints, as JSON: the words of `Answer`."""
    try:
        told: Object = json.loads(output)
    except ValueError:
        return Answer(0, output.decode(errors="replace"))
    body = str(told.get("body", ""))
    return Answer(told.get("status", 0), told.get("error", ""), _seen(body), told.get("headers") or {}, body)


def _answer(output: bytes) -> Answer:
    text, _, told = output.decode(errors="replace").rpartition(MARK)
    status, _, error = told.partition(" ")
    # With trailers there is a second block of headers, after the body.
    head, _, rest = text.partition("\r\n\r\n")
    found = re.findall(r"(?:^|\})([\w-]+): (.*?)\r?$", f"{head}\n{rest}", re.MULTILINE)
    return Answer(int(status or 0), error.strip(), _seen(rest), {name.lower(): value for name, value in found}, rest)


def _seen(body: str) -> Object:
    """The JSON of a server of the world somewhere in a body: gRPC has a prefix before it and trailers after."""
    found = re.search(r"\{\"peer\".*\}", body, re.DOTALL)
    try:
        seen: Object = json.loads(found[0]) if found else {}
    except ValueError:
        return {}
    return seen
