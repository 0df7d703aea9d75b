"""
What istiod does to a cluster's objects, where none runs: enough for `istioctl analyze` to judge as it would there.

Its configuration, its injector's traces, and the addresses that it gives to ServiceEntries. No proxy is configured.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from egressgateway.refs import CHILD_BY_KIND
from harness.cluster import Cluster
from harness.objects import apply_all, namespace
from harness.rest import Object

ROOT_NAMESPACE: Final = "istio-system"
_NAME: Final = "stand-in-injector"
_POLICY = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy"}
_ASKS = "object.spec.containers.exists(each, each.name == 'istio-proxy' && each.image == 'auto')"
_ANSWER = "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'istio-proxy', image: 'proxyv2'}]}}"


def install(cluster: Cluster, *, revisions: tuple[str, ...] = (), **mesh: Any) -> None:
    """The root namespace, the mesh's configuration `mesh`, and an injector for the default and for `revisions`."""
    apply_all(cluster, [namespace(ROOT_NAMESPACE), mesh_config(**mesh), *_injector(), _webhooks(revisions)])


def mesh_config(**mesh: Any) -> Object:
    """The ConfigMap that holds `mesh`, by the names of istio.io, "Global Mesh Options"."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": ROOT_NAMESPACE},
        "data": {"mesh": yaml.safe_dump(mesh)},
    }


def give_addresses(cluster: Cluster) -> None:
    """
    Write into each ServiceEntry's status an address for each of its hosts, as istiod's IP auto-allocation does.

    It does so by default since Istio 1.25, and not for wildcards nor where `spec.addresses` says them.
    """
    resource = CHILD_BY_KIND["ServiceEntry"]
    for number, entry in enumerate(cluster.rest.items(resource.path(None))):
        hosts = [host for host in entry["spec"]["hosts"] if not host.startswith("*")]
        if not hosts or entry["spec"].get("addresses") or (entry.get("status") or {}).get("addresses"):
            continue
        given = [
            {"value": f"240.240.{number // 250}.{1 + (number + index) % 250}", "host": host}
            for index, host in enumerate(hosts)
        ]
        metadata = entry["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"])
        cluster.rest.merge(f"{path}/status", {"status": {"addresses": given}})


def _injector() -> list[Object]:
    """The image of a gateway's container, by a policy: a webhook would need a server that answers."""
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    spec = {
        "matchConstraints": {"resourceRules": [pods]},
        "matchConditions": [{"name": "asks-for-injection", "expression": _ASKS}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": _ANSWER}}],
    }
    binding = {**_POLICY, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": _NAME}}
    return [{**_POLICY, "metadata": {"name": _NAME}, "spec": spec}, {**binding, "spec": {"policyName": _NAME}}]


def _webhooks(revisions: tuple[str, ...]) -> Object:
    """
    Istio's webhooks by their selectors, which `analyze` looks at; their rules name a kind that nobody creates.

    As of `istioctl manifest generate`: labelled namespaces, pods that ask by themselves, and pods of a revision.
    """
    unlabelled = [{"key": key, "operator": "DoesNotExist"} for key in ("istio-injection", "istio.io/rev")]
    enabled = [{"key": "istio-injection", "operator": "In", "values": ["enabled"]}]
    asks = {"key": "sidecar.istio.io/inject", "operator": "In", "values": ["true"]}
    refuses_not = {**asks, "operator": "NotIn", "values": ["false"]}
    of_default = {"key": "istio.io/rev", "operator": "DoesNotExist"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector"},
        "webhooks": [
            _webhook("namespace", enabled, [refuses_not]),
            _webhook("object", unlabelled, [asks, of_default]),
            *(
                _webhook(
                    f"{revision}.object", unlabelled, [{"key": "istio.io/rev", "operator": "In", "values": [revision]}]
                )
                for revision in revisions
            ),
        ],
    }


def _webhook(name: str, namespaces: list[Object], pods: list[Object]) -> Object:
    nothing = {
        "apiGroups": ["none.example"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["nothings"],
    }
    return {
        "name": f"{name}.sidecar-injector.istio.io",
        "namespaceSelector": {"matchExpressions": namespaces},
        "objectSelector": {"matchExpressions": pods},
        "rules": [nothing],
        "clientConfig": {"url": "https://127.0.0.1:1/inject"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore",
    }
