"""Whose an object is, by what it says of itself."""

from __future__ import annotations

from egressgateway.plan.names import LABEL_GATEWAY, LABEL_MANAGED_BY, LABEL_NAMESPACE, MANAGED_BY
from egressgateway.refs import EGRESS_GATEWAY, GROUP, Key, Manifest


def owner_of(child: Manifest) -> Key | None:
    """
    EgressGateway whose child this is by its owner reference, else by what its three labels say.

    Labels alone anybody can set: `diff.changeset.is_child_of` says whether they count. A child whose label somebody
    changed stays ours, and is put right.
    """
    metadata = child["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == EGRESS_GATEWAY.kind and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/"):
            return Key(metadata.get("namespace", ""), owner["name"])
    labels = metadata.get("labels") or {}
    name, namespace = labels.get(LABEL_GATEWAY), labels.get(LABEL_NAMESPACE)
    return Key(namespace, name) if name and namespace and labels.get(LABEL_MANAGED_BY) == MANAGED_BY else None
