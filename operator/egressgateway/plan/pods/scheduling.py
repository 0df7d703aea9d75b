"""
On which nodes a gateway's pods run: spread over nodes, and not on a node that died.

A value in an object or its class replaces the default of that field. Nothing here keeps a pod from starting: a cluster
of one node runs every gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from egressgateway.api.gateway import DedicatedGateway
from egressgateway.api.pod import TaintEffect, Toleration

NODE_FAILURE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Taints with which Kubernetes marks a node that died (kubernetes.io, "Taints and Tolerations")."""

NODE_FAILURE_SECONDS: Final = 30
"""How long a pod stays on such a node. Kubernetes' own 300 seconds are an outage for a gateway of two pods."""

_NODE: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"
_WEIGHT: Final = 100
_REVISION: Final = "pod-template-hash"
"""Label by which pods of one ReplicaSet are counted apart from those of another."""


def tolerations(settings: DedicatedGateway) -> list[Any]:
    """
    The configured tolerations, and a short one for each taint of a dead node that they leave out.

    The API server does likewise, with its 300 seconds (admission DefaultTolerationSeconds): a user who names a pool of
    nodes does not mean to change the time for dead ones. A toleration of such a taint sets another time.
    """
    own = tuple(settings.tolerations or ())
    return [each.as_json() for each in own] + [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_FAILURE_SECONDS}
        for taint in NODE_FAILURE_TAINTS
        if not any(_covers(each, taint) for each in own)
    ]


def _covers(toleration: Toleration, taint: str) -> bool:
    return toleration.key in (None, taint) and toleration.effect in (None, TaintEffect.NO_EXECUTE)


def affinity(settings: DedicatedGateway, selector: Mapping[str, str]) -> Any:
    """
    The configured affinity, otherwise a preference for another zone than pods of the same gateway.

    Not where `topologySpreadConstraints` say how pods are spread. An anti-affinity, and no second constraint for zones:
    the scheduler leaves every node without the label of one constraint out of the score of all of them, so that nodes
    without zones would get all pods of a gateway (measured: 0 and 4 on two nodes). None for nodes: the
    constraint below is enough. Pods that a rollout replaces do not count: else both new ones may be in the zone that
    the old ones were not in. Kubernetes 1.30 drops that key, and counts them.
    """
    if settings.affinity is not None:
        return settings.affinity.as_json()
    if settings.topology_spread_constraints is not None:
        return None
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": _WEIGHT,
                    "podAffinityTerm": {
                        "topologyKey": _ZONE,
                        "labelSelector": {"matchLabels": dict(selector)},
                        "matchLabelKeys": [_REVISION],
                    },
                }
            ]
        }
    }


def topology_spread(settings: DedicatedGateway, selector: Mapping[str, str]) -> list[Any]:
    """
    The configured constraints, otherwise a soft spread over nodes, by a label that every node has.

    Pods are counted within one ReplicaSet: if the pods that a rollout replaces counted, too, both new pods of a gateway
    could end up on one node once the old ones are gone.
    """
    if settings.topology_spread_constraints is not None:
        return [each.as_json() for each in settings.topology_spread_constraints]
    return [
        {
            "maxSkew": 1,
            "topologyKey": _NODE,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(selector)},
            "matchLabelKeys": [_REVISION],
        }
    ]
