"""
Traffic cases: tables of who asks for what, what comes of it, and what the server on the other side saw. Read here;
`runner` runs them.

A case is a YAML file: `about`, `steps` that follow each other, and `secretRights` where the operator is to have more
than the chart gives it by default: the namespaces at whose Secrets it may look (the value `rbac.secrets.namespaces`).
A step applies and deletes objects, waits, and then holds a table:

    - apply: [manifests…]               any objects; namespaces are made as they are named
      secrets: {payments/cli: client}   Secrets with certificates, see `world.secrets`
      delete: [egressgateway/payments/partners]
      mesh: {outboundTrafficPolicy: {mode: ALLOW_ANY}}       settings of the mesh itself, until the end of the case
      until: {payments/partners: {Ready: Ready, destination/api: {Steered: Steered}}}       reasons of conditions
      traffic:
      - from: payments/app              namespace/service account; ` plain`: without a sidecar; ` dns`: with one that
                                        answers DNS; `world`: from outside
        request: GET http://api.example.com/   or GRPC host:port, WEBSOCKET ws://host/, TCP host:port, TLS host:port
                                        (bytes, no HTTP), SILENT host:port (TCP whose client says nothing),
                                        SSLREQUEST host:port (TCP that begins as PostgreSQL's clients do)
        headers: {accept: text/plain}   sent beside curl's own
        options: [--insecure]           of curl; [--idle, "3"] of WEBSOCKET, TCP, TLS: silent for so long, then on
        identity: rogue payments/app    a client certificate of curl's, see `identities`
        expect: {status: 200, through: payments/partners, sni: api.example.com}

In `request` and `options`, `{namespace/name}` is the address in the status of that EgressGateway, `{hop
namespace/name}` host and port at which clients in the mesh reach it, `{service namespace/name}` the address of a
Service's load balancer.

`expect: refused` means: somebody took the connection, no server of the world saw anything, and the client got no
success. `status` is HTTP's, 101 for a WebSocket and 200 for TCP that echoes. `through` is the EgressGateway whose
pods the server saw, or `direct`. `sni`, `client` (its certificate's name), `authority`, `path`, `method`, `dialled`
(the name whose address was connected to), `port`, `protocol`, `bytes` are by the server's word; `tls: false` is plain
text. `headers` are what the server got, `absent` names that it did not; `answer` headers of the response. `requests`
is how often servers saw the request.

Every request that leaves through a gateway is checked for what must never leave a mesh, unless `leaks` names
what may, or says `any`: to a Service of one's own.

Beside the tables consumers ask all the time for what a row somewhere in the case sends through a gateway, and the
statuses of all objects have to be true of that at every moment (`detector`). Where that cannot be, the row says why:
`unprobed: ServerFirst`, one of `Unprobed`. The file is refused if it does not, and if the reason does not hold.
`undetermined: RouteConflict` on such a row: while `Steered` has that reason, its requests may go either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml

from egressgateway.api.conditions import Reason
from harness.mesh.detector import Call
from harness.mesh.world.server import GREETING_PORTS
from harness.rest import Object

_STEP: Final = {"about", "apply", "secrets", "delete", "until", "traffic", "mesh"}
_ROW: Final = {"about", "from", "request", "headers", "options", "identity", "expect", "unprobed", "undetermined"}
_EXPECT: Final = {
    *(
        "status",
        "through",
        "sni",
        "client",
        "authority",
        "path",
        "method",
        "dialled",
        "port",
        "protocol",
        "bytes",
        "tls",
    ),
    *("headers", "absent", "answer", "requests", "leaks"),
}


_SCHEMES: Final = {"GRPC": "http://{}/", "TCP": "tcp://{}", "SSLREQUEST": "tcp://{}", "TLS": "tls://{}"}


class Unprobed(StrEnum):
    """Why nobody asks all the time for what a row asks for once."""

    SERVER_FIRST = "ServerFirst"
    """The server speaks first, and so notes a probe as it notes a row."""

    FROM_OUTSIDE = "FromOutside"
    """Who asks is no consumer in the mesh: `Steered` is not about them."""

    BY_HAND = "ByHand"
    """No sidecar is asked: somebody calls the gateway with a certificate of the mesh."""

    OTHER_NAME = "OtherName"
    """The name that is dialled is not the one that is asked for; that one is probed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request and what is expected of it."""

    who: str
    request: str
    expect: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    identity: str = ""
    unprobed: Unprobed | None = None
    undetermined: Reason | None = None

    @property
    def is_steered(self) -> bool:
        """Whether a gateway is to be taken."""
        return self.expect.get("through") not in (None, "direct")

    @property
    def call(self) -> Call:
        """What the consumer asks for all the time to see what becomes of this row."""
        verb, _, target = self.request.partition(" ")
        # Upgrades are steered as requests are.
        target = target.replace("ws://", "http://").replace("wss://", "https://")
        return Call(self.who, _SCHEMES.get(verb, "{}").format(target), self.undetermined)

    @property
    def obstacle(self) -> Unprobed | None:
        """What keeps the row from being asked all the time."""
        verb, _, target = self.request.partition(" ")
        if self.who == "world":
            return Unprobed.FROM_OUTSIDE
        if self.identity:
            return Unprobed.BY_HAND
        if verb == "SILENT" or (verb in ("TCP", "SSLREQUEST") and int(target.rpartition(":")[2]) in GREETING_PORTS):
            return Unprobed.SERVER_FIRST
        # A TCP port that is taken whole leads to one host, whatever name its address was looked up by.
        by_port = verb == "TCP" and str(self.expect.get("dialled", "")).endswith(".com")
        elsewhere = by_port and self.expect["dialled"] != target.rpartition(":")[0]
        asks_other = "host" in self.headers or "--connect-to" in self.options
        return Unprobed.OTHER_NAME if asks_other or elsewhere else None

    @property
    def refused(self) -> bool:
        return not self.expect

    def wanted(self) -> str:
        """The expectation in a few words."""
        return ", ".join(f"{name} {value}" for name, value in self.expect.items()) or "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done, what is waited for, and the table that holds then."""

    about: str
    apply: tuple[Object, ...]
    secrets: Mapping[str, str]
    delete: tuple[str, ...]
    until: Mapping[str, Mapping[str, Any]]
    mesh: Mapping[str, Any]
    """Settings of the mesh from here to the end of the case."""

    traffic: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A file of `tests/mesh/cases`."""

    name: str
    about: str
    steps: tuple[Step, ...]
    secret_rights: tuple[str, ...] = ()
    """Namespaces at whose Secrets the operator may look."""

    @property
    def calls(self) -> list[Call]:
        """What is asked for all the time: each host and port that a client reaches by a gateway in some step."""
        calls = [row.call for row in self._steered if row.obstacle is None]
        return [*{call.address: call for call in reversed(calls)}.values()][::-1]

    @property
    def _steered(self) -> list[Row]:
        return [row for step in self.steps for row in step.traffic if row.is_steered]

    def check_excuses(self) -> None:
        """
        Raises:
            ValueError: a row is not probed and does not say why, or says what is not so.
        """
        probed = {call.address for call in self.calls}
        for row in self._steered:
            needed = None if row.call.address in probed else row.obstacle
            if row.unprobed is not needed:
                raise ValueError(f"{self.name}: {row.who} {row.request}: unprobed is {row.unprobed}, not {needed}")

    @property
    def namespaces(self) -> set[str]:
        """Where it has objects."""
        return {each["metadata"].get("namespace", "") for step in self.steps for each in step.apply} - {""}


def load_case(path: Path) -> Case:
    """
    Read a case.

    Raises:
        ValueError: an unknown key, or a row that cannot be read.
    """
    document = yaml.safe_load(path.read_text())
    _known(document, {"about", "steps", "secretRights"}, path.name)
    steps = tuple(_step(each, path.name) for each in document["steps"])
    case = Case(path.stem, document["about"], steps, tuple(document.get("secretRights") or ()))
    case.check_excuses()
    return case


def _step(document: Object, where: str) -> Step:
    _known(document, _STEP, where)
    return Step(
        about=document.get("about", ""),
        apply=tuple(document.get("apply") or ()),
        secrets=document.get("secrets") or {},
        delete=tuple(document.get("delete") or ()),
        until=document.get("until") or {},
        mesh=document.get("mesh") or {},
        traffic=tuple(_row(each, where) for each in document.get("traffic") or ()),
    )


def _row(document: Object, where: str) -> Row:
    _known(document, _ROW, where)
    expect = document["expect"]
    if expect == "refused":
        expect = {}
    elif not expect:
        raise ValueError(f"{where}: a row without expectation: {document}")
    _known(expect, _EXPECT, where)
    return Row(
        who=document["from"],
        request=document["request"],
        expect=expect,
        headers=document.get("headers") or {},
        options=tuple(document.get("options") or ()),
        identity=document.get("identity", ""),
        unprobed=Unprobed(document["unprobed"]) if "unprobed" in document else None,
        undetermined=Reason(document["undetermined"]) if "undetermined" in document else None,
    )


def _known(document: Mapping[str, Any], allowed: set[str], where: str) -> None:
    if unknown := sorted(document.keys() - allowed):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}")
