"""
Whose an object is, and why the operator believes it. Nothing else in the operator looks at labels for that.

A tenant writes what he likes in his own namespaces: labels, annotations, names, owner references. So these are evidence
about his own EgressGateways at most. In another namespace nothing but the operator's own record counts: what the status
of the EgressGateway names among its `remoteChildren`. docs/security.md has the whole table.
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
    selector_labels,
)
from egressgateway.refs import EGRESS_GATEWAY, GROUP, Key, Manifest, ObjectRef, ref_of


def named_owner(manifest: Manifest) -> Key | None:
    """
    The EgressGateway that an object says it belongs to, by its owner reference, else by its labels.

    To be looked up by, no more: anybody can write it. `is_child` says whether it is true.
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
    """Children in other namespaces that a status names: it did before they were made."""
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
    Whether the EgressGateway `key` owns an object of its own namespace, and the object bears a mark of the operator.

    A person may let an EgressGateway own his objects, to have them collected with it: the owner reference alone is no
    reason to change or delete them. By name, not by uid: children of a deleted predecessor are taken over before the
    garbage collector comes.
    """
    metadata = manifest["metadata"]
    if metadata.get("namespace", "") != key.namespace or key.name not in _owners(manifest):
        return False
    return _names_in_labels(manifest, key) or ANNOTATION_DIGEST in (metadata.get("annotations") or {})


def is_orphan_of(manifest: Manifest, key: Key) -> bool:
    """
    Whether the operator wrote the object for an EgressGateway of this name, and nobody owns it any more.

    So `kubectl delete --cascade=orphan` leaves children, and a backup that brings them back without their owner. What
    anybody owns is theirs; labels, the digest of what was written, and a name as only we make them are together
    nothing that a person's own object has.
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
    """Whether an object that is recorded as a child of `key`, or stands under a name planned for it, may be written."""
    if manifest["metadata"].get("namespace", "") == key.namespace:
        return is_owned_by(manifest, key) or is_orphan_of(manifest, key)
    return is_left_over(manifest, key)


def is_left_over(manifest: Manifest, key: Key) -> bool:
    """
    Whether an object in another namespace names `key` as its gateway.

    Under a name that the plan gives it in a shared gateway's namespace, so a restore without statuses leaves children:
    the class names that namespace, and whoever can write the labels there can write the object itself.
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
    return bool(labels.items() >= {**selector_labels(key), LABEL_MANAGED_BY: MANAGED_BY}.items())
