"""
Who makes an exit from the mesh of a spec, and changes and ends it: the operator, or somebody with `kubectl apply` who
has the very same manifests and writes them all at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.validation import parse_class_spec, parse_spec
from egressgateway.engine.cache.references import pods_of
from egressgateway.facts import ClassFacts, Facts, GatewayFacts, PodSelection, References, WorkloadFacts
from egressgateway.names import LABEL_MANAGED_BY
from egressgateway.plan.accept import accept
from egressgateway.plan.build import build_plan
from egressgateway.plan.gateway.references import wanted_pods, wanted_references
from egressgateway.refs import REFERENCE_BY_KIND, Key, Manifest, ObjectRef
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import render_child
from egressgateway.settings import MeshSettings
from harness.gateways import Gateways, egress_gateway
from harness.mesh.mesh import Mesh
from harness.rest import Object
from harness.wait import eventually

NAME = "exit"
CLASSES = "/apis/egressgateway.dev/v1alpha1/egressgatewayclasses"


class Exit(Protocol):
    """An exit from the mesh, in one namespace."""

    def put(self, *destinations: Object, **spec: Any) -> None:
        """Make the exit that the spec describes of what there is; return when it is done, as far as one can tell."""

    def remove(self) -> None:
        """End it; return when nothing is left."""


class ByOperator:
    """An EgressGateway, and the operator does the rest."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways

    def put(self, *destinations: Object, **spec: Any) -> None:
        self._gateways.apply(NAME, *destinations, **spec)
        self._gateways.wait_ready(NAME)

    def remove(self) -> None:
        self._gateways.delete(NAME)
        self._gateways.wait_gone(NAME)


class ByHand:
    """The same manifests, all written at once, and what is not wanted any more deleted at once."""

    def __init__(self, mesh: Mesh, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._live: dict[tuple[str, str, str], Manifest] = {}

    def put(self, *destinations: Object, **spec: Any) -> None:
        manifests = {
            _name(each): each for each in self._manifests(egress_gateway(self._namespace, NAME, *destinations, **spec))
        }
        gone = [each for name, each in self._live.items() if name not in manifests]
        self._live = manifests
        self._kubectl("apply", "--server-side", "--force-conflicts", manifests=manifests.values())
        self._kubectl("delete", "--ignore-not-found", "--wait=false", manifests=gone)
        for namespace, name in [(each[1], each[2]) for each in manifests if each[0] == "Deployment"]:
            eventually(partial(self._serves, namespace, name), what="the pods", timeout=60)
        self._mesh.settle()

    def remove(self) -> None:
        self._kubectl("delete", "--ignore-not-found", "--wait=true", manifests=self._live.values())
        self._live = {}
        self._mesh.settle()

    def _kubectl(self, *arguments: str, manifests: Iterable[Manifest]) -> None:
        documents = "\n---\n".join(map(json.dumps, manifests))
        if documents:
            self._mesh.cluster.kubectl(*arguments, "-f", "-", stdin=documents, timeout=180)

    def _serves(self, namespace: str, name: str) -> bool:
        deployment = self._mesh.cluster.rest.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        return bool((deployment.get("status") or {}).get("readyReplicas") == deployment["spec"]["replicas"])

    def _manifests(self, gateway: Object) -> list[Manifest]:
        """What the operator would write in the end, without what makes it the operator's."""
        facts = self._facts(gateway)
        plan = build_plan(facts, accept(facts))
        rendered = [render_child(Renderer(), child).manifest for child in plan.children]
        for manifest in rendered:
            manifest["metadata"].pop("ownerReferences", None)
            manifest["metadata"]["labels"].pop(LABEL_MANAGED_BY)
        assert rendered, accept(facts).findings
        return rendered

    def _facts(self, gateway: Object) -> Facts:
        spec, class_name = parse_spec(gateway["spec"]), gateway["spec"].get("className", "")
        assert not isinstance(spec, tuple), spec
        rest, now = self._mesh.cluster.rest, datetime.now(UTC)
        class_spec: Any = EgressGatewayClassSpec()
        if class_name:
            class_spec = parse_class_spec(rest.get(f"{CLASSES}/{class_name}")["spec"])
        namespaces = {
            each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in rest.items("/api/v1/namespaces")
        }
        facts = Facts(
            now=now,
            gateway=GatewayFacts(Key(self._namespace, NAME), "by-hand", 1, now, spec),
            class_=ClassFacts(class_name, class_spec),
            mesh=MeshSettings(),
            namespace_labels=namespaces[self._namespace],
            namespaces=namespaces,
            workload=WorkloadFacts(1, 1, complete=True),
        )
        objects: dict[ObjectRef, Manifest | None] = {
            ref: rest.get(REFERENCE_BY_KIND[ref.kind].path(ref.namespace, ref.name)) for ref in wanted_references(facts)
        }
        pods = {each: tuple(pods_of(self._pods(each))) for each in wanted_pods(facts)}
        return replace(facts, references=References(objects, pods))

    def _pods(self, selection: PodSelection) -> list[Manifest]:
        selector = ",".join(f"{name}={value}" for name, value in selection.labels)
        path = f"/api/v1/namespaces/{selection.namespace}/pods"
        return self._mesh.cluster.rest.items(path, labelSelector=selector)


def _name(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
