"""What Istio does with a class."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Support, Table

GATEWAY_CLASS: Final[Table] = {
    "dedicated": Support("a Deployment for each object", also="no `serviceAccountName` in `podTemplate`"),
    "shared": Support(
        "the gateway that clients are sent to", also="not where the mesh has PILOT_SCOPE_GATEWAY_TO_NAMESPACE"
    ),
    "shared.selector": Support("`selector` of the Gateway; the pods' readiness and identities"),
    "shared.ports.http": Support("the port of requests without mutual TLS"),
    "shared.ports.tls": Support("the port of all traffic with mutual TLS, and of TLS passthrough"),
    "apisix": Support("refused by the schema"),
    "apisix.ingressClassName": Support("refused by the schema"),
    "apisix.pushTimeout": Support("refused by the schema"),
    "mtls": Support("Strict: ISTIO_MUTUAL with the gateway's identity pinned"),
    "upgrades": Support(
        "EnvoyFilter: `allow_connect` at the gateway. Subset: an HTTP/1.1 subset of the hop's DestinationRule",
        also="a shared gateway with mtls Disabled always has subsets",
    ),
    "externalAuthorization": Support(
        "AuthorizationPolicy with action CUSTOM", also="an HTTP authorizer checks the HTTP family only"
    ),
    "allowedGateways": Support("checked by the operator"),
}
