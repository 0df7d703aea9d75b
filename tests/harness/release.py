"""
The operator's rights in a test cluster: those of the chart, and no others.

Whoever runs the operator gives it a service account with the chart's roles: tests find out what the chart forgets.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final

from harness.cluster import Cluster
from harness.helm import RELEASE, Helm, find_helm
from harness.objects import apply_all, namespace, path_of
from harness.rest import Object

NAMESPACE: Final = "default"
"""Where the operator of the tests keeps its Lease."""

GATEWAY_ROLE: Final = f"{RELEASE}-{hashlib.sha256(NAMESPACE.encode()).hexdigest()[:6]}-gateway"
"""The ClusterRole that the operator may bind, as the chart calls it there."""

RIGHTS: Final = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def rights(values: dict[str, Any] | None = None) -> list[Object]:
    """The operator's account, roles and bindings by the chart with `values`."""
    rendered = Helm(find_helm()).template(values, namespace=NAMESPACE)
    hooks = ("helm.sh/hook" in (each["metadata"].get("annotations") or {}) for each in rendered)
    return [each for each, hook in zip(rendered, hooks, strict=True) if each["kind"] in RIGHTS and not hook]


def operator_kubeconfig(cluster: Cluster, *, secrets: bool = False) -> Path:
    """
    A kubeconfig for the operator's account, made with its roles when first asked for.

    `secrets`: it may look at Secrets everywhere, as with the value `rbac.secrets.clusterWide`; by default it may not.
    It may always write APISIX's kinds.
    """
    # One a process: several may ask at once, and the objects that they apply are the same.
    path = cluster.kubeconfig.with_name(f"kubeconfig-operator-{os.getpid()}{'-secrets' if secrets else ''}")
    if not path.exists():
        objects = rights({"apisix": {"enabled": True}, "rbac": {"secrets": {"clusterWide": secrets}}})
        places = {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
        missing = [each for each in sorted(places) if not cluster.rest.exists(f"/api/v1/namespaces/{each}")]
        apply_all(cluster, [*map(namespace, missing), *objects])
        cluster.service_account_kubeconfig(NAMESPACE, RELEASE, path)
    return path


def allow_secrets(cluster: Cluster, place: str) -> None:
    """Let the operator look at the Secrets of a namespace, as the value `rbac.secrets.namespaces` does."""
    apply_all(cluster, _right_to_secrets(place))


def withdraw_secrets(cluster: Cluster, place: str) -> None:
    """Take back what `allow_secrets` gave: without the value the operator looks at no Secret."""
    for each in _right_to_secrets(place):
        if cluster.rest.exists(path_of(each)):
            cluster.rest.delete(path_of(each))


def _right_to_secrets(place: str) -> list[Object]:
    with_right = rights({"rbac": {"secrets": {"namespaces": [place]}}})
    return [each for each in with_right if each["metadata"].get("namespace") == place]
