"""
The gateway's own pods and the objects that belong to them: the same for every destination.

Settings of the object replace those of its class, field by field (api.md `gateway`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from egressgateway.api.gateway import Autoscaling, DedicatedGateway, ExposedService, GatewaySettings, ServiceType
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.model import ApiModel
from egressgateway.api.probe import ProbeGate
from egressgateway.api.reserved import unreachable_networks
from egressgateway.api.spec import EgressGatewaySpec, MeshHeadersMode
from egressgateway.live.children import LiveChildren
from egressgateway.names import LABEL_STAGE, child_labels, selector_labels, workload_name
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.context import PlanContext
from egressgateway.plan.gateway.hops import Hop
from egressgateway.plan.gateway.target import LISTENER_PORT, GatewayTarget, listen_port
from egressgateway.plan.ir import Child, Owner
from egressgateway.plan.pods import scheduling
from egressgateway.refs import GROUP, VERSION, Key, Manifest, ObjectRef
from egressgateway.stages import Stage

_DEFAULT_REPLICAS: Final = 2
_DEFAULT_CPU_TARGET: Final = 80
_DEFAULT_TERMINATION_GRACE_SECONDS: Final = 30
_DEFAULT_RESOURCES: Final[Mapping[str, Any]] = {
    # The values of Istio's own gateway chart.
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": "1Gi"},
}
GATE_PORT: Final = 15022
"""Where pods that follow destinations answer the kubelet: 200 while they reach them."""

GATE_PATH: Final = "/ready"

_OF_WAYS_OUT: Final = r"cluster\.outbound\|.*\.egress\.internal;?\."
_STATS_OF_CLUSTERS: Final = rf"{_OF_WAYS_OUT}membership_total"
"""One of Envoy's counters for each way out: the operator learns by it which of them the proxy has."""

_STATS_OF_PROBES: Final = (
    rf"{_OF_WAYS_OUT}(membership_(healthy|total)|update_(success|failure|empty)"
    r"|health_check\.(attempt|success|failure|network_failure)|ssl\.(connection_error|fail_verify_.*))"
)
"""Those from which it learns the results of probes, too; by default Istio keeps none of them."""

_STATS_OF_SECRETS: Final = r"sds\.kubernetes.*\.update_success"
"""Those from which it learns which Secrets the proxy has (`live.received`)."""

_PATIENCE_AT_START: Final = 1_000_000
"""
Failures that a startup probe allows before a pod reaches its destinations for the first time: unlimited. Until then
nothing restarts it, so a pod restarts once for each loss of a destination, however long it lasts.
"""

_SHORTEST_DRAIN_SECONDS: Final = 5
_LAST_SECONDS: Final = 5
"""Part of the grace period that Envoy has to end after its connections were drained."""


@dataclass(frozen=True, slots=True)
class WorkloadNeeds:
    """
    What the pods must serve, and which connections they may make.

    Attributes:
        exposed_ports: each with its protocol, as the prefix of Istio's port names.
        consumers: namespaces that call the hop, including those of ingress gateways of a chain.
        reads_secrets: istiod gives the pods certificates from Secrets, for which their account needs the right.
        backends: exposed hosts are served by Services of the own namespace.
        retained_ports: ports at destinations that stay open although no hop asks for them; `retained_service_ports`
            likewise of the hop's Service.
    """

    target: GatewayTarget
    hops: tuple[Hop, ...] = ()
    exposed_ports: tuple[tuple[int, str], ...] = ()
    consumers: frozenset[str] = frozenset()
    reads_secrets: bool = False
    backends: bool = False
    retained_ports: frozenset[int] = frozenset()
    retained_service_ports: tuple[Manifest, ...] = ()

    @property
    def hop_ports(self) -> list[dict[str, Any]]:
        """Ports of the hop's Service."""
        ports = {hop.hop_port: hop for hop in self.hops}
        planned = [_hop_port(number, ports[number]) for number in sorted(ports)]
        if self.target.strict and not planned:
            planned = [{"name": "tls", "port": self.target.hop_port, "target_port": LISTENER_PORT}]
        known = {port["port"] for port in planned}
        return planned + [
            {"name": port["name"], "port": port["port"], "target_port": port["targetPort"]}
            for port in self.retained_service_ports
            if port["port"] not in known
        ]


def _hop_port(number: int, hop: Hop) -> dict[str, Any]:
    if hop.strict:
        return {"name": "tls", "port": number, "target_port": LISTENER_PORT}
    name = "http" if hop.http else hop.port_name
    return {"name": name, "port": number, "target_port": listen_port(number)}


def effective_settings(spec: EgressGatewaySpec | None, class_spec: EgressGatewayClassSpec | None) -> DedicatedGateway:
    """Settings of the object over those of its class; `replicas` and `autoscaling` are one choice."""
    own = (spec.gateway if spec else None) or GatewaySettings()
    defaults = (class_spec.dedicated if class_spec else None) or DedicatedGateway()
    merged = {name: getattr(defaults, name) for name in type(defaults).model_fields}
    if own.replicas is not None or own.autoscaling is not None:
        merged["replicas"] = merged["autoscaling"] = None
    merged |= {name: value for name in type(own).model_fields if (value := getattr(own, name)) is not None}
    merged["service"] = _merged_service(own.service, defaults.service)
    return DedicatedGateway.model_construct(**merged)


def _merged_service(own: ExposedService | None, default: ExposedService | None) -> ExposedService:
    """Each field of the object's over the class's."""
    fields: dict[str, Any] = {}
    for settings in (default, own):
        for name in type(settings).model_fields if settings is not None else ():
            value = getattr(settings, name)
            if value is not None:
                fields[name] = value
    return ExposedService.model_construct(**{**dict.fromkeys(ExposedService.model_fields), **fields})


def desired_replicas(settings: DedicatedGateway) -> int:
    """The number of pods that the gateway starts with."""
    if settings.autoscaling is not None:
        return settings.autoscaling.min_replicas or _DEFAULT_REPLICAS
    return _DEFAULT_REPLICAS if settings.replicas is None else settings.replicas


def common_values(owner: Owner) -> dict[str, Any]:
    """The values that every template gets: the child's name, namespace and owner."""
    return {
        "namespace": owner.key.namespace,
        "selector": selector_labels(owner.key),
        "owner_references": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "EgressGateway",
                "name": owner.key.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def stage_labels(key: Key, stage: Stage) -> dict[str, str]:
    return {**child_labels(key), LABEL_STAGE: stage.label}


def plan_workload(context: PlanContext, needs: WorkloadNeeds) -> Iterator[Child]:
    """
    ServiceAccount, Services, Deployment, and as wanted RoleBinding, HorizontalPodAutoscaler, PodDisruptionBudget and
    NetworkPolicy.
    """
    settings = effective_settings(context.spec, context.class_spec)
    yield _child(context.owner, "ServiceAccount", Stage.FOUNDATION, {})
    if needs.reads_secrets:
        yield from _right_to_secrets(context)
    service = {"traffic_distribution": settings.traffic_distribution, "ports": needs.hop_ports}
    yield _child(context.owner, "Service", Stage.FOUNDATION, service)
    if needs.exposed_ports:
        yield _exposed_service(context, settings, needs)
    overlay = settings.pod_template.as_json() if settings.pod_template else {}
    deployment = _child(context.owner, "Deployment", Stage.GATEWAY, _deployment_values(context, settings, needs))
    yield replace(deployment, overlay={"spec": {"template": overlay}} if overlay else {})
    if settings.autoscaling is not None:
        yield _child(
            context.owner, "HorizontalPodAutoscaler", Stage.GATEWAY, _autoscaler_values(settings, settings.autoscaling)
        )
    if desired_replicas(settings) > 1:
        yield _child(context.owner, "PodDisruptionBudget", Stage.GATEWAY, {})
    if settings.network_policy is None or settings.network_policy.mode == "Enabled":
        yield _child(context.owner, "NetworkPolicy", Stage.FOUNDATION, _network_policy_values(context, needs))


def _right_to_secrets(context: PlanContext) -> Iterator[Child]:
    """
    The right that istiod requires: by the operator's ClusterRole for gateways, otherwise by a Role of the gateway's.
    """
    own, shared = workload_name(context.key), context.mesh.gateway_cluster_role
    if not shared:
        yield _child(context.owner, "Role", Stage.FOUNDATION, {})
        binding = {"role_kind": "Role", "role": own, "account": own}
        yield _child(context.owner, "RoleBinding", Stage.FOUNDATION, binding)
        return
    # A name of its own: the role in a RoleBinding can never be changed.
    name = f"{own}-secrets"
    binding = {"role_kind": "ClusterRole", "role": shared, "account": own, "name": name}
    child = _child(context.owner, "RoleBinding", Stage.FOUNDATION, binding)
    yield replace(child, ref=ObjectRef("RoleBinding", context.key.namespace, name))


def exposed_service_name(key: Key) -> str:
    """Name of the Service of the exposed ports (api.md)."""
    return f"{key.name}-expose"


def _exposed_service(context: PlanContext, settings: DedicatedGateway, needs: WorkloadNeeds) -> Child:
    service = settings.service or ExposedService.model_construct()
    type_ = service.type or ServiceType.CLUSTER_IP
    balanced = type_ is ServiceType.LOAD_BALANCER
    values = {
        "type": str(type_),
        "annotations": service.annotations or {},
        # A class may set these for objects that ask for another type: Kubernetes would reject them there.
        "load_balancer_class": service.load_balancer_class if balanced else None,
        "source_ranges": list(service.load_balancer_source_ranges or ()) if balanced else [],
        "external_traffic_policy": None if type_ is ServiceType.CLUSTER_IP else service.external_traffic_policy,
        "ports": [
            {"name": f"{protocol}-{port}", "port": port, "target_port": listen_port(port)}
            for port, protocol in needs.exposed_ports
        ],
    }
    name = exposed_service_name(context.key)
    child = _child(context.owner, "Service", Stage.FOUNDATION, {**values, "name": name})
    return replace(
        child,
        ref=ObjectRef("Service", context.key.namespace, name),
        template="workload/service-expose.yaml.j2",
    )


def _child(owner: Owner, kind: str, stage: Stage, values: Mapping[str, Any]) -> Child:
    name = workload_name(owner.key)
    return Child(
        ref=ObjectRef(kind, owner.key.namespace, name),
        stage=stage,
        template=f"workload/{kind.lower()}.yaml.j2",
        values={
            **common_values(owner),
            "name": name,
            "labels": stage_labels(owner.key, stage),
            **values,
        },
    )


def _deployment_values(context: PlanContext, settings: DedicatedGateway, needs: WorkloadNeeds) -> dict[str, Any]:
    grace = settings.termination_grace_period_seconds
    grace = _DEFAULT_TERMINATION_GRACE_SECONDS if grace is None else grace
    selector = selector_labels(context.key)
    return {
        # An autoscaler owns the count: if we sent it too, every scaling would be drift.
        "replicas": None if settings.autoscaling is not None else desired_replicas(settings),
        "pod_labels": _pod_labels(context, settings),
        "pod_annotations": _pod_annotations(context, settings, grace),
        "ports": _container_ports(needs),
        "termination_grace_period_seconds": grace,
        "priority_class_name": settings.priority_class_name,
        "node_selector": plain(settings.node_selector),
        "tolerations": scheduling.tolerations(settings),
        "affinity": scheduling.affinity(settings, selector),
        "topology_spread_constraints": scheduling.topology_spread(settings, selector),
        "resources": plain(settings.resources) or _DEFAULT_RESOURCES,
        **_probes(context.spec),
    }


def _probes(spec: EgressGatewaySpec) -> dict[str, Any]:
    """
    The kubelet's probes of pods that follow destinations.

    The page is Envoy's own, so it covers Istio's readiness too: a proxy without configuration does not have it.
    """
    gates = _gates(spec)
    page = {"httpGet": {"path": GATE_PATH, "port": GATE_PORT}, "periodSeconds": 5, "timeoutSeconds": 3}
    restarts = ProbeGate.LIVENESS in gates
    return {
        "readiness_probe": {**page, "failureThreshold": 3} if gates else None,
        "liveness_probe": {**page, "periodSeconds": 10, "failureThreshold": 6} if restarts else None,
        "startup_probe": {**page, "failureThreshold": _PATIENCE_AT_START} if restarts else None,
    }


def has_gate(spec: EgressGatewaySpec, live: LiveChildren) -> bool:
    """
    Whether pods answer the kubelet for destinations: where some follow one, and until the kubelet no longer asks any
    pod.

    If the page were removed before the probes, every pod would go out of service.
    """
    deployment = live.named("Deployment", workload_name(live.key))
    page = live.named("EnvoyFilter", probes_name(live.key))
    there = page is not None and _serves_page(page)
    asked = there and deployment is not None and (_template_asks(deployment) or not _is_rolled_out(deployment))
    return bool(_gates(spec)) or asked


def probes_name(key: Key) -> str:
    """Name of the EnvoyFilter that makes pods probe, and serve the page with the result."""
    return f"{workload_name(key)}-probes"


def _serves_page(envoy_filter: Manifest) -> bool:
    """Whether it has the page's listener, beside probes that no pod follows; a rollout alone must not add one."""
    if "spec" not in envoy_filter:
        # There was no memory for its body: it may have the page.
        return True
    patches = envoy_filter["spec"].get("configPatches") or ()
    return any(patch.get("applyTo") == "LISTENER" for patch in patches)


def _template_asks(deployment: Manifest) -> bool:
    if "spec" not in deployment:
        # There was no memory for its body: it may have the probe, so the page stays.
        return True
    containers: list[Manifest] = deployment["spec"]["template"]["spec"]["containers"]
    return any(
        (container.get("readinessProbe") or {}).get("httpGet", {}).get("port") == GATE_PORT for container in containers
    )


def _is_rolled_out(deployment: Manifest) -> bool:
    status = deployment.get("status") or {}
    return bool(
        status.get("observedGeneration") == deployment["metadata"].get("generation")
        and status.get("updatedReplicas", 0) == status.get("replicas", 0)
    )


def _gates(spec: EgressGatewaySpec) -> frozenset[ProbeGate]:
    """Which of the pods' probes follow some destination."""
    probes = [destination.probe for destination in spec.destinations]
    return frozenset(probe.gates for probe in probes if probe is not None and probe.gates is not None)


def _pod_labels(context: PlanContext, settings: DedicatedGateway) -> dict[str, str]:
    # If the namespace has no label, a pod that only asks for injection gets the default revision's, or none at all.
    revision = settings.revision if settings.revision is not None else context.mesh.revision or None
    injection = {"istio.io/rev": revision} if revision is not None else {"sidecar.istio.io/inject": "true"}
    # `dataplane-mode: none` keeps an ambient namespace from capturing the gateway's traffic.
    return {**(settings.pod_labels or {}), **child_labels(context.key), **injection, "istio.io/dataplane-mode": "none"}


def _pod_annotations(context: PlanContext, settings: DedicatedGateway, grace_seconds: int) -> dict[str, str]:
    return {
        **(settings.pod_annotations or {}),
        "inject.istio.io/templates": "gateway",
        "proxy.istio.io/config": json.dumps(_proxy_config(context.spec, grace_seconds), sort_keys=True),
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "15020",
        "prometheus.io/path": "/stats/prometheus",
    }


def _proxy_config(spec: EgressGatewaySpec, grace_seconds: int) -> dict[str, Any]:
    """
    Istio's ProxyConfig of the pods.

    Together with the headers that the routes remove, nothing of the mesh reaches the external host (notes
    "istio-recipes" §8): the client's certificate and Envoy's debug headers can only be switched off here. A terminating
    pod finishes its open requests, and waits no longer than they take (istio.io, ProxyConfig; pilot-agent's
    environment).
    """
    drain = max(grace_seconds - _LAST_SECONDS, 1)
    config: dict[str, Any] = {
        "gatewayTopology": {"forwardClientCertDetails": "SANITIZE"},
        "terminationDrainDuration": f"{drain}s",
        "proxyMetadata": {
            "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true",
            "MINIMUM_DRAIN_DURATION": f"{min(drain, _SHORTEST_DRAIN_SECONDS)}s",
        },
    }
    probed = any(destination.probe is not None for destination in spec.destinations)
    config["proxyStatsMatcher"] = {
        "inclusionRegexps": [_STATS_OF_PROBES if probed else _STATS_OF_CLUSTERS, _STATS_OF_SECRETS]
    }
    telemetry = spec.telemetry
    if telemetry is None or telemetry.mesh_headers is not MeshHeadersMode.KEEP:
        config["proxyHeaders"] = {
            # Set again for each try, after the routes have removed it.
            "attemptCount": {"disabled": True},
            "envoyDebugHeaders": {"disabled": True},
            "requestId": {"disabled": True},
        }
    return config


def _container_ports(needs: WorkloadNeeds) -> list[dict[str, Any]]:
    """The ports listed in the pod; they are for people, Envoy listens where the Gateways say."""
    hop = {port["target_port"]: port["name"] for port in needs.hop_ports}
    exposed = {listen_port(port): f"expose-{port}" for port, _ in needs.exposed_ports}
    return [{"name": name, "number": number} for number, name in sorted({**hop, **exposed}.items())]


def _autoscaler_values(settings: DedicatedGateway, autoscaling: Autoscaling) -> dict[str, Any]:
    return {
        "min_replicas": desired_replicas(settings),
        "max_replicas": autoscaling.max_replicas,
        "target_cpu": autoscaling.target_cpu_utilization_percentage or _DEFAULT_CPU_TARGET,
    }


def _network_policy_values(context: PlanContext, needs: WorkloadNeeds) -> dict[str, Any]:
    return {
        "consumers": sorted(needs.consumers or {context.key.namespace}),
        "everyone": EVERY_NAMESPACE in needs.consumers,
        "hop_ports": sorted({port["target_port"] for port in needs.hop_ports}),
        "exposed_ports": [listen_port(port) for port, _ in needs.exposed_ports],
        "control_plane_namespace": context.mesh.root_namespace,
        "destination_ports": sorted({hop.target_port for hop in needs.hops} | needs.retained_ports),
        "except_four": unreachable_networks(4),
        "except_six": unreachable_networks(6),
        "backends": needs.backends,
        # It may be anywhere in the cluster, on any port.
        "authorizer": context.class_spec.external_authorization is not None,
        "gate_port": GATE_PORT if has_gate(context.spec, context.live) else None,
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
