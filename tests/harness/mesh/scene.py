"""
A place for events: an exit in a namespace of its own, and two namespaces that call through it, in one of which what is
not known is refused (REGISTRY_ONLY), in the other let out (ALLOW_ANY). Both call at a steady rate while things happen.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from harness.gateways import destination
from harness.mesh.clients import Client, Clients, ensure_namespace
from harness.mesh.continuity import Report, Traffic
from harness.mesh.detector import Call, Seen, StatusWatch, claims_for, claims_of, lies
from harness.mesh.exits import CLASSES, NAME
from harness.mesh.mesh import Mesh
from harness.rest import Object
from harness.wait import eventually

CLOSED: Final = "REGISTRY_ONLY"
OPEN: Final = "ALLOW_ANY"
MODES: Final = (CLOSED, OPEN)

HOST: Final = "steady.example.com"
STEADY: Final = destination("steady", HOST, ports=[{"port": 80, "protocol": "HTTP"}])
RATE: Final = 50.0
"""Requests a second of each client."""

_SIDECARS: Final = "/apis/networking.istio.io/v1/namespaces/{}/sidecars"
_CLASS: Final = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGatewayClass"}
_LETS_OUT: Final = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Sidecar",
    "metadata": {"name": "default"},
    "spec": {"outboundTrafficPolicy": {"mode": OPEN}, "egress": [{"hosts": ["*/*"]}]},
}
"""For one namespace: the mesh's own setting is everybody's."""


@dataclass(slots=True)
class Observation:
    """What became of the requests of both clients, and what the status said meanwhile."""

    traffic: Mapping[str, Traffic]
    calls: Mapping[str, Call] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    name: tuple[str, str] = ("", "")
    """Of the exit."""

    def wait_for(self, count: int, *, ok: bool | None = None) -> None:
        """Return once each client has noted that many more requests; see `Traffic.wait_for`."""
        for traffic in self.traffic.values():
            traffic.wait_for(count, ok=ok)

    def cost(self, mode: str) -> Report:
        """
        What the event cost the client in that mode.

        Where everything is let out, requests are answered before and after, so that each failure is a loss, and direct
        only is wrong between the first and the last that took the gateway. Where it is refused, it is the other way
        round.
        """
        return self.reports[mode].cost(closed=mode == CLOSED)

    def lies(self, *conditions: str) -> list[str]:
        """
        Where conditions of the exit, or `Steered` of whichever object has the host at that moment, were wrong for
        longer than proxies need to be told.
        """
        claims = [
            (mode, condition, claims_of(self.seen, *self.name, condition))
            for mode in self.reports
            for condition in conditions
        ]
        claims += [
            (mode, "Steered", claims_for(self.seen, call.consumer, call.host, call.port))
            for mode, call in self.calls.items()
        ]
        return [
            f"{mode}: {condition} {lie}"
            for mode, condition, said in claims
            for lie in lies(self.reports[mode], said)
        ]


class Scene:
    """Namespaces, classes and clients for one exit; `end` removes them."""

    def __init__(self, mesh: Mesh, clients: Clients) -> None:
        token = secrets.token_hex(3)
        self.mesh = mesh
        self.namespace = f"exit-{token}"
        self.callers = {CLOSED: f"closed-{token}", OPEN: f"open-{token}"}
        self.dedicated, self.shared = f"dedicated-{token}", f"shared-{token}"
        for name in (self.namespace, *self.callers.values()):
            ensure_namespace(mesh, name)
        self.let_out(self.callers[OPEN])
        self._class(self.dedicated)
        self.clients: dict[str, Client] = {mode: clients.get(name) for mode, name in self.callers.items()}

    def let_out(self, namespace: str) -> None:
        """Let clients of a namespace reach what is not known, too."""
        self.mesh.cluster.rest.apply(f"{_SIDECARS.format(namespace)}/default", _LETS_OUT)

    def spec(self, **more: Any) -> dict[str, Any]:
        """Fields of a spec by which the exit serves both callers."""
        access = {"from": [{"namespaces": sorted(self.callers.values())}]}
        return {"className": self.dedicated, "access": access, **more}

    def add_shared_gateway(self) -> None:
        """A gateway that the platform runs, and the class `shared` for it."""
        name, selector = f"commons-{self.shared}", {"istio": self.shared}
        ensure_namespace(self.mesh, name)
        template = {
            "metadata": {
                "labels": {**selector, "sidecar.istio.io/inject": "true"},
                "annotations": {"inject.istio.io/templates": "gateway"},
            },
            "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]},
        }
        ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]
        rest = self.mesh.cluster.rest
        rest.create(
            f"/api/v1/namespaces/{name}/services",
            {"metadata": {"name": "commons"}, "spec": {"selector": selector, "ports": ports}},
        )
        deployment = {
            "metadata": {"name": "commons"},
            "spec": {"selector": {"matchLabels": selector}, "template": template},
        }
        path = f"/apis/apps/v1/namespaces/{name}/deployments"
        rest.create(path, deployment)
        self._class(self.shared, shared={"namespace": name, "service": "commons", "selector": selector})
        eventually(lambda: rest.get(f"{path}/commons")["status"]["readyReplicas"], what="the shared gateway")

    @contextmanager
    def observed(self, host: str = HOST) -> Iterator[Observation]:
        """Requests and status of the while that the block lasts."""
        calls = {mode: self.call(f"http://{host}/", mode) for mode in self.clients}
        traffic = {mode: Traffic(each, calls[mode].url, rate=RATE) for mode, each in self.clients.items()}
        observation = Observation(traffic, calls, name=(self.namespace, NAME))
        with StatusWatch(self.mesh.kubeconfig) as watch, ExitStack() as stack:
            for each in traffic.values():
                stack.enter_context(each)
            yield observation
        observation.seen = watch.seen
        observation.reports = {mode: each.report() for mode, each in traffic.items()}

    def call(self, url: str, mode: str = CLOSED) -> Call:
        """What the client of that mode calls."""
        return Call(f"{self.callers[mode]}/app", url)

    def wait_gone(self) -> None:
        """Return once the exit's namespace is gone."""
        path = f"/api/v1/namespaces/{self.namespace}"
        eventually(lambda: not self.mesh.cluster.rest.exists(path), what="the end of the namespace", timeout=90)

    def end(self) -> None:
        rest = self.mesh.cluster.rest
        for name in (*self.callers.values(), self.namespace, f"commons-{self.shared}"):
            if rest.exists(f"/api/v1/namespaces/{name}"):
                rest.delete(f"/api/v1/namespaces/{name}")
        for name in (self.dedicated, self.shared):
            if rest.exists(f"{CLASSES}/{name}"):
                rest.delete(f"{CLASSES}/{name}")

    def _class(self, name: str, **spec: Object) -> None:
        manifest = {**_CLASS, "metadata": {"name": name}, "spec": {"allowedConsumers": {"from": "All"}, **spec}}
        self.mesh.cluster.rest.apply(f"{CLASSES}/{name}", manifest)
