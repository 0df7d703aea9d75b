"""
What keeps a client's proxy from a route, by objects of other people: Sidecar resources and DestinationRules.

A Sidecar resource limits what the proxies of its namespace learn of (Istio, "Sidecar": `egress[].hosts`). A
DestinationRule in the client's own namespace precedes the one beside the gateway's Service (Istio, "Destination Rule":
`exportTo`; notes "istio-recipes" §7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from egressgateway.facts import HopRule, Import, SidecarScope
from egressgateway.refs import Manifest, ObjectRef

MOST_IMPORTS: Final = 2000
"""Hosts of one Sidecar resource that are looked at: every tenant can write a megabyte of them."""

_ANY: Final = "*"
_OWN: Final = "."


def sidecar_scope(manifest: Manifest) -> SidecarScope:
    """What the proxies learn of to which a Sidecar resource applies."""
    metadata, spec = manifest["metadata"], _mapping(manifest.get("spec"))
    own = metadata["namespace"]
    imports = [each for listener in _mappings(spec.get("egress")) for each in _imports(listener, own)]
    ref = ObjectRef("Sidecar", own, metadata["name"])
    return SidecarScope(
        ref,
        # Without `egress` everything is imported that is exported to the namespace.
        tuple(imports[:MOST_IMPORTS]) if spec.get("egress") else (Import(_ANY, _ANY, None),),
        selects=bool(_mapping(spec.get("workloadSelector")).get("labels")),
        cut=len(imports) > MOST_IMPORTS,
    )


def _imports(listener: Mapping[str, Any], own: str) -> Iterable[Import]:
    number = _mapping(listener.get("port")).get("number")
    port = number if isinstance(number, int) else None
    for found in listener.get("hosts") or ():
        if isinstance(found, str):
            namespace, slash, host = found.partition("/")
            yield Import(own if namespace == _OWN else namespace, host, port) if slash else Import(_ANY, found, port)


def hop_rule(manifest: Manifest) -> HopRule | None:
    """To which Services a DestinationRule applies; None where that is no name of a Service in full, or a pattern."""
    metadata, spec = manifest["metadata"], _mapping(manifest.get("spec"))
    host = spec.get("host")
    # A short name is of a Service in the rule's own namespace.
    if not isinstance(host, str) or (host != _ANY and "." not in host):
        return None
    selects = bool(_mapping(spec.get("workloadSelector")).get("matchLabels"))
    return HopRule(ObjectRef("DestinationRule", metadata["namespace"], metadata["name"]), host, selects)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
