"""
What the CustomResourceDefinitions of a cluster lack of the operator's own: fields that the API server drops without a
word, from a spec that a team wrote and from a status that the operator writes.

Pure: `engine.process.definitions` watches the cluster's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.refs import Manifest

_OPEN: Final = "x-kubernetes-preserve-unknown-fields"


def missing_fields(definition: Manifest) -> tuple[str, ...]:
    """
    Paths of fields that the operator knows and `definition` does not; a field that is missing stands for all within it.
    """
    own = own_schemas().get(definition["metadata"]["name"], {})
    found = _schemas(definition)
    return tuple(
        path for version, schema in own.items() for path in _missing(schema, found.get(version) or {_OPEN: True}, "")
    )


@cache
def own_schemas() -> dict[str, dict[str, Any]]:
    """Those of the operator's models, by definition and version: made once, which takes a sixth of a second."""
    return {each["metadata"]["name"]: _schemas(each) for each in (egress_gateway_crd(), egress_gateway_class_crd())}


def _schemas(definition: Manifest) -> dict[str, Any]:
    versions = definition["spec"].get("versions") or ()
    return {each["name"]: (each.get("schema") or {}).get("openAPIV3Schema") for each in versions}


def _missing(own: Mapping[str, Any], found: Mapping[str, Any], path: str) -> Iterator[str]:
    if found.get(_OPEN):
        return
    known = found.get("properties") or {}
    for name, schema in (own.get("properties") or {}).items():
        inner = f"{path}.{name}" if path else name
        if inner == "metadata":
            # Every object has the whole of it, whatever the schema says.
            continue
        if name in known:
            yield from _missing(schema, known[name], inner)
        elif "additionalProperties" not in found:
            yield inner
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(own.get(keyword), Mapping):
            yield from _missing(own[keyword], found.get(keyword) or {}, f"{path}{mark}")
