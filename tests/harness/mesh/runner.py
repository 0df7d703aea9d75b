"""Does the steps of a case and tries its tables; what is in a case, and what an expectation means, is in `cases`."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from egressgateway.refs import EGRESS_GATEWAY
from harness.mesh import istio
from harness.mesh.cases import Case, Row, Step
from harness.mesh.clients import Answer, Client, Clients, ensure_namespace
from harness.mesh.detector import Call, Detector
from harness.mesh.identities import identity
from harness.mesh.layout import CLUSTER_DOMAIN, twin_of
from harness.mesh.mesh import Mesh
from harness.mesh.world.secrets import secret
from harness.rest import Object
from harness.wait import eventually

LEAKS: Final = re.compile(
    r"^(x-forwarded-.*|x-envoy-.*|x-request-id|x-istio-.*|x-b3-.*|b3|traceparent|tracestate|baggage|forwarded|via)$"
)
"""Headers that proxies of a mesh set, and that no external server has any business with."""

TRIAL: Final = "x-trial"
"""Header by which a request is found in what servers saw."""

DIALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "TCP": (),
    "TLS": ("--tls",),
    "SILENT": ("--silent",),
    "SSLREQUEST": ("--ssl-request",),
}
"""Requests that are no HTTP, with the options of `dial`."""

_PLACE: Final = re.compile(r"\{(hop |service )?([a-z0-9-]+)/([a-z0-9-]+)\}")
_NOWHERE: Final = re.compile(
    r"Couldn't connect|Could not resolve|ConnectionRefused|gaierror|Connect call failed|ClientConnectorDNSError"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one row."""

    row: Row
    answer: Answer
    faults: tuple[str, ...]
    headers: tuple[str, ...] = ()
    """Names of the headers that an external server got by way of a gateway."""


@dataclass(slots=True)
class Watched:
    """What consumers of a case ask for all the time: each from the first step on in which it has a row."""

    detector: Detector
    waiting: list[Call]
    """Calls of clients that were not there yet."""

    def begin(self, who: str, client: Client) -> None:
        """Let a client that is there now call what it has to."""
        if own := [call for call in self.waiting if call.who == who]:
            self.detector.ask(client, own)
        self.waiting = [call for call in self.waiting if call.who != who]


def run_step(mesh: Mesh, clients: Clients, step: Step, watched: Watched) -> Iterator[Result]:
    """
    Do a step and try its table, a row after the other.

    Raises:
        TimeoutError: what is waited for does not come.
        AssertionError: the API server refuses an object, with its words.
    """
    # Clients first: a new one is sent the whole configuration, and they are to see what the step does.
    apply_namespaces(mesh, step)
    senders = {row.who: sender(clients, row.who) for row in step.traffic}
    for who, client in senders.items():
        watched.begin(who, client)
    apply_step(mesh, step)
    for name, conditions in step.until.items():
        for subject, wanted in conditions.items():
            parts = wanted if isinstance(wanted, dict) else {subject: wanted}
            part = subject.removeprefix("destination/") if isinstance(wanted, dict) else ""
            for condition, reason in parts.items():
                eventually(
                    partial(_has_condition, mesh, name, part, condition, reason),
                    what=f"{name} {part} {condition}={reason}",
                )
    mesh.settle()
    for row in step.traffic:
        yield try_row(mesh, senders[row.who], row)


def apply_namespaces(mesh: Mesh, step: Step) -> None:
    """Namespaces that a step brings, with their labels: what pods in them become depends on those."""
    brought = [each for each in step.apply if each["kind"] == "Namespace"]
    _apply(mesh, [each for each in brought if not _is_injected(mesh, each["metadata"]["name"])])
    for manifest in step.apply:
        if namespace := manifest["metadata"].get("namespace"):
            ensure_namespace(mesh, namespace)


def _is_injected(mesh: Mesh, namespace: str) -> bool:
    path = f"/api/v1/namespaces/{namespace}"
    labels = mesh.cluster.rest.get(path)["metadata"].get("labels") if mesh.cluster.rest.exists(path) else None
    return "istio-injection" in (labels or {})


def apply_step(mesh: Mesh, step: Step) -> None:
    """Write what a step writes."""
    if step.mesh:
        istio.configure(mesh.cluster, dict(step.mesh))
    secrets = [secret(mesh.certificates, name, kind) for name, kind in step.secrets.items()]
    _apply(mesh, [*step.apply, *secrets])
    for reference in step.delete:
        kind, *namespace, name = reference.split("/")
        where = ("--namespace", *namespace) if namespace else ()
        mesh.cluster.kubectl("delete", kind, name, *where, "--ignore-not-found", "--timeout=60s")


def _apply(mesh: Mesh, manifests: Sequence[Object]) -> None:
    documents = "\n---\n".join(json.dumps(each) for each in manifests)
    if documents:
        mesh.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=documents)


def clean_up(mesh: Mesh, case: Case) -> None:
    """Delete what a case made, gateways first and for good; namespaces and clients stay for the next."""
    istio.restore(mesh.cluster)
    made = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        for step in case.steps
        for each in step.apply
    }
    made |= {("Secret", *name.split("/")) for step in case.steps for name in step.secrets}  # type: ignore[misc]
    for first in (True, False):
        for kind, namespace, name in sorted(made):
            if kind != "Namespace" and (kind == EGRESS_GATEWAY.kind) is first:
                where = ("--namespace", namespace) if namespace else ()
                mesh.cluster.kubectl("delete", kind.lower(), name, *where, "--ignore-not-found", "--timeout=60s")


def try_row(mesh: Mesh, client: Client, row: Row) -> Result:
    """One request, compared with what is expected."""
    gateways = _gateways(mesh)
    mark, trial = mesh.journal.mark(), secrets.token_hex(4)
    answer = send(mesh, client, row, trial)
    saw = [each for each in mesh.journal.since(mark) if _is_of(each, row, trial)]
    through = [each for each in saw if each["peer"] in gateways and row.expect.get("leaks") != "any"]
    headers = sorted({name for each in through for name in each.get("headers", ())})
    return Result(row, answer, tuple(_faults(row, answer, saw, gateways)), tuple(headers))


def _is_of(seen: Object, row: Row, trial: str) -> bool:
    """Whether what a server saw is of this request: others use the mesh at the same time. TCP is told by its port."""
    if seen["protocol"] != "TCP":
        return bool(seen["headers"].get(TRIAL) == trial)
    dialled = row.request.partition(" ")[0] in DIALLED and row.request.endswith(f":{seen['port']}")
    return dialled and seen["event"] != "probed"


def send(mesh: Mesh, client: Client, row: Row, trial: str) -> Answer:
    """The request of a row."""
    place = partial(_place, mesh)
    verb, _, target = _PLACE.sub(place, row.request).partition(" ")
    options = tuple(_PLACE.sub(place, each) for each in row.options)
    if verb == "WEBSOCKET":
        return client.websocket(target, {TRIAL: trial, **row.headers}, *options)
    if verb == "GRPC" or verb in DIALLED:
        host, _, port = target.rpartition(":")
        if verb == "GRPC":
            return client.grpc(host, int(port), {TRIAL: trial})
        return client.tcp(host, int(port), *DIALLED[verb], *options)
    certificate = ("--insecure", "--cert", str(identity(mesh, row.identity))) if row.identity else ()
    return client.request(target, method=verb, headers={TRIAL: trial, **row.headers}, options=(*options, *certificate))


def sender(clients: Clients, who: str) -> Client:
    """The client that a row names."""
    if who == "world":
        return clients.outside()
    name, _, kind = who.partition(" ")
    namespace, _, account = name.partition("/")
    return clients.get(namespace, account, sidecar=kind != "plain", dns_capture=kind == "dns")


def _faults(row: Row, answer: Answer, saw: list[Object], gateways: Mapping[str, str]) -> Iterator[str]:
    """What differs from the expectation, one phrase each."""
    if row.refused:
        if _NOWHERE.search(answer.error):
            # Nothing is proved where nobody listens.
            yield answer.error.strip()
        if saw:
            yield f"a server saw it: {json.dumps(saw[0])}"
        if 200 <= answer.status < 300:
            yield f"answered with {answer.status}"
        return
    expect = row.expect
    if answer.status != expect.get("status", 200):
        yield f"status {answer.status} {answer.error}".strip()
    seen = saw[-1] if saw else {}
    tls = seen.get("tls") or {}
    found = {**seen, "sni": tls.get("sni"), "client": tls.get("client"), "tls": bool(tls), "requests": len(saw)}
    found["through"] = gateways.get(seen.get("peer", ""), "direct") if seen else None
    for name in expect.keys() - {"status", "headers", "absent", "answer", "leaks"}:
        if found.get(name) != expect[name]:
            yield f"{name} {found.get(name)!r}"
    got = seen.get("headers") or {}
    yield from (
        f"header {name} {got.get(name)!r}"
        for name, value in expect.get("headers", {}).items()
        if got.get(name) != value
    )
    yield from (f"header {name} is there" for name in expect.get("absent", ()) if name in got)
    yield from (
        f"answer's {name} {answer.headers.get(name)!r}"
        for name, value in expect.get("answer", {}).items()
        if answer.headers.get(name) != str(value)
    )
    if found["through"] not in (None, "direct") and expect.get("leaks") != "any":
        yield from (f"{name} leaks" for name in got if LEAKS.match(name) and name not in expect.get("leaks", ()))


def _gateways(mesh: Mesh) -> dict[str, str]:
    """Addresses of gateways' pods, with `namespace/name` of the EgressGateway or of the pod's own gateway."""
    found: dict[str, str] = {}
    for pod in mesh.cluster.rest.items("/api/v1/pods"):
        labels = pod["metadata"].get("labels") or {}
        name = labels.get("egressgateway.dev/gateway") or labels.get("istio")
        address = pod.get("status", {}).get("podIP")
        if name and address:
            found |= dict.fromkeys((address, twin_of(address)), f"{pod['metadata']['namespace']}/{name}")
    return found


def _place(mesh: Mesh, found: re.Match[str]) -> str:
    kind, namespace, name = found.groups()
    if not kind:
        gateway = mesh.cluster.rest.get(EGRESS_GATEWAY.path(namespace, name))
        return str(gateway["status"]["addresses"][0]["value"])
    own = name if kind == "service " else f"{name}-egress"
    service = mesh.cluster.rest.get(f"/api/v1/namespaces/{namespace}/services/{own}")
    if kind == "service ":
        return str(service["status"]["loadBalancer"]["ingress"][0]["ip"])
    return f"{own}.{namespace}.svc.{CLUSTER_DOMAIN}:{service['spec']['ports'][0]['port']}"


def _has_condition(mesh: Mesh, name: str, part: str, condition: str, reason: str) -> bool:
    gateway = mesh.cluster.rest.get(EGRESS_GATEWAY.path(*name.split("/")))
    status = gateway.get("status") or {}
    if part:
        status = next(each for each in status.get("destinations") or () if each["name"] == part)
    found = next(each for each in status.get("conditions") or () if each["type"] == condition)
    assert found["observedGeneration"] == gateway["metadata"]["generation"], found
    assert found["reason"] == reason, found
    return True
