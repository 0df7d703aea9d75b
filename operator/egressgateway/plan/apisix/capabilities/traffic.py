"""What APISIX does with the traffic settings of a destination: time-outs, retries, pools, outliers, probes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Refusal, Support, Table, refused

_NOT_IN_CRD: Final = "ApisixUpstream has no field for it"


def _has_fractions(value: timedelta) -> bool:
    return bool(value.microseconds)


TRAFFIC: Final[Table] = {
    "destinations.traffic.timeout": Support(
        "`timeout` of the clients' VirtualService; `timeout.send` and `.read` of the ApisixUpstream, in whole seconds"
    ),
    "destinations.traffic.retries": Support("below"),
    "destinations.traffic.retries.attempts": Support("`retries`"),
    "destinations.traffic.retries.perTryTimeout": refused(
        "APISIX limits the time between two reads, not a whole try", REMOVE_OR_ISTIO
    ),
    "destinations.traffic.retries.retryOn": refused("APISIX retries after connection errors only", REMOVE_OR_ISTIO),
    "destinations.traffic.connectionPool": Support("below"),
    "destinations.traffic.connectionPool.maxConnections": refused(_NOT_IN_CRD, REMOVE_OR_ISTIO),
    "destinations.traffic.connectionPool.maxPendingRequests": refused(_NOT_IN_CRD, REMOVE_OR_ISTIO),
    "destinations.traffic.connectionPool.maxRequestsPerConnection": refused(_NOT_IN_CRD, REMOVE_OR_ISTIO),
    "destinations.traffic.connectionPool.connectTimeout": Support(
        "`timeout.connect`",
        (Refusal("APISIX counts in whole seconds", "set whole seconds", "fractions of a second", _has_fractions),),
    ),
    "destinations.traffic.connectionPool.idleTimeout": refused(_NOT_IN_CRD, REMOVE_OR_ISTIO),
    "destinations.traffic.connectionPool.tcpKeepalive": refused(_NOT_IN_CRD, REMOVE_OR_ISTIO),
    "destinations.traffic.outlierDetection": Support(
        "`healthCheck`: passive by responses; an ejected endpoint is dialled every 30 s until it answers"
    ),
    "destinations.traffic.outlierDetection.consecutive5xxErrors": Support(
        "`passive.unhealthy.httpFailures`",
        (Refusal("APISIX accepts at most 254", "choose a smaller number", "more than 254", lambda value: value > 254),),
    ),
    "destinations.traffic.outlierDetection.interval": refused(
        "APISIX ejects an endpoint as soon as it has sent too many bad responses", REMOVE_OR_ISTIO
    ),
    "destinations.traffic.outlierDetection.baseEjectionTime": refused(
        "APISIX uses an endpoint again once it accepts connections", REMOVE_OR_ISTIO
    ),
    "destinations.traffic.outlierDetection.maxEjectionPercent": refused(
        "APISIX may eject all endpoints, and uses every one if none is left", REMOVE_OR_ISTIO
    ),
    "destinations.traffic.loadBalancing": Support("below"),
    "destinations.traffic.loadBalancing.algorithm": Support(
        "`loadbalancer.type`",
        (Refusal("APISIX has no such algorithm", "use RoundRobin", "Random", lambda value: value == "Random"),),
    ),
    "destinations.probe": refused("APISIX's health checks do not report their results", REMOVE_OR_ISTIO),
}
