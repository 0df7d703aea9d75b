"""What APISIX does with exposed hosts."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Support, Table, refused

EXPOSE: Final[Table] = {
    "expose.hosts": Support("`http[].match.hosts` of an ApisixRoute"),
    "expose.gatewayRef": refused("hosts are exposed on the class's APISIX itself", REMOVE_OR_ISTIO),
    "expose.port": refused("APISIX's own installation decides where it listens"),
    "expose.tls": refused("APISIX's own installation decides which certificates it presents (ApisixTls)"),
    "expose.paths": Support("`http[].match.paths`"),
    "expose.backend.service": Support(
        "`backends`, with `resolveGranularity: service`; where APISIX's pods have sidecars, `proxy-rewrite` sets the "
        "Service's name as `Host`, by which they find it and its mutual TLS; the caller's is in `x-forwarded-host`"
    ),
    "expose.backend.destination": Support("`upstreams`: the destination's ApisixUpstream"),
}
