"""
Which EgressGateway owns an object, and the evidence for it. No other module judges labels for that.

Tenants write what they like in their own namespaces: labels, annotations, names, owner references. So these are
evidence about their own EgressGateways at most. In another namespace only the operator's own record counts: the
`remoteChildren` in the status of the EgressGateway. docs/security.md has the whole table.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from egressgateway.names import (
    ANNOTATION_DIGEST,
    LABEL_GATEWAY,
    LABEL_MANAGED_BY,
    LABEL_NAMESPACE,
    LABEL_PART,
    MANAGED_BY,
    is_childs_name,
)
from egressgateway.refs import EGRESS_GATEWAY, GROUP, Key, Manifest, ObjectRef, ref_of


def named_owner(manifest: Manifest) -> Key | None:
    """
    The EgressGateway that an object names as its owner, by its owner reference, otherwise by its labels.

    For look-ups only: every tenant can write it. `is_child` decides whether it is true.
    """
    metadata = manifest["metadata"]
    namespace = metadata.get("namespace", "")
    for name in _owners(manifest):
        return Key(namespace, name)
    labels = metadata.get("labels") or {}
    gateway, of_namespace = labels.get(LABEL_GATEWAY), labels.get(LABEL_NAMESPACE)
    if not (gateway and of_namespace and labels.get(LABEL_MANAGED_BY) == MANAGED_BY):
        return None
    return Key(str(of_namespace), str(gateway))


def recorded_children(status: Mapping[str, Any]) -> frozenset[ObjectRef]:
    """Children in other namespaces that a status names: it named them before they were created."""
    found = status.get("remoteChildren")
    return frozenset(
        ObjectRef(str(child.get("kind")), str(child.get("namespace")), str(child.get("name")))
        for child in (found if isinstance(found, list) else ())
        if isinstance(child, dict)
    )


def is_child(manifest: Manifest, key: Key, recorded: Container[ObjectRef]) -> bool:
    """
    Whether an object is a child of the EgressGateway `key`.

    Args:
        recorded: children in other namespaces that the status of the EgressGateway names.
    """
    if manifest["metadata"].get("namespace", "") == key.namespace:
        return is_owned_by(manifest, key) or is_orphan_of(manifest, key)
    return ref_of(manifest) in recorded and _names_in_labels(manifest, key)


def is_owned_by(manifest: Manifest, key: Key) -> bool:
    """
    Whether the EgressGateway `key` owns an object of its own namespace, and the object carries a mark of the operator.

    A user may let an EgressGateway own other objects, to have them collected with it: the owner reference alone is no
    reason to change or delete them. By name, not by uid: children of a deleted predecessor are adopted before the
    garbage collector comes.
    """
    metadata = manifest["metadata"]
    if metadata.get("namespace", "") != key.namespace or key.name not in _owners(manifest):
        return False
    return _names_in_labels(manifest, key) or ANNOTATION_DIGEST in (metadata.get("annotations") or {})


def is_orphan_of(manifest: Manifest, key: Key) -> bool:
    """
    Whether the operator wrote the object for an EgressGateway of this name, and it has no owner any more.

    `kubectl delete --cascade=orphan` leaves such children, and so does a backup that restores them without their owner.
    An object with an owner is not adopted. No user's own object has our labels, the digest of what was written, and a
    name in our form.
    """
    metadata = manifest["metadata"]
    return bool(
        metadata.get("namespace", "") == key.namespace
        and not metadata.get("ownerReferences")
        and _names_in_labels(manifest, key)
        and ANNOTATION_DIGEST in (metadata.get("annotations") or {})
        and is_childs_name(metadata["name"], key, str((metadata.get("labels") or {}).get(LABEL_PART, "")))
    )


def is_child_of(manifest: Manifest, key: Key) -> bool:
    """Whether an object that is recorded as a child of `key`, or has a name that is planned for it, may be written."""
    if manifest["metadata"].get("namespace", "") == key.namespace:
        return is_owned_by(manifest, key) or is_orphan_of(manifest, key)
    return is_left_over(manifest, key)


def is_left_over(manifest: Manifest, key: Key) -> bool:
    """
    Whether an object in another namespace names `key` as its gateway.

    A restore without statuses leaves such children, under a name that the plan gives them in a shared gateway's
    namespace: the class names that namespace, and a user who can write the labels there can write the object itself.
    """
    return manifest["metadata"].get("namespace", "") != key.namespace and _names_in_labels(manifest, key)


def _owners(manifest: Manifest) -> Iterator[str]:
    """Names of EgressGateways among the owners of an object."""
    for owner in manifest["metadata"].get("ownerReferences") or ():
        version = str(owner.get("apiVersion", ""))
        if owner.get("kind") == EGRESS_GATEWAY.kind and version.startswith(f"{GROUP}/"):
            yield str(owner.get("name", ""))


def _names_in_labels(manifest: Manifest, key: Key) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return (
        labels.get(LABEL_GATEWAY) == key.name
        and labels.get(LABEL_NAMESPACE) == key.namespace
        and labels.get(LABEL_MANAGED_BY) == MANAGED_BY
    )
