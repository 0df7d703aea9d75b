"""
What keeps a client's proxy from a route, by objects of other people: Sidecar resources and DestinationRules.

A Sidecar resource limits what the proxies of its namespace learn of (Istio, "Sidecar": `egress[].hosts`). A
DestinationRule in the client's own namespace precedes the one beside the gateway's Service (Istio, "Destination Rule":
`exportTo`; notes "istio-recipes" §7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from egressgateway.facts import EgressListener, HopRule, SidecarScope
from egressgateway.refs import Manifest, ObjectRef

MOST_IMPORTS: Final = 2000
"""Hosts of one Sidecar resource that are looked at: every tenant can write a megabyte of them."""

_ANY: Final = "*"
_OWN: Final = "."


def sidecar_scope(manifest: Manifest, *, unread: bool = False) -> SidecarScope:
    """
    What the proxies learn of to which a Sidecar resource applies.

    Args:
        unread: its `egress` is not known.
    """
    metadata, spec = manifest["metadata"], _mapping(manifest.get("spec"))
    egress = _mappings(spec.get("egress"))
    found = list(islice(_imports(egress), MOST_IMPORTS + 1))
    return SidecarScope(
        ObjectRef("Sidecar", metadata["namespace"], metadata["name"]),
        # Without `egress` everything is imported that is exported to the namespace.
        _listeners(found[:MOST_IMPORTS], egress) if egress else (EgressListener(None, {_ANY: frozenset({_ANY})}),),
        created=str(metadata.get("creationTimestamp") or ""),
        selects=bool(_mapping(spec.get("workloadSelector")).get("labels")),
        unread=unread or len(found) > MOST_IMPORTS,
    )


def _imports(egress: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int | None, str, str]]:
    """Port, namespace and host of each; istiod skips what has not the form `namespace/host`."""
    for listener in egress:
        for found in listener["hosts"] if isinstance(listener.get("hosts"), list) else ():
            namespace, slash, host = str(found).partition("/")
            if slash and host and "/" not in host:
                yield _port(listener), namespace, host


def _listeners(
    imports: Iterable[tuple[int | None, str, str]], egress: Iterable[Mapping[str, Any]]
) -> tuple[EgressListener, ...]:
    # A listener without hosts takes its port all the same.
    by_port: dict[int | None, dict[str, set[str]]] = {_port(each): defaultdict(set) for each in egress}
    for port, namespace, host in imports:
        by_port[port][host].add(namespace)
    return tuple(
        EgressListener(port, {host: frozenset(namespaces) for host, namespaces in hosts.items()})
        for port, hosts in by_port.items()
    )


def _port(listener: Mapping[str, Any]) -> int | None:
    number = _mapping(listener.get("port")).get("number")
    # Zero is no number of a port to Istio.
    return number if isinstance(number, int) and number > 0 else None


def hop_rule(manifest: Manifest, *, unread: bool = False) -> HopRule | None:
    """
    To which Services a DestinationRule applies for the clients of its namespace; None where that is no gateway's.

    Args:
        unread: its spec may not be known; if it is not, it may apply to any.
    """
    metadata, spec = manifest["metadata"], _mapping(manifest.get("spec"))
    namespace, host = metadata["namespace"], spec.get("host")
    ref = ObjectRef("DestinationRule", namespace, metadata["name"])
    if unread and not isinstance(host, str):
        return HopRule(ref, _ANY, unread=True)
    # A short name is of a Service in the rule's own namespace.
    if not isinstance(host, str) or (host != _ANY and "." not in host):
        return None
    exported = spec.get("exportTo") if isinstance(spec.get("exportTo"), list) else None
    selects = bool(_mapping(spec.get("workloadSelector")).get("matchLabels"))
    # One that is exported elsewhere alone does not count where it is; one for some pods counts there, whatever it says.
    if exported and not selects and not {_ANY, _OWN, namespace} & set(map(str, exported)):
        return None
    return HopRule(ref, host, private=selects or exported == [_OWN])


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
