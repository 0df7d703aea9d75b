"""What Istio does with the traffic settings of a destination: time-outs, retries, pools, outliers, probes."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Circumstance, Refusal, Support, Table

TRAFFIC: Final[Table] = {
    "destinations.traffic.timeout": Support(
        "`timeout` of the gateway's VirtualService", also="ports of the HTTP family only"
    ),
    "destinations.traffic.retries": Support("below", also="ports of the HTTP family only"),
    "destinations.traffic.retries.attempts": Support("`retries.attempts`"),
    "destinations.traffic.retries.perTryTimeout": Support("`retries.perTryTimeout`"),
    "destinations.traffic.retries.retryOn": Support("`retries.retryOn`"),
    "destinations.traffic.connectionPool": Support("DestinationRule of the gateway's outbound route"),
    "destinations.traffic.connectionPool.maxConnections": Support("`tcp.maxConnections`"),
    "destinations.traffic.connectionPool.maxPendingRequests": Support(
        "`http.http1MaxPendingRequests`", also="ports of the HTTP family only"
    ),
    "destinations.traffic.connectionPool.maxRequestsPerConnection": Support(
        "`http.maxRequestsPerConnection`", also="ports of the HTTP family only"
    ),
    "destinations.traffic.connectionPool.connectTimeout": Support("`tcp.connectTimeout`"),
    "destinations.traffic.connectionPool.idleTimeout": Support(
        "`idleTimeout`", also="`0s` with protocol TLS or TCP only"
    ),
    "destinations.traffic.connectionPool.tcpKeepalive": Support("`tcp.tcpKeepalive`"),
    "destinations.traffic.outlierDetection": Support(
        "DestinationRule of the gateway's outbound route", also="not with DynamicResolution"
    ),
    "destinations.traffic.outlierDetection.consecutive5xxErrors": Support("`consecutive5xxErrors`"),
    "destinations.traffic.outlierDetection.interval": Support("`interval`"),
    "destinations.traffic.outlierDetection.baseEjectionTime": Support("`baseEjectionTime`"),
    "destinations.traffic.outlierDetection.maxEjectionPercent": Support("`maxEjectionPercent`"),
    "destinations.traffic.loadBalancing": Support("below", also="not with DynamicResolution"),
    "destinations.traffic.loadBalancing.algorithm": Support("`loadBalancer.simple`"),
    "destinations.probe": Support(
        "health checks of the gateway's Envoys, by an EnvoyFilter",
        (
            Refusal(
                "the object cannot configure its proxies",
                "remove it, or use a class with a dedicated gateway",
                only=Circumstance.SHARED,
            ),
        ),
        also="not with DynamicResolution",
    ),
    "destinations.probe.path": Support("`http_health_check.path`; without one a connection is checked"),
    "destinations.probe.statuses": Support("`http_health_check.expected_statuses`"),
    "destinations.probe.periodSeconds": Support("`interval`"),
    "destinations.probe.timeoutSeconds": Support("`timeout`"),
    "destinations.probe.failureThreshold": Support("`unhealthy_threshold`"),
    "destinations.probe.gates": Support("probes of the gateway's pods"),
}
