"""What Istio does with the settings of the gateway's own pods, logs and headers."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Circumstance, Refusal, Support, Table

_SHARED_PODS: Final = Refusal("the gateway belongs to the platform, and other clients use it", only=Circumstance.SHARED)

GATEWAY: Final[Table] = {
    "gateway": Support("the gateway's own Deployment, and what surrounds it", (_SHARED_PODS,)),
    "gateway.replicas": Support("`replicas` of the Deployment"),
    "gateway.autoscaling": Support("HorizontalPodAutoscaler"),
    "gateway.resources": Support("of the gateway's container"),
    "gateway.nodeSelector": Support("of the pods"),
    "gateway.tolerations": Support("of the pods"),
    "gateway.affinity": Support("of the pods"),
    "gateway.topologySpreadConstraints": Support("of the pods"),
    "gateway.priorityClassName": Support("of the pods"),
    "gateway.terminationGracePeriodSeconds": Support("of the pods, and how long Envoy drains"),
    "gateway.trafficDistribution": Support("of the hop's Service"),
    "gateway.podLabels": Support("of the pods"),
    "gateway.podAnnotations": Support("of the pods"),
    "gateway.networkPolicy": Support("NetworkPolicy of the pods"),
    "gateway.service": Support("Service of the exposed ports"),
    "telemetry.accessLog": Support("Telemetry", (_SHARED_PODS,)),
    "telemetry.tracing": Support("headers of the gateway's VirtualService, Telemetry"),
    "telemetry.meshHeaders": Support("headers of the gateway's VirtualService"),
}
