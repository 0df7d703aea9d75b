"""
Merges a partial object into a whole one, as a Kubernetes strategic merge patch.

Maps are merged, lists of objects with a merge key by that key, all else is replaced; a null removes a field
(Kubernetes, "sig-api-machinery/strategic-merge-patch.md"). The fields that identify the object and its pods are ours: a
label of the base that the overlay has too keeps the base's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.refs import Manifest

_MERGE_KEYS: Final = {
    # `patchMergeKey` of Kubernetes' pod API, by field.
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}
_OURS: Final = frozenset({"labels", "annotations"})


def overlaid(base: Manifest, overlay: Mapping[str, Any]) -> Manifest:
    """`base` with `overlay` laid over it; neither is changed."""
    merged: Manifest = _merge(base, overlay, "") if overlay else base
    return merged


def _merge(base: Any, overlay: Any, field: str) -> Any:
    if isinstance(base, Mapping) and isinstance(overlay, Mapping):
        return _merge_maps(base, overlay, field)
    key = _MERGE_KEYS.get(field)
    if key is not None and isinstance(base, list) and _are_maps(overlay):
        return _merge_lists(base, overlay, key)
    return overlay


def _are_maps(overlay: Any) -> bool:
    """Whether it is a list of objects. Any other value replaces ours, and the API server may reject it."""
    return isinstance(overlay, (list, tuple)) and all(isinstance(item, Mapping) for item in overlay)


def _merge_maps(base: Mapping[str, Any], overlay: Mapping[str, Any], field: str) -> dict[str, Any]:
    if field in _OURS:
        return {**overlay, **base}
    merged = dict(base)
    for name, value in overlay.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged[name], value, name) if name in merged else value
    return merged


def _merge_lists(base: list[Any], overlay: list[Any] | tuple[Any, ...], key: str) -> list[Any]:
    merged = list(base)
    places = {item.get(key): index for index, item in enumerate(merged)}
    for item in overlay:
        place = places.get(item.get(key))
        if place is None:
            merged.append(item)
        else:
            merged[place] = _merge(merged[place], item, "")
    return merged
