"""Objects of any kind that tests need around an EgressGateway: built, applied, and looked at for changes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from egressgateway.refs import (
    CHILD_RESOURCES,
    CONFIG_MAP,
    EGRESS_GATEWAY,
    EGRESS_GATEWAY_CLASS,
    GATEWAY_PROXY,
    INGRESS_CLASS,
    NAMESPACE,
    POD,
    SECRET,
    Resource,
)
from harness.cluster import Cluster
from harness.pki import Pair
from harness.rest import Object

_ADMISSION: Final = "admissionregistration.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"
_RESOURCES: Final = {
    resource.kind: resource
    for resource in (
        *CHILD_RESOURCES,
        *(CONFIG_MAP, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, NAMESPACE, POD, SECRET),
        *(INGRESS_CLASS, GATEWAY_PROXY),
        *(
            Resource(group, "v1", kind, plural, namespaced=False)
            for group, kind, plural in (
                (_ADMISSION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
                (_ADMISSION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
                (_ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
                (_RBAC, "ClusterRole", "clusterroles"),
                (_RBAC, "ClusterRoleBinding", "clusterrolebindings"),
            )
        ),
    )
}


def path_of(manifest: Object) -> str:
    """Where the API server has an object, by its kind, namespace (`default` when it says none) and name."""
    metadata = manifest["metadata"]
    return _RESOURCES[manifest["kind"]].path(metadata.get("namespace", "default"), metadata["name"])


def apply_all(cluster: Cluster, manifests: Iterable[Object]) -> None:
    """Apply objects in their order, as `kubectl apply --server-side` does."""
    for manifest in manifests:
        cluster.rest.apply(path_of(manifest), manifest)


def fingerprints(cluster: Cluster, manifests: Iterable[Object]) -> dict[str, object]:
    """What of each object only a person or a program that means it changes: all but status and bookkeeping."""
    found = {path: cluster.rest.get(path) for path in map(path_of, manifests)}
    return {
        path: (
            {key: value for key, value in each.items() if key not in ("metadata", "status")},
            {key: each["metadata"].get(key) for key in ("uid", "labels", "annotations", "finalizers")},
        )
        for path, each in found.items()
    }


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service(namespace: str, name: str, *ports: Object, selector: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": list(ports), "selector": selector or {"app": name}},
    }


def pod(namespace: str, name: str, container: Object, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [container]},
    }


def secret(namespace: str, name: str, content: Mapping[str, bytes]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
    }


def client_secret(namespace: str, name: str, pair: Pair, authority: bytes) -> Object:
    """What `credentialName` names for TLS mode Mutual: certificate, key, and the CA that the other side is held to."""
    return secret(namespace, name, {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority})


def places(pods: Iterable[Object]) -> Counter[str]:
    """How many of the pods are on which node."""
    return Counter(each["spec"]["nodeName"] for each in pods)


def is_ready(pod: Object) -> bool:
    """Whether Services send requests to a pod."""
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", ()))
