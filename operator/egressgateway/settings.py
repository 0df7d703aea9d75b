"""The operator's settings: parsed once, at the edge, then passed on and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """
    Leader election. The three times follow client-go's leaderelection package:
    `renew_deadline` < `duration`, so that a leader that cannot renew stops before another may start.
    """

    enabled: bool = True
    namespace: str = "default"
    name: str = "egressgateway-operator"
    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry_period: timedelta = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What the operator must know of the mesh and cannot read from the mesh's own objects."""

    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    revision: str = ""
    """
    Revision of the control plane whose configuration is read and that injects gateways; empty means the default one,
    and the revision in their namespaces' labels.
    """

    push_grace: timedelta = timedelta(seconds=2)
    """How long istiod may take to push a change to every proxy (its debounce is 0.1 s, at most 10 s under load)."""

    gateway_cluster_role: str = ""
    """
    ClusterRole with which a gateway's account may list the Secrets of its namespace, if istiod requires that. Empty: a
    Role is written for each such gateway. Kubernetes lets no client write a Role with more rights than it has, so the
    operator would have to list Secrets everywhere, or escalate; an operator that may `bind` this ClusterRole needs
    neither.
    """

    fixed: frozenset[str] = frozenset()
    """Fields that a flag has set: what the mesh says of itself does not replace them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that flags and environment may set."""

    identity: str = "egressgateway-operator"
    """Name of this replica in the Lease: the pod's name in a cluster."""

    namespaces: tuple[str, ...] = ()
    """Namespaces whose EgressGateways are served; empty means every one."""

    gateway_namespaces: tuple[str, ...] = ()
    """With `namespaces`: other namespaces in which children may be, because shared gateways run there."""

    built_in_class: bool = True
    """Serve objects without a class while the cluster has none."""

    workers: int = 16
    """EgressGateways that are reconciled at the same time."""

    max_in_flight: int = 32
    """Concurrent requests to the API server, of all workers together."""

    namespace_memory: int = 64 << 20
    """Bytes that the cached children of one namespace may take, and twice what its EgressGateways may."""

    resync: timedelta = timedelta(minutes=10)
    """How often every EgressGateway is listed and enqueued, changed or not."""

    pods_proxy: str = ""
    """URL of the HTTP proxy by which gateways' pods are asked; empty: at their addresses."""

    metrics_host: str = "0.0.0.0"  # noqa: S104  (the kubelet and Prometheus ask from outside the pod)
    metrics_port: int = 8080
    """Port of /healthz, /readyz and /metrics; 0 takes a free one."""

    log_format: Literal["json", "human"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    lease: LeaseSettings = field(default_factory=LeaseSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)

    def serves(self, namespace: str) -> bool:
        """Whether this operator serves EgressGateways of the namespace."""
        return not self.namespaces or namespace in self.namespaces

    def sees(self, namespace: str) -> bool:
        """Whether children in the namespace are watched."""
        return not self.namespaces or namespace in self.child_namespaces

    @property
    def child_namespaces(self) -> tuple[str, ...]:
        """Namespaces in which children may be; empty means every one."""
        return tuple(dict.fromkeys((*self.namespaces, *self.gateway_namespaces))) if self.namespaces else ()
