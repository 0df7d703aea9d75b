"""
Brings objects from the cluster into the shape that their readers expect.

The API server checks what is written against the schema of today. It returns as they are the objects that were stored
under an older schema, or while a CRD was damaged. One such object must not keep the operator from serving all others,
so each is straightened once, when it arrives: a field of the wrong type counts as absent. A spec keeps its mistakes, so
that the models can report them; only fields that are looked up by name are always valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from egressgateway.api.scalars import parse_instant

_TEXTS: Final = ("className", "provider", "lastHandledReconcileAt")
_MAPPINGS: Final = ("claims", "consumers", "remoteChildren")
_SECTION_LISTS: Final = ("destinations", "expose")
_OF_AN_ENTRY: Final = ("host", "gateway", "claimedAt", "namespace", "since", "apiVersion", "kind", "name")
_OF_A_CONDITION: Final = ("type", "status", "reason")
_ROUTE_LISTS: Final = ("hosts", "exportTo", "gateways")
_ROUTE_MAPPINGS: Final = ("http", "tls", "tcp", "ports", "servers", "subsets", "rules", "endpoints")


def straight_spec(spec: Any) -> dict[str, Any]:
    """
    The spec of an EgressGateway or of its class. The fields that name things are strings, empty ones where they were
    not.
    """
    if not isinstance(spec, dict):
        return {}
    straight = dict(spec)
    if "className" in straight and not isinstance(straight["className"], str | None):
        straight["className"] = ""
    for part in _SECTION_LISTS:
        if isinstance(straight.get(part), list):
            straight[part] = [_named(each) for each in straight[part]]
    return straight


def straight_status(status: Any) -> dict[str, Any]:
    """The status of an EgressGateway according to its schema; fields that do not fit are left out."""
    if not isinstance(status, dict):
        return {}
    straight = dict(status)
    for name in _TEXTS:
        if not isinstance(straight.get(name, ""), str):
            del straight[name]
    if not isinstance(straight.get("observedGeneration", 0), int):
        del straight["observedGeneration"]
    for name in _MAPPINGS:
        if name in straight:
            straight[name] = [each for each in mappings(straight[name]) if _holds_texts(each)]
    for name in _SECTION_LISTS:
        if name in straight:
            straight[name] = [_part(each) for each in mappings(straight[name]) if isinstance(each.get("name"), str)]
    if "expirations" in straight:
        straight["expirations"] = [each for each in mappings(straight["expirations"]) if _is_expiration(each)]
    if "conditions" in straight:
        straight["conditions"] = _conditions(straight["conditions"])
    return straight


def straight_child_spec(spec: Any) -> dict[str, Any]:
    """The spec of a child, or of an unmanaged route: lists of names hold strings, lists of objects hold objects."""
    if not isinstance(spec, dict):
        return {}
    straight = dict(spec)
    for name in _ROUTE_LISTS:
        if name in straight:
            straight[name] = [each for each in listed(straight[name]) if isinstance(each, str)]
    for name in _ROUTE_MAPPINGS:
        if name in straight:
            straight[name] = mappings(straight[name])
    if "ports" in straight:
        straight["ports"] = [each for each in straight["ports"] if _is_port(each)]
    return straight


def listed(value: Any) -> list[Any]:
    """`value` if it is a list, otherwise an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> list[dict[str, Any]]:
    """The items of a list that are objects."""
    return [each for each in listed(value) if isinstance(each, dict)]


def _named(entry: Any) -> Any:
    if not isinstance(entry, dict) or isinstance(entry.get("name", ""), str):
        return entry
    return {**entry, "name": ""}


def _is_port(entry: Mapping[str, Any]) -> bool:
    """A port of a ServiceEntry (`number`) or of a Service (`port`)."""
    return (
        isinstance(entry.get("number", entry.get("port")), int)
        and isinstance(entry.get("protocol", ""), str)
        and isinstance(entry.get("targetPort", 0), int | str)
    )


def _holds_texts(entry: Mapping[str, Any]) -> bool:
    return all(isinstance(entry.get(name, ""), str) for name in _OF_AN_ENTRY)


def _is_expiration(entry: Mapping[str, Any]) -> bool:
    texts = all(isinstance(entry.get(name, ""), str) for name in ("secret", "key", "destination"))
    return texts and isinstance(entry.get("notice", 1), int) and is_moment(entry.get("at"))


def is_moment(value: Any) -> TypeGuard[str]:
    """Whether it is a time as the API server writes it."""
    try:
        parse_instant(value)
    except (TypeError, ValueError):
        return False
    return True


def _part(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "conditions": _conditions(entry.get("conditions"))}


def _conditions(value: Any) -> list[dict[str, Any]]:
    return [each for each in mappings(value) if _is_condition(each)]


def _is_condition(entry: Mapping[str, Any]) -> bool:
    if not all(isinstance(entry.get(name), str) for name in _OF_A_CONDITION):
        return False
    times = is_moment(entry.get("lastTransitionTime", "1970-01-01T00:00:00Z"))
    return times and isinstance(entry.get("message", ""), str)
