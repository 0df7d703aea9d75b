"""
Names of things: which object, of which kind, under which URL.

Nothing here talks to a server; `cluster.request` turns these names into calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON data."""

GROUP = "egressgateway.dev"
VERSION = "v1alpha1"


class Key(NamedTuple):
    """Identity of one EgressGateway: what the work queue holds, never an event or a copy."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API server serves it. `group` is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection, or of one object; `namespace=None` means every namespace."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")


class ObjectRef(NamedTuple):
    """One object in the cluster, by kind and name; `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


EGRESS_GATEWAY = Resource(GROUP, VERSION, "EgressGateway", "egressgateways")
EGRESS_GATEWAY_CLASS = Resource(GROUP, VERSION, "EgressGatewayClass", "egressgatewayclasses", namespaced=False)
DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
NAMESPACE = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
EVENT = Resource("events.k8s.io", "v1", "Event", "events")
LEASE = Resource("coordination.k8s.io", "v1", "Lease", "leases")
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps")
POD = Resource("", "v1", "Pod", "pods")
SECRET = Resource("", "v1", "Secret", "secrets")
SIDECAR = Resource("networking.istio.io", "v1", "Sidecar", "sidecars")
INGRESS_CLASS = Resource("networking.k8s.io", "v1", "IngressClass", "ingressclasses", namespaced=False)
GATEWAY_PROXY = Resource("apisix.apache.org", "v1alpha1", "GatewayProxy", "gatewayproxies")

CHILD_RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "ServiceAccount", "serviceaccounts"),
    Resource("", "v1", "Service", "services"),
    Resource("apps", "v1", "Deployment", "deployments"),
    Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Resource("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
    Resource("networking.istio.io", "v1", "Gateway", "gateways"),
    Resource("networking.istio.io", "v1", "DestinationRule", "destinationrules"),
    Resource("networking.istio.io", "v1", "VirtualService", "virtualservices"),
    Resource("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    Resource("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    Resource("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters"),
    Resource("telemetry.istio.io", "v1", "Telemetry", "telemetries"),
    Resource("apisix.apache.org", "v2", "ApisixUpstream", "apisixupstreams"),
    Resource("apisix.apache.org", "v2", "ApisixRoute", "apisixroutes"),
)
"""Every kind of child that the operator writes, watches and prunes."""

APISIX_KINDS = frozenset({"ApisixUpstream", "ApisixRoute"})
"""Of these, the kinds that only clusters with APISIX have."""

CHILD_BY_KIND: dict[str, Resource] = {resource.kind: resource for resource in CHILD_RESOURCES}

REFERENCE_BY_KIND: dict[str, Resource] = {
    resource.kind: resource
    for resource in (
        SECRET,
        CONFIG_MAP,
        CHILD_BY_KIND["Service"],
        CHILD_BY_KIND["Gateway"],
        CHILD_BY_KIND["Deployment"],
        INGRESS_CLASS,
        GATEWAY_PROXY,
    )
}
"""Kinds of objects that a spec or a class may refer to and that are not the operator's."""


def ref_of(manifest: Manifest) -> ObjectRef:
    """Name of the object that `manifest` describes."""
    metadata = manifest["metadata"]
    return ObjectRef(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
