"""
A tenant: a real user of the API server with the role `edit` in namespaces of its own, and nothing elsewhere.

What is called safe is tried with these rights, never with an administrator's.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from harness.cluster import Cluster
from harness.objects import apply_all
from harness.rest import Object, Rest

_RBAC: Final = "rbac.authorization.k8s.io"
_OWN_KINDS: Final = [
    # What the chart joins to the role `edit`: the objects, never their status.
    {"apiGroups": ["egressgateway.dev"], "resources": ["egressgateways"], "verbs": ["*"]},
    # What platforms give teams that route for themselves.
    {
        "apiGroups": ["networking.istio.io", "security.istio.io", "telemetry.istio.io"],
        "resources": ["*"],
        "verbs": ["*"],
    },
]


def tenant(cluster: Cluster, directory: Path, *namespaces: str) -> Rest:
    """
    A client with a tenant's rights in `namespaces`, which exist.

    Args:
        directory: where its kubeconfig is written.
    """
    name, home = f"tenant-{secrets.token_hex(3)}", namespaces[0]
    account = {"kind": "ServiceAccount", "name": name, "namespace": home}
    cluster.rest.create(f"/api/v1/namespaces/{home}/serviceaccounts", {"metadata": {"name": name}})
    for namespace in namespaces:
        role = {**_object("Role", f"{name}-routes", namespace), "rules": _OWN_KINDS}
        for_edit = _binding(f"{name}-edit", namespace, {"kind": "ClusterRole", "name": "edit"}, account)
        for_routes = _binding(f"{name}-routes", namespace, {"kind": "Role", "name": f"{name}-routes"}, account)
        apply_all(cluster, [role, for_edit, for_routes])
    return Rest(cluster.service_account_kubeconfig(home, name, directory / f"kubeconfig-{name}"))


def _object(kind: str, name: str, namespace: str) -> Object:
    return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _binding(name: str, namespace: str, role: Object, account: Object) -> Object:
    reference = {"apiGroup": _RBAC, **role}
    return {**_object("RoleBinding", name, namespace), "roleRef": reference, "subjects": [account]}
