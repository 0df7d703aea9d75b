"""
What a pod says of its place in the mesh, by its manifest: whether a sidecar takes its calls, or ztunnel does.

The annotations are those of istio.io, "Resource Annotations". Only the effect counts: a pod without a sidecar is not
in the mesh, whatever its labels ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.refs import Manifest

ENDED: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that make no calls any more."""

PROXY: Final = "istio-proxy"
INCLUDED_RANGES: Final = "traffic.sidecar.istio.io/includeOutboundIPRanges"
EXCLUDED_RANGES: Final = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
REDIRECTION: Final = "ambient.istio.io/redirection"
"""Istio's CNI sets it to `enabled` on a pod whose calls ztunnel takes."""

_SETUP: Final = frozenset({"istio-init", "istio-validation"})
_EVERYWHERE: Final = "0.0.0.0/0"


def has_sidecar(pod: Manifest) -> bool:
    """Whether the mesh's proxy runs beside the pod's containers: as one of them, or as an init container that stays."""
    names = _container_names(pod)
    return PROXY in names and len(names - _SETUP) > 1


def is_only_proxy(pod: Manifest) -> bool:
    """Whether the pod is one of Istio's gateways: it has a proxy and nothing that makes calls of its own."""
    return _container_names(pod) - _SETUP == {PROXY}


def goes_past_sidecar(annotations: Mapping[str, str]) -> bool:
    """Whether all of the pod's own calls go past its sidecar."""
    if annotations.get(INCLUDED_RANGES) == "":
        return True
    return _EVERYWHERE in (annotations.get(EXCLUDED_RANGES) or "").replace(" ", "").split(",")


def is_in_mesh(pod: Manifest) -> bool:
    """Whether a sidecar takes the pod's calls. Of a pod in its node's network it takes none."""
    if (pod.get("spec") or {}).get("hostNetwork"):
        return False
    return has_sidecar(pod) and not goes_past_sidecar(_annotations(pod))


def is_ambient(pod: Manifest) -> bool:
    """Whether ztunnel takes the pod's calls."""
    return _annotations(pod).get(REDIRECTION) == "enabled"


def _annotations(pod: Manifest) -> Mapping[str, str]:
    return pod["metadata"].get("annotations") or {}


def _container_names(pod: Manifest) -> set[Any]:
    spec = pod.get("spec") or {}
    return {each.get("name") for field in ("containers", "initContainers") for each in spec.get(field) or ()}
