"""
Reads raw objects, whatever shape they have.

Every EgressGateway of the cluster is indexed, a broken one like any other: a field of the wrong type counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egressgateway.refs import Key, Manifest


def key_of(gateway: Manifest) -> Key:
    """Key of an EgressGateway."""
    return Key(gateway["metadata"]["namespace"], gateway["metadata"]["name"])


def entries_of(gateway: Manifest, name: str) -> list[dict[str, Any]]:
    """Entries of a list in the spec."""
    return mappings_in(gateway.get("spec"), name)


def mappings_in(holder: Any, name: str) -> list[dict[str, Any]]:
    """The items of a list that are mappings."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def texts_of(holder: Mapping[str, Any], name: str) -> list[str]:
    """The items of a list that are strings."""
    found = holder.get(name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
