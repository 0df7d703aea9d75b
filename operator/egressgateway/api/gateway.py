"""The gateway's own workload: pods, scaling, network policy and the Service of exposed ports."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from egressgateway.api.hosts import Cidr
from egressgateway.api.model import ApiModel
from egressgateway.api.pod import (
    Affinity,
    PodTemplate,
    Resources,
    Tolerations,
    TopologySpreadConstraints,
    TrafficDistribution,
)
from egressgateway.api.rules import SET, Rule
from egressgateway.api.scalars import (
    NO_RESERVED_KEYS,
    Annotations,
    Integer,
    LabelKey,
    Labels,
    LabelValue,
    ObjectName,
    Percentage,
)

DEFAULT_REPLICAS = 2

Replicas = Annotated[Integer, Field(ge=1, le=1000)]


class Autoscaling(ApiModel):
    """Scales the gateway by CPU."""

    min_replicas: Replicas | None = None
    """Fewest pods: 1 to 1000, default 2."""

    max_replicas: Replicas
    """Most pods: 1 to 1000, at least `minReplicas`."""

    target_cpu_utilization_percentage: Percentage | None = Field(default=None, alias="targetCPUUtilizationPercentage")
    """Average CPU of the pods that is aimed at, in percent of their request: 1 to 100, default 80."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Autoscaling"](
            cel="(has(self.minReplicas) ? self.minReplicas : 2) <= self.maxReplicas",
            message="maxReplicas must be at least minReplicas, which is 2 by default",
            holds=lambda self: (
                (DEFAULT_REPLICAS if self.min_replicas is None else self.min_replicas) <= self.max_replicas
            ),
            field=".maxReplicas",
        ),
    )


class NetworkPolicyMode(StrEnum):
    """Whether a NetworkPolicy protects the gateway's pods."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class GatewayNetworkPolicy(ApiModel):
    """The NetworkPolicy of the gateway's pods."""

    mode: NetworkPolicyMode
    """
    `Enabled` (default) lets in the consumers' namespaces, anyone to exposed ports, health and metrics; lets out
    DNS, the control plane
    and the destinations' ports, except to link-local addresses and clouds' metadata services. `Disabled` writes none.
    """


class ServiceType(StrEnum):
    """How the exposed ports are reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ExternalTrafficPolicy(StrEnum):
    """Whether traffic may move to another node, which hides the client's address."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class ExposedService(ApiModel):
    """The Service of the exposed ports. What mesh clients use is always a Service of type ClusterIP."""

    type: ServiceType | None = None
    """
    `ClusterIP` (default), `NodePort` or `LoadBalancer`. Other types than ClusterIP need an entry in `expose` on
    the own gateway.
    """

    annotations: Annotations | None = None
    """Annotations of the Service, such as those of a cloud's load balancer: at most 32."""

    load_balancer_class: LabelKey | None = None
    """As in Kubernetes; only with type `LoadBalancer`."""

    load_balancer_source_ranges: Annotated[tuple[Cidr, ...], Field(max_length=64), SET] | None = None
    """Networks that may use the load balancer, such as `192.0.2.0/24`: at most 64. Default: every one."""

    external_traffic_policy: ExternalTrafficPolicy | None = None
    """`Cluster` (default), or `Local`, which keeps the client's address; not with type `ClusterIP`."""

    # A field that is not set here may come from the class, so that only an open contradiction is refused.
    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["ExposedService"](
            cel="!has(self.externalTrafficPolicy) || !has(self.type) || self.type != 'ClusterIP'",
            message="externalTrafficPolicy needs type NodePort or LoadBalancer",
            holds=lambda self: self.external_traffic_policy is None or self.type is not ServiceType.CLUSTER_IP,
            field=".externalTrafficPolicy",
        ),
        Rule["ExposedService"](
            cel="!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'",
            message="loadBalancerClass needs type LoadBalancer",
            holds=lambda self: self.load_balancer_class is None or self.type in (None, ServiceType.LOAD_BALANCER),
            field=".loadBalancerClass",
        ),
        Rule["ExposedService"](
            cel="!has(self.loadBalancerSourceRanges) || !has(self.type) || self.type == 'LoadBalancer'",
            message="loadBalancerSourceRanges needs type LoadBalancer",
            holds=lambda self: (
                self.load_balancer_source_ranges is None or self.type in (None, ServiceType.LOAD_BALANCER)
            ),
            field=".loadBalancerSourceRanges",
        ),
    )


class Workload(ApiModel):
    """What an EgressGateway and its class both may say about the gateway's workload."""

    replicas: Replicas | None = None
    """Number of gateway pods: 1 to 1000, default 2. Not with `autoscaling`."""

    autoscaling: Autoscaling | None = None
    """Scales the pods by CPU, instead of `replicas`."""

    resources: Resources | None = None
    """Amounts of the gateway's container, as in Kubernetes. Default: the mesh's."""

    node_selector: Labels | None = None
    """Labels of nodes on which the pods may run, as in Kubernetes: at most 32."""

    tolerations: Tolerations | None = None
    """
    Taints that the pods tolerate, as in Kubernetes: at most 32. The taints `not-ready` and `unreachable` of a node that
    died are tolerated for 30 seconds, unless they are named here.
    """

    affinity: Affinity | None = None
    """
    Where the pods prefer or must run, as in Kubernetes. Default: in other zones than each other,
    as far as possible; none with `topologySpreadConstraints`.
    """

    topology_spread_constraints: TopologySpreadConstraints | None = None
    """How the pods are spread, as in Kubernetes: at most 16. Default: over nodes, as far as possible."""

    priority_class_name: ObjectName | None = None
    """The pods' PriorityClass."""

    termination_grace_period_seconds: Annotated[Integer, Field(ge=0, le=3600)] | None = None
    """Seconds that a pod may take to finish open requests: 0 to 3600. Default: the mesh's."""

    traffic_distribution: TrafficDistribution | None = None
    """
    Which pods clients prefer: `PreferSameZone`, `PreferSameNode` or `PreferClose`, as in Kubernetes. Default:
    all alike.
    """

    pod_labels: Labels | None = None
    """Labels added to the pods: at most 32."""

    pod_annotations: Annotations | None = None
    """Annotations added to the pods: at most 32."""

    network_policy: GatewayNetworkPolicy | None = None
    """The NetworkPolicy of the pods. Default: mode `Enabled`."""

    service: ExposedService | None = None
    """The Service of the exposed ports. Each field set here replaces the class's."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Workload"](
            cel="!(has(self.replicas) && has(self.autoscaling))",
            message="set only one of replicas and autoscaling: remove one of the two",
            holds=lambda self: self.replicas is None or self.autoscaling is None,
            field=".replicas",
            reason="FieldValueForbidden",
        ),
    )


class GatewaySettings(Workload):
    """
    The object's own (dedicated) gateway. A field set here replaces the class's whole; `replicas` and
    `autoscaling` count as one.
    """

    pod_labels: Annotated[Labels, NO_RESERVED_KEYS] | None = None
    """Labels added to the pods: at most 32. Keys of Istio, Kubernetes and this API are reserved."""

    pod_annotations: Annotated[Annotations, NO_RESERVED_KEYS] | None = None
    """Annotations added to the pods: at most 32. Keys of Istio, Kubernetes and this API are reserved."""


class DedicatedGateway(Workload):
    """How the gateway of each object is made; objects may replace the fields of `EgressGateway.spec.gateway`."""

    revision: LabelValue | None = None
    """
    The mesh's revision (`istio.io/rev`) that injects and configures the pods. Default: the operator's
    (`--mesh-revision`), otherwise the namespace's.
    """

    pod_template: PodTemplate | None = None
    """
    A partial PodTemplateSpec, merged strategically: extra containers, volumes, probes. Only a class has it,
    because it can run any image with any Secret of the object's namespace.
    """
