"""
Whether the live object still holds what we want of it.

The API server adds defaults and controllers add fields; neither is drift. So desired is compared as a subset of live:
every field of ours must be there. The kinds that are ours alone (`EXACT_KINDS`) are compared as a whole instead: an
added field in a route can send traffic elsewhere, and server-side apply would leave it there.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from egressgateway.refs import Manifest

EXACT_KINDS: Final = frozenset(
    {
        "ServiceEntry",
        "Gateway",
        "DestinationRule",
        "VirtualService",
        "AuthorizationPolicy",
        "NetworkPolicy",
        # Only one of `minAvailable` and `maxUnavailable` is allowed: beside another manager's one, ours would be
        # rejected.
        "PodDisruptionBudget",
        "EnvoyFilter",
        "Telemetry",
        "ApisixUpstream",
        "ApisixRoute",
        "Role",
        "RoleBinding",
    }
)
"""Kinds that no other controller has a reason to write to, and in which the server fills in nothing that we omit."""

_NO_CONTENT: Final = frozenset({"apiVersion", "kind", "metadata", "status"})

_LIST_KEYS: Final[dict[str, tuple[str, ...]]] = {
    # Lists of objects that Kubernetes merges by key (`x-kubernetes-list-map-keys` of its OpenAPI document).
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
}
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY_MAPS: Final = frozenset({"requests", "limits"})
_QUANTITIES: Final = frozenset({"sizeLimit", "divisor"})
_DROPPED_BY_OLDER: Final = {"podAffinityTerm": frozenset({"matchLabelKeys"})}
"""
Fields, by the one that they are in, that an API server takes and drops if it is older: Kubernetes 1.30 does so with a
field of 1.31. Written again with each pass, they would be gone again.
"""
_TEXT_MAPS: Final = frozenset({"labels", "annotations", "matchLabels"})
"""Maps from texts to texts: what we want of them can be looked up as a whole."""

_WHOLE_FIELDS: Final = frozenset({"selector", "nodeSelector"})
"""Maps that are one value to Kubernetes (`x-kubernetes-map-type: atomic`): an extra key selects other pods, or none."""


def holds(desired: Manifest, live: Manifest) -> bool:
    """Whether `live` needs no write to be what `desired` says. Status and fields that servers add do not count."""
    if desired["kind"] in EXACT_KINDS:
        return content_of(desired) == content_of(live) and _holds(desired["metadata"], live["metadata"], "")
    return _holds(desired, live, "")


def content_of(manifest: Manifest) -> dict[str, Any]:
    """The content of an object: its `spec`, or for kinds without one (Role, RoleBinding) the fields in its place."""
    return {field: value for field, value in manifest.items() if field not in _NO_CONTENT}


def has_foreign_fields(desired: Any, live: Any) -> bool:
    """Whether `live` has a field that `desired` lacks. Looks into mappings only: a list is one value."""
    if not isinstance(desired, dict) or not isinstance(live, dict):
        return False
    return any(key not in desired or has_foreign_fields(desired[key], value) for key, value in live.items())


def merge_patch(desired: Any, live: Any) -> Any:
    """The merge patch (RFC 7386) that makes `live` equal to `desired`: all of `desired`, null for what it lacks."""
    if not isinstance(desired, dict) or not isinstance(live, dict):
        return desired
    removed = {key: None for key in live if key not in desired}
    return {**removed, **{key: merge_patch(value, live.get(key)) for key, value in desired.items()}}


def _holds(desired: Any, live: Any, field: str) -> bool:
    if isinstance(desired, str) and field not in _QUANTITIES:
        return bool(desired == live)
    if isinstance(desired, dict):
        return _holds_mapping(desired, live, field)
    if isinstance(desired, (list, tuple)):
        return _holds_list(list(desired), live, field)
    if field in _QUANTITIES and live is not None:
        return same_quantity(desired, live)
    return bool(desired == live) and isinstance(desired, bool) == isinstance(live, bool)


def _holds_mapping(desired: dict[str, Any], live: Any, field: str) -> bool:
    if not isinstance(live, dict):
        return not desired and live is None
    if field in _WHOLE_FIELDS:
        return desired == live
    if field in _TEXT_MAPS:
        return desired.items() <= live.items()
    if field in _QUANTITY_MAPS:
        return all(key in live and same_quantity(value, live[key]) for key, value in desired.items())
    may_lack = _DROPPED_BY_OLDER.get(field, frozenset())
    return all(
        _holds(value, live.get(key), key) for key, value in desired.items() if key in live or key not in may_lack
    )


def _holds_list(desired: list[Any], live: Any, field: str) -> bool:
    if not isinstance(live, list):
        return not desired and live is None
    keys = _LIST_KEYS.get(field)
    if keys is None:
        return len(desired) == len(live) and all(
            _holds(mine, theirs, "") for mine, theirs in zip(desired, live, strict=True)
        )
    by_key = {tuple(item.get(key) for key in keys): item for item in live}
    return all(_holds(item, by_key.get(tuple(item.get(key) for key in keys)), "") for item in desired)


def same_quantity(desired: Any, live: Any) -> bool:
    """Whether two Kubernetes quantities are one amount: the server stores `1000m` as `1`."""
    try:
        return _quantity(str(desired)) == _quantity(str(live))
    except InvalidOperation:
        return bool(desired == live)


def _quantity(text: str) -> Decimal:
    if text[-2:] in _BINARY:
        return Decimal(text[:-2]) * _BINARY[text[-2:]]
    if text[-1:] in _DECIMAL and not text[-1:].isdigit():
        return Decimal(text[:-1]).scaleb(_DECIMAL[text[-1:]])
    return Decimal(text)
