"""What Istio does with destinations: names, ports, TLS, addresses, headers."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.capabilities.model import Circumstance, Refusal, Support, Table

DESTINATIONS: Final[Table] = {
    "destinations.hosts": Support(
        "ServiceEntry and VirtualService of the clients, Gateway and VirtualService of the gateway"
    ),
    "destinations.aliases": Support("the same as hosts; the gateway's VirtualService rewrites the authority"),
    "destinations.addresses": Support("`addresses` of the clients' ServiceEntry"),
    "destinations.ports.port": Support("ports of the ServiceEntry, matches of the VirtualService"),
    "destinations.ports.protocol": Support(
        "protocol of the ServiceEntry and of the gateway's server",
        also="with `SingleServer` wildcards one "
        "port of the HTTP family; TLS and TCP on shared gateways without mtls, see the class",
    ),
    "destinations.ports.targetPort": Support("`targetPort` of the gateway's ServiceEntry"),
    "destinations.ports.tls": Support("DestinationRule of the gateway's outbound route"),
    "destinations.ports.tls.mode": Support("`tls.mode`"),
    "destinations.ports.tls.credentialName": Support(
        "`tls.credentialName`",
        (
            Refusal(
                "it cannot read Secrets of this namespace",
                "use a class with a dedicated gateway",
                only=Circumstance.SHARED,
            ),
        ),
    ),
    "destinations.ports.tls.caCertificates": Support("`tls.caCertificates`; with mode Mutual by an EnvoyFilter"),
    "destinations.ports.tls.sni": Support("`tls.sni`"),
    "destinations.ports.tls.subjectAltNames": Support("`tls.subjectAltNames`"),
    "destinations.ports.tls.insecureSkipVerify": Support("`tls.insecureSkipVerify`; a warning in the status"),
    "destinations.resolution": Support("`resolution` of the gateway's ServiceEntry"),
    "destinations.endpoints": Support("`endpoints` of the gateway's ServiceEntry"),
    "destinations.endpoints.address": Support("`address`"),
    "destinations.endpoints.weight": Support("`weight`"),
    "destinations.endpoints.locality": Support("`locality`, with fail-over"),
    "destinations.wildcard": Support("below", also="on a shared gateway only `SingleServer` with protocol TLS"),
    "destinations.wildcard.strategy": Support(
        "DynamicResolution: a dynamic ServiceEntry and an EnvoyFilter", also="DynamicResolution needs mtls"
    ),
    "destinations.wildcard.server": Support("endpoint of the gateway's ServiceEntry"),
    "destinations.requestHeaders.set": Support("the gateway's VirtualService"),
    "destinations.requestHeaders.set.name": Support("`headers.request.set`"),
    "destinations.requestHeaders.set.value": Support("`headers.request.set`"),
    "destinations.requestHeaders.remove": Support("`headers.request.remove`"),
}
