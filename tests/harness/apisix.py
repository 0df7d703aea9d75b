"""
APISIX where none runs: its CRDs, and a stand-in for its ingress controller, which gives its word on objects.

Like the real one it looks at objects of its own ingress class alone, and says nothing at all of others
(apisix-ingress-controller, `internal/controller`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import urllib3

from egressgateway.refs import CHILD_BY_KIND
from harness.background import Background
from harness.cluster import Cluster
from harness.kinds import install_definitions, read_definitions
from harness.rest import ApiError, Object

ROOT: Final = Path(__file__).resolve().parents[2]
KINDS: Final = ("ApisixUpstream", "ApisixRoute")
ACCEPTED: Final = ("True", "Accepted", "The APISIX resource has been accepted")

RouteAcceptance = tuple[str, str, str]
"""Status, reason and message of the condition Accepted."""

Judge = Callable[[Object], RouteAcceptance | None]
"""What a controller says of an object; None: it keeps silent for now."""


def install(cluster: Cluster) -> None:
    """Serve APISIX's kinds: by its own CRDs where they lie beside the repository, else by ones that take everything."""
    shared = Path(os.environ.get("EGRESSGATEWAY_SHARED", ROOT.parent / "shared"))
    real = read_definitions(sorted((shared / "data" / "apisix-crds").glob("*.yaml")))
    install_definitions(cluster.rest, real or [_permissive(kind) for kind in KINDS])


class StandInController(Background):
    """Answers from `with` to its end, and takes everything but where a test has it say otherwise."""

    def __init__(self, cluster: Cluster, ingress_class: str = "apisix", *, look_seconds: float = 0.2) -> None:
        super().__init__("stand-in controller")
        self._cluster = cluster
        self._ingress_class = ingress_class
        self._look_seconds = look_seconds
        self._judges: dict[str, Judge] = {}

    @contextmanager
    def judging(self, namespace: str, judge: Judge) -> Iterator[None]:
        """Say of objects in `namespace` what `judge` does, until the end of the block."""
        self._judges[namespace] = judge
        try:
            yield
        finally:
            del self._judges[namespace]

    def work(self) -> None:
        """Give its word on objects that have none, or another."""
        while not self.ended.wait(self._look_seconds):
            for kind in KINDS:
                try:
                    for found in self._cluster.rest.items(CHILD_BY_KIND[kind].path(None)):
                        self._judge(kind, found)
                except ApiError as error:
                    # The kind is not there yet, or the object is gone; a kind that has just come is 429.
                    if error.code not in (404, 429) and error.code < 500:
                        raise
                except urllib3.exceptions.HTTPError:
                    # No answer, from a server that is busy: the next look will do.
                    continue

    def _judge(self, kind: str, found: Object) -> None:
        judge = self._judges.get(found["metadata"]["namespace"], lambda _: ACCEPTED)
        word = judge({"kind": kind, **found})
        if found["spec"].get("ingressClassName") != self._ingress_class or word is None:
            return
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
            path = f"{CHILD_BY_KIND[kind].path(metadata['namespace'], metadata['name'])}/status"
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._cluster.rest.merge(path, {"status": {"conditions": [{**condition, "lastTransitionTime": now}]}})


def _permissive(kind: str) -> Object:
    resource = CHILD_BY_KIND[kind]
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
