"""
The gateway's own pods and what surrounds them: the same for every destination.

Settings of the object replace those of its class, field by field (api.md `gateway`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from egressgateway.api.gateway import Autoscaling, DedicatedGateway, GatewaySettings
from egressgateway.api.model import ApiModel
from egressgateway.facts import Facts
from egressgateway.plan.hops import HOP_PORT, LISTENER_PORT, Hop
from egressgateway.plan.ir import Child, Stage
from egressgateway.plan.names import LABEL_STAGE, child_labels, selector_labels, workload_name
from egressgateway.refs import GROUP, VERSION, Key, ObjectRef

_DEFAULT_REPLICAS: Final = 2
_DEFAULT_CPU_TARGET: Final = 80
_DEFAULT_TERMINATION_GRACE_SECONDS: Final = 30
_DEFAULT_RESOURCES: Final[Mapping[str, Any]] = {
    # The figures of Istio's own gateway chart.
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": "1Gi"},
}
_PROXY_CONFIG: Final = (
    # Together with the headers that the routes remove, nothing of the mesh reaches the external host (notes
    # "istio-recipes" §8): the client's certificate and Envoy's debug headers can only be switched off here.
    '{"gatewayTopology": {"forwardClientCertDetails": "SANITIZE"},'
    ' "proxyHeaders": {"envoyDebugHeaders": {"disabled": true}, "requestId": {"disabled": true}}}'
)


def effective_settings(facts: Facts) -> DedicatedGateway:
    """Settings of the object over those of its class; `replicas` and `autoscaling` are one choice."""
    spec, class_spec = facts.gateway.spec, facts.class_.spec
    own = (spec.gateway if spec else None) or GatewaySettings()
    defaults = (class_spec.dedicated if class_spec else None) or DedicatedGateway()
    merged = {name: getattr(defaults, name) for name in type(defaults).model_fields}
    if own.replicas is not None or own.autoscaling is not None:
        merged["replicas"] = merged["autoscaling"] = None
    merged |= {name: value for name in type(own).model_fields if (value := getattr(own, name)) is not None}
    return DedicatedGateway.model_construct(**merged)


def desired_replicas(settings: DedicatedGateway) -> int:
    """Pods that the gateway begins with."""
    if settings.autoscaling is not None:
        return settings.autoscaling.min_replicas or _DEFAULT_REPLICAS
    return _DEFAULT_REPLICAS if settings.replicas is None else settings.replicas


def common_values(key: Key, uid: str) -> dict[str, Any]:
    """What every template knows: where the child stands and whose it is."""
    return {
        "namespace": key.namespace,
        "selector": selector_labels(key),
        "owner_references": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "EgressGateway",
                "name": key.name,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
        "hop_port": HOP_PORT,
        "listener_port": LISTENER_PORT,
    }


def stage_labels(key: Key, stage: Stage) -> dict[str, str]:
    return {**child_labels(key), LABEL_STAGE: stage.label}


def plan_workload(facts: Facts, hops: tuple[Hop, ...], retained_ports: frozenset[int]) -> Iterator[Child]:
    """
    ServiceAccount, Service, Deployment, and as wanted HorizontalPodAutoscaler, PodDisruptionBudget, NetworkPolicy.

    Args:
        retained_ports: ports at destinations that stay open although no hop asks for them.
    """
    settings = effective_settings(facts)
    yield _child(facts, "ServiceAccount", Stage.FOUNDATION, {})
    yield _child(facts, "Service", Stage.FOUNDATION, {"traffic_distribution": settings.traffic_distribution})
    yield _child(facts, "Deployment", Stage.GATEWAY, _deployment_values(facts, settings))
    if settings.autoscaling is not None:
        yield _child(
            facts, "HorizontalPodAutoscaler", Stage.GATEWAY, _autoscaler_values(settings, settings.autoscaling)
        )
    if desired_replicas(settings) > 1:
        yield _child(facts, "PodDisruptionBudget", Stage.GATEWAY, {})
    if settings.network_policy is None or settings.network_policy.mode == "Enabled":
        yield _child(facts, "NetworkPolicy", Stage.FOUNDATION, _network_policy_values(facts, hops, retained_ports))


def _child(facts: Facts, kind: str, stage: Stage, values: Mapping[str, Any]) -> Child:
    name = workload_name(facts.key)
    return Child(
        ref=ObjectRef(kind, facts.key.namespace, name),
        stage=stage,
        template=f"workload/{kind.lower()}.yaml.j2",
        values={
            **common_values(facts.key, facts.gateway.uid),
            "name": name,
            "labels": stage_labels(facts.key, stage),
            **values,
        },
    )


def _deployment_values(facts: Facts, settings: DedicatedGateway) -> dict[str, Any]:
    return {
        # With an autoscaler the count is its business: sent by us too, every scaling would be drift.
        "replicas": None if settings.autoscaling is not None else desired_replicas(settings),
        "pod_labels": _pod_labels(facts.key, settings),
        "pod_annotations": _pod_annotations(settings),
        "termination_grace_period_seconds": (
            _DEFAULT_TERMINATION_GRACE_SECONDS
            if settings.termination_grace_period_seconds is None
            else settings.termination_grace_period_seconds
        ),
        "priority_class_name": settings.priority_class_name,
        "node_selector": plain(settings.node_selector),
        "tolerations": plain(settings.tolerations),
        "affinity": plain(settings.affinity),
        "topology_spread_constraints": _topology_spread(facts.key, settings),
        "resources": plain(settings.resources) or _DEFAULT_RESOURCES,
    }


def _pod_labels(key: Key, settings: DedicatedGateway) -> dict[str, str]:
    injection = (
        {"istio.io/rev": settings.revision} if settings.revision is not None else {"sidecar.istio.io/inject": "true"}
    )
    # `dataplane-mode: none` keeps an ambient namespace from capturing the gateway's traffic.
    return {**(settings.pod_labels or {}), **child_labels(key), **injection, "istio.io/dataplane-mode": "none"}


def _pod_annotations(settings: DedicatedGateway) -> dict[str, str]:
    return {
        **(settings.pod_annotations or {}),
        "inject.istio.io/templates": "gateway",
        "proxy.istio.io/config": _PROXY_CONFIG,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "15020",
        "prometheus.io/path": "/stats/prometheus",
    }


def _topology_spread(key: Key, settings: DedicatedGateway) -> list[dict[str, Any]]:
    """The object's own constraints, else a soft spread over zones and nodes that never keeps a pod from starting."""
    if settings.topology_spread_constraints is not None:
        return [plain(constraint) for constraint in settings.topology_spread_constraints]
    return [
        {
            "maxSkew": 1,
            "topologyKey": topology,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(key)},
        }
        for topology in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _autoscaler_values(settings: DedicatedGateway, autoscaling: Autoscaling) -> dict[str, Any]:
    return {
        "min_replicas": desired_replicas(settings),
        "max_replicas": autoscaling.max_replicas,
        "target_cpu": autoscaling.target_cpu_utilization_percentage or _DEFAULT_CPU_TARGET,
    }


def _network_policy_values(facts: Facts, hops: tuple[Hop, ...], retained_ports: frozenset[int]) -> dict[str, Any]:
    return {
        "consumers": [facts.key.namespace],
        "control_plane_namespace": facts.mesh.root_namespace,
        "destination_ports": sorted({hop.target_port for hop in hops} | retained_ports),
    }


def plain(value: Any) -> Any:
    """A model, or a collection of models, as the JSON data that it was read from."""
    if isinstance(value, ApiModel):
        return value.as_json()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value
