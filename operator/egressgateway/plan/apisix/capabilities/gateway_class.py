"""What APISIX does with a class."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO
from egressgateway.plan.capabilities.model import Support, Table, refused

GATEWAY_CLASS: Final[Table] = {
    "dedicated": refused("APISIX is installed by its own chart", "use shared"),
    "shared": Support("APISIX: its Service and its pods"),
    "shared.selector": Support("the pods' readiness"),
    "shared.ports.http": Support("the port of all requests"),
    "shared.ports.tls": refused("requests go to the http port, with mutual TLS too, which a sidecar terminates"),
    "apisix": Support("below"),
    "apisix.ingressClassName": Support("`ingressClassName` of every object of APISIX"),
    "apisix.pushTimeout": Support("how long an accepted route waits for its clients"),
    "upgrades": Support("refused by the schema: the hop is HTTP/1.1, and routes have `websocket`"),
    "mtls": Support("Strict: ISTIO_MUTUAL to a sidecar in front of APISIX", also="Strict needs a sidecar in every pod"),
    "externalAuthorization": refused("APISIX does not call authorizers of the mesh", REMOVE_OR_ISTIO),
    "allowedGateways": Support("nothing: `gatewayRef` is refused"),
}
