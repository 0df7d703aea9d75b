"""
The clients' end of a route: whether there are clients whose calls take it.

A sidecar sends a call to the gateway; nothing else does. So pods without one are not steered, nor are pods in ambient
mode, and in a namespace that does not exist there is nobody. Nor are those steered whose sidecar does not learn of the
route, or of how to reach the gateway, because of other people's objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from egressgateway.api.conditions import Reason
from egressgateway.facts import ClientPods
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.status.messages import joined

_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ClientEvidence:
    """
    What is known of a destination's clients; each text is empty where it does not hold.

    Attributes:
        absent: no consumer namespace exists.
        outside_mesh: there are pods in the consumer namespaces, and no sidecar takes the calls of any of them.
        remark: which consumers are not steered although others are, or that there are none yet, or that nobody looked.
        hidden: an object keeps the sidecars of a consumer namespace from the route, or from the hop.
        unread: an object may do so, and is too large to be read.
    """

    absent: str = ""
    outside_mesh: str = ""
    remark: str = ""
    hidden: str = ""
    unread: str = ""


def client_evidence(
    consumers: Set[str], existing: Set[str], pods: Mapping[str, ClientPods] | None, before: ClientEvidence
) -> ClientEvidence:
    """
    Judge the clients of a destination.

    Args:
        consumers: the namespaces that it serves; with `*`, every one, nothing is said of single ones.
        existing: those of them that exist.
        pods: by namespace as counted; nothing is concluded from one that may not be read. None before they are counted.
        before: what the status says, which holds until then: a restart changes nothing.
    """
    if EVERY_NAMESPACE in consumers or not consumers:
        return ClientEvidence()
    missing, there = sorted(consumers - existing), sorted(consumers & existing)
    if not there:
        return ClientEvidence(absent=_absent(missing))
    if pods is None:
        return before
    dark = [name for name in there if name in pods and _is_dark(pods[name])]
    told = [_absent(missing) if missing else "", *_without_sidecars(dark, pods)]
    if len(dark) == len(there):
        return ClientEvidence(outside_mesh=joined(told))
    mixed = [name for name in there if name in pods and _is_mixed(pods[name])]
    if mixed:
        told.append(f"calls of some pods of {_listed(mixed)} do not pass a sidecar, and not the gateway")
    uncounted = [name for name in there if name not in pods]
    if uncounted:
        told.append(f"the pods of {_listed(uncounted)} are not counted")
    elif not any(pods[name].in_mesh for name in there):
        told.append("no pod in the mesh runs there yet")
    return ClientEvidence(remark=joined(told))


def evidence_in(condition: Mapping[str, Any], steered: str, *others: str) -> ClientEvidence:
    """
    What a stored condition `Steered` says of the clients.

    Args:
        steered: how the message of one that is True begins.
        others: what it may say before the remark about clients.
    """
    reason, message = condition.get("reason"), condition.get("message", "")
    if reason == Reason.CONSUMERS_NOT_IN_MESH:
        return ClientEvidence(outside_mesh=message)
    if condition.get("status") == "True" and message.startswith(f"{steered}; "):
        remark = message.removeprefix(f"{steered}; ")
        for other in others:
            remark = remark.removeprefix(other).removeprefix("; ")
        return ClientEvidence(remark=remark)
    return ClientEvidence()


def clients_fields(
    consumers: Set[str], pods: Mapping[str, ClientPods] | None, before: Mapping[str, int]
) -> Mapping[str, int]:
    """
    `status.clients`: the pods of all consumer namespaces that may be read; empty where none may, and as `before` until
    they are counted.
    """
    if pods is None:
        return before
    counted = [pods[name] for name in consumers if name in pods]
    if not counted:
        return {}
    ambient = sum(each.ambient for each in counted)
    return {
        "inMesh": sum(each.in_mesh for each in counted),
        "outside": sum(each.outside for each in counted),
        **({"ambient": ambient} if ambient else {}),
    }


def _is_dark(pods: ClientPods) -> bool:
    return not pods.in_mesh and bool(pods.ambient or pods.outside)


def _is_mixed(pods: ClientPods) -> bool:
    return bool(pods.in_mesh) and bool(pods.ambient or pods.outside)


def _without_sidecars(dark: Iterable[str], pods: Mapping[str, ClientPods]) -> Iterable[str]:
    outside = [name for name in dark if not pods[name].ambient]
    ambient = [name for name in dark if pods[name].ambient]
    if outside:
        yield (
            f"no pod of {_listed(outside)} has a sidecar that takes its calls: enable Istio's injection there, and "
            "restart the pods"
        )
    if ambient:
        yield (
            f"the pods of {_listed(ambient)} are in ambient mode, which this operator's gateways do not serve: give "
            "them sidecars"
        )


def _absent(missing: list[str]) -> str:
    noun, verb = ("namespace", "does") if len(missing) == 1 else ("namespaces", "do")
    return f"spec.access.from: {noun} {_listed(missing)} {verb} not exist"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
