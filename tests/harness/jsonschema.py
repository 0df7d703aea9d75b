"""
A CRD's schema as JSON Schema of draft 7, which Helm checks values by.

What the API server prunes in silence is refused here: a typo in a value is known where it was made. Rules in CEL have
no counterpart; the API server holds objects to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_KEPT: Final = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
_KEPT_OF_MAPS: Final = ("minProperties", "maxProperties", "required")


def draft7(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that takes what `schema`, a structural one of Kubernetes, takes without pruning."""
    kept = {name: schema[name] for name in (*_KEPT, *_KEPT_OF_MAPS) if name in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if schema.get("x-kubernetes-list-type") == "set":
        kept["uniqueItems"] = True
    if "items" in schema:
        kept["items"] = draft7(schema["items"])
    if "properties" in schema:
        kept["properties"] = {name: draft7(each) for name, each in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), Mapping):
        kept["additionalProperties"] = draft7(schema["additionalProperties"])
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept
