"""What APISIX does with destinations: names, ports, TLS, addresses, headers."""

from __future__ import annotations

from typing import Final

from egressgateway.plan.apisix.capabilities.remedies import REMOVE_OR_ISTIO, USE_ISTIO
from egressgateway.plan.capabilities.model import Refusal, Support, Table, refused

DESTINATIONS: Final[Table] = {
    "destinations.hosts": Support(
        "ServiceEntry and VirtualService of the clients, `http[].match.hosts` of an ApisixRoute"
    ),
    "destinations.aliases": Support("`http[].match.hosts`; the ApisixUpstream's `upstreamHost` rewrites the authority"),
    "destinations.ports.port": Support(
        "the same; each port has its own ApisixRoute, which matches the mark that sidecars set"
    ),
    "destinations.ports.protocol": Support(
        "HTTP: a route of APISIX",
        (
            Refusal(
                "APISIX's own installation decides whether its plain port accepts HTTP/2, and the operator cannot see "
                "that",
                f"use HTTP, or {USE_ISTIO}",
                "HTTP2, GRPC",
                lambda value: value in ("HTTP2", "GRPC"),
            ),
            Refusal(
                "a stream route of APISIX reaches only Services of the cluster, no external host",
                f"use HTTP with tls, or {USE_ISTIO}",
                "TLS, TCP",
                lambda value: value in ("TLS", "TCP"),
            ),
        ),
    ),
    "destinations.addresses": Support("`addresses` of the clients' ServiceEntry"),
    "destinations.ports.targetPort": Support("`externalNodes[].port`"),
    "destinations.ports.tls": Support(
        "`scheme: https`",
        (
            Refusal(
                "APISIX's objects cannot ask for the verification of a certificate",
                f"set insecureSkipVerify: true if that is acceptable, or {USE_ISTIO}",
                "without `insecureSkipVerify: true`",
                lambda value: not value.insecure_skip_verify,
            ),
        ),
    ),
    "destinations.ports.tls.mode": Support("Mutual: `tlsSecret`"),
    "destinations.ports.tls.credentialName": Support(
        "`tlsSecret`, always of the object's namespace; a CA in it is not used"
    ),
    "destinations.ports.tls.caCertificates": Support(
        "refused by the schema beside `insecureSkipVerify`, which is required"
    ),
    "destinations.ports.tls.sni": refused("the server name is always the requested host", REMOVE_OR_ISTIO),
    "destinations.ports.tls.subjectAltNames": Support(
        "refused by the schema beside `insecureSkipVerify`, which is required"
    ),
    "destinations.ports.tls.insecureSkipVerify": Support("required; a warning in the status"),
    "destinations.resolution": Support(
        "DNSRoundRobin: what APISIX does with a name anyway",
        (
            Refusal(
                "APISIX uses one address of a name at a time",
                "set DNSRoundRobin, or remove it",
                "DNS",
                lambda value: value == "DNS",
            ),
        ),
    ),
    "destinations.endpoints": Support("`externalNodes`"),
    "destinations.endpoints.address": Support(
        "`externalNodes[].name`",
        (
            Refusal(
                "a node of an ApisixUpstream is a name or an IPv4 address",
                "use one of these",
                "IPv6",
                lambda value: ":" in value,
            ),
        ),
    ),
    "destinations.endpoints.weight": Support("`externalNodes[].weight`"),
    "destinations.endpoints.locality": refused("APISIX does not fail over between localities", REMOVE_OR_ISTIO),
    "destinations.wildcard": Support("below"),
    "destinations.wildcard.strategy": Support(
        "SingleServer: `externalNodes`, `passHost: pass`",
        (
            Refusal(
                "APISIX does not resolve names that come with a request",
                f"use SingleServer, or {USE_ISTIO}",
                "DynamicResolution",
                lambda value: value == "DynamicResolution",
            ),
        ),
    ),
    "destinations.wildcard.server": Support("`externalNodes[].name`"),
    "destinations.requestHeaders.set": Support("plugin `proxy-rewrite`"),
    "destinations.requestHeaders.set.name": Support("`headers.set`"),
    "destinations.requestHeaders.set.value": Support(
        "`headers.set`",
        (
            Refusal(
                "APISIX reads $ as the start of one of its variables",
                f"choose a value without it, or {USE_ISTIO}",
                "with `$`",
                lambda value: "$" in value,
            ),
        ),
    ),
    "destinations.requestHeaders.remove": Support("plugin `proxy-rewrite`, `headers.remove`"),
}
