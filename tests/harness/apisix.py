"""
APISIX where none runs: its CRDs, and a stand-in for its ingress controller, which gives its word on objects.

Like the real one it looks at objects of its own ingress class alone, and says nothing at all of others
(apisix-ingress-controller, `internal/controller`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import urllib3

from egressgateway.refs import CHILD_BY_KIND, GATEWAY_PROXY, INGRESS_CLASS, Resource
from harness.background import Background
from harness.cluster import Cluster
from harness.kinds import install_definitions, read_definitions
from harness.objects import apply_all, namespace
from harness.rest import ApiError, Object

ROOT: Final = Path(__file__).resolve().parents[2]
KINDS: Final = ("ApisixUpstream", "ApisixRoute")
CONNECTED_IN: Final = "ingress-apisix"
ACCEPTED: Final = ("True", "Accepted", "The APISIX resource has been accepted")

Name = tuple[str, str, str]
"""Kind, namespace and name."""

RouteAcceptance = tuple[str, str, str]
"""Status, reason and message of the condition Accepted."""

Judge = Callable[[Object], RouteAcceptance | None]
"""What a controller says of an object; None: it keeps silent for now."""


def install(cluster: Cluster) -> None:
    """
    Serve APISIX's kinds, by its own CRDs where they lie beside the repository, else by ones that take everything; with
    an ingress class.
    """
    shared = Path(os.environ.get("EGRESSGATEWAY_SHARED", ROOT.parent / "shared"))
    real = read_definitions(sorted((shared / "data" / "apisix-crds").glob("*.yaml")))
    stand_ins = [] if real else [_permissive(CHILD_BY_KIND[kind]) for kind in KINDS]
    install_definitions(cluster.rest, [*real, *stand_ins, _permissive(GATEWAY_PROXY)])
    connect(cluster)


class StandInController(Background):
    """
    Answers from `with` to its end as version 2.2.0 of the real one was seen to do, or as a test has it answer.

    It accepts what is new, with an observed generation, and then pushes all that it accepted before. A push that fails
    makes every route `SyncFailed`, whosever fault it is, and what was pushed before stays. Without parameters of its
    ingress class it pushes nothing and says nothing of it; without the class, nothing is left at APISIX.
    """

    def __init__(
        self,
        cluster: Cluster,
        ingress_class: str = "apisix",
        *,
        look_seconds: float = 0.2,
        gives_up_seconds: float = 3.0,
    ) -> None:
        super().__init__("stand-in controller")
        self._cluster = cluster
        self._ingress_class = ingress_class
        self._look_seconds = look_seconds
        self._gives_up_seconds = gives_up_seconds
        self._judges: dict[str, Judge] = {}
        self._hangs = False
        self._mistake = ""
        self._accepted: dict[Name, tuple[int, float]] = {}
        self.pushed: dict[Name, Object] = {}
        """What APISIX serves: the spec of each object as it was pushed last."""

    @contextmanager
    def judging(self, of_namespace: str, judge: Judge) -> Iterator[None]:
        """Say of objects in `of_namespace` what `judge` does, until the end of the block."""
        self._judges[of_namespace] = judge
        try:
            yield
        finally:
            del self._judges[of_namespace]

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """APISIX's Admin API does not answer, until the end of the block."""
        self._hangs = True
        try:
            yield
        finally:
            self._hangs = False

    @contextmanager
    def failing(self, message: str) -> Iterator[None]:
        """An object of somebody else keeps everything from being pushed, until the end of the block."""
        self._mistake = message
        try:
            yield
        finally:
            self._mistake = ""

    def work(self) -> None:
        """Look again and again at the ingress class and the objects."""
        while not self.ended.wait(self._look_seconds):
            try:
                self._look()
            except ApiError as error:
                # The kind is not there yet, or the object is gone; a kind that has just come is 429.
                if error.code not in (404, 409, 429) and error.code < 500:
                    raise
            except urllib3.exceptions.HTTPError:
                # No answer, from a server that is busy: the next look will do.
                continue

    def _look(self) -> None:
        classes = {each["metadata"]["name"]: each for each in self._cluster.rest.items(INGRESS_CLASS.path())}
        if self._ingress_class not in classes:
            self._accepted.clear()
            self.pushed.clear()
            return
        found = {
            (kind, each["metadata"]["namespace"], each["metadata"]["name"]): {"kind": kind, **each}
            for kind in KINDS
            for each in self._cluster.rest.items(CHILD_BY_KIND[kind].path(None))
            if each["spec"].get("ingressClassName") == self._ingress_class
        }
        for memory in (self._accepted, self.pushed):
            for gone in memory.keys() - found.keys():
                del memory[gone]
        if classes[self._ingress_class]["spec"].get("parameters"):
            self._push(found)
        for name, each in found.items():
            self._judge(name, each)

    def _push(self, found: dict[Name, Object]) -> None:
        """Push what was accepted at an earlier look, as a whole."""
        due = {
            name: each
            for name, each in found.items()
            if self._accepted.get(name, (0, 0.0))[0] == each["metadata"]["generation"]
        }
        waiting = [self._accepted[name][1] for name, each in due.items() if self.pushed.get(name) != each["spec"]]
        if self._hangs and waiting and time.monotonic() - min(waiting) < self._gives_up_seconds:
            return
        failure = self._mistake or ("context deadline exceeded" if self._hangs and waiting else "")
        if not failure and not self._hangs:
            self.pushed |= {name: each["spec"] for name, each in due.items()}
        for name, each in due.items():
            if name[0] == "ApisixRoute" and each["metadata"]["namespace"] not in self._judges:
                if failure:
                    self._say(each, ("False", "SyncFailed", failure))
                elif not self._hangs:
                    self._say(each, ACCEPTED)

    def _judge(self, name: Name, found: Object) -> None:
        """Accept what is new, or say what a test has it say."""
        judge, generation = self._judges.get(name[1]), found["metadata"]["generation"]
        if judge is not None:
            word = judge(found)
            if word is not None:
                self._say(found, word)
        elif self._accepted.get(name, (0, 0.0))[0] != generation:
            self._say(found, ACCEPTED)
        else:
            return
        if judge is None or word == ACCEPTED:
            self._accepted[name] = (generation, time.monotonic())

    def _say(self, found: Object, word: RouteAcceptance) -> None:
        condition: dict[str, Any] = {
            "type": "Accepted",
            **dict(zip(("status", "reason", "message"), word, strict=True)),
            "observedGeneration": found["metadata"]["generation"],
        }
        known = [
            {key: value for key, value in each.items() if key != "lastTransitionTime"}
            for each in (found.get("status") or {}).get("conditions") or ()
        ]
        if known != [condition]:
            metadata = found["metadata"]
            path = f"{CHILD_BY_KIND[found['kind']].path(metadata['namespace'], metadata['name'])}/status"
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._cluster.rest.merge(path, {"status": {"conditions": [{**condition, "lastTransitionTime": now}]}})


def connect(cluster: Cluster, ingress_class: str = "apisix") -> None:
    """An IngressClass, and the GatewayProxy that its parameters name."""
    apply_all(cluster, [namespace(CONNECTED_IN), gateway_proxy(), ingress_class_of(ingress_class, connected=True)])


def ingress_class_of(name: str, *, connected: bool) -> Object:
    """`connected`: with parameters."""
    parameters = {
        "apiGroup": GATEWAY_PROXY.group,
        "kind": GATEWAY_PROXY.kind,
        "scope": "Namespace",
        "namespace": CONNECTED_IN,
        "name": "apisix-config",
    }
    return {
        "apiVersion": INGRESS_CLASS.api_version,
        "kind": INGRESS_CLASS.kind,
        "metadata": {"name": name},
        "spec": {
            "controller": "apisix.apache.org/apisix-ingress-controller",
            **({"parameters": parameters} if connected else {}),
        },
    }


def gateway_proxy() -> Object:
    """The way to an Admin API."""
    return {
        "apiVersion": GATEWAY_PROXY.api_version,
        "kind": GATEWAY_PROXY.kind,
        "metadata": {"name": "apisix-config", "namespace": CONNECTED_IN},
        "spec": {"provider": {"type": "ControlPlane"}},
    }


def _permissive(resource: Resource) -> Object:
    kind = resource.kind
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": resource.plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
