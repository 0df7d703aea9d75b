"""
What each provider makes of each field of the API, and which values it refuses: one table for all.

`unsupported` refuses by it, `docs/providers.md` is written from it, and tests hold every field of the CRDs against it.
What depends on several fields at once stands in `limits` of the provider; the table says so in words (`also`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic.fields import FieldInfo

from egressgateway.api.gateway_class import ProviderName
from egressgateway.api.model import ApiModel


class Circumstance(StrEnum):
    """What of a class makes a refusal hold; in words."""

    ALWAYS = ""
    SHARED = "with a shared gateway"
    PLAIN = "with mtls Disabled"


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Values of a field that a provider cannot do.

    Attributes:
        why: what would happen, or what is missing, in words.
        remedy: the way out, as an order.
        values: in words; empty for every one.
        when: whether a value is among them.
    """

    why: str
    remedy: str = "remove it"
    values: str = ""
    when: Callable[[Any], bool] = lambda value: True
    only: Circumstance = Circumstance.ALWAYS


@dataclass(frozen=True, slots=True)
class Support:
    """
    What a provider makes of a field. `also`: further limits, which depend on other fields.

    `becomes` is empty where every value is refused; without refusals, too, the field goes with the one above it.
    """

    becomes: str = ""
    refusals: tuple[Refusal, ...] = ()
    also: str = ""


@dataclass(frozen=True, slots=True)
class SetField:
    """A field that somebody set: its row in the table, its path, and its value."""

    row: str
    path: str
    value: Any


def set_fields(model: ApiModel, path: str = "spec", row: str = "") -> Iterator[SetField]:
    """Fields that are set in `model`, those within others after them; `path` and `row` are those of `model` itself."""
    for name in sorted(model.model_fields_set):
        value = getattr(model, name)
        if value is None:
            continue
        spelled = _spelling(name, type(model).model_fields[name])
        here = SetField(f"{row}.{spelled}".removeprefix("."), f"{path}.{spelled}", value)
        yield here
        yield from _within(here)


def refusals(table: Mapping[str, Capability], provider: ProviderName, found: SetField) -> tuple[Refusal, ...]:
    """Those of a field's refusals that hold for its value; the circumstances are the caller's to look at."""
    row = table.get(found.row)
    return tuple(each for each in row.of(provider).refusals if each.when(found.value)) if row else ()


@dataclass(frozen=True, slots=True)
class Capability:
    """A row of the table."""

    istio: Support
    apisix: Support

    def of(self, provider: ProviderName) -> Support:
        return self.apisix if provider is ProviderName.APISIX else self.istio


def _spelling(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _within(found: SetField) -> Iterator[SetField]:
    if isinstance(found.value, ApiModel):
        yield from set_fields(found.value, found.path, found.row)
    elif isinstance(found.value, tuple):
        for index, item in enumerate(found.value):
            if isinstance(item, ApiModel):
                yield from set_fields(item, f"{found.path}[{index}]", found.row)


def _both(becomes: str) -> Capability:
    """A field that the operator handles alike for every provider."""
    return Capability(Support(becomes), Support(becomes))


def _row(istio: str | Support, apisix: str | Support | Refusal) -> Capability:
    mesh = Support(istio) if isinstance(istio, str) else istio
    if isinstance(apisix, Refusal):
        return Capability(mesh, Support(refusals=(apisix,)))
    return Capability(mesh, Support(apisix) if isinstance(apisix, str) else apisix)


_USE_ISTIO: Final = "use a class with provider Istio"
_REMOVE_OR_ISTIO: Final = f"remove it, or {_USE_ISTIO}"
_OWN_PODS: Final = "the pods are those of the platform's APISIX"
_ALIKE: Final = "the same for all namespaces: APISIX does not know who calls"
_NOT_IN_CRD: Final = "ApisixUpstream has no field for it"
_SHARED_PODS: Final = Refusal("the gateway is the platform's, and others use it, too", only=Circumstance.SHARED)
_NO_IDENTITY: Final = Refusal(
    "the gateway does not know who calls",
    "remove it, or use a class with mtls Strict",
    only=Circumstance.PLAIN,
)


def _has_fractions(value: timedelta) -> bool:
    return bool(value.microseconds)


CAPABILITIES: Final[Mapping[str, Capability]] = {
    "className": _both("the class; a change moves clients once the new way is complete"),
    "suspend": _both("nothing but the status is written; what the class does not allow any more is withdrawn"),
    "gateway": _row(
        Support("the gateway's own Deployment, and what surrounds it", (_SHARED_PODS,)), Refusal(_OWN_PODS)
    ),
    **{
        f"gateway.{name}": Capability(Support(becomes), Support())
        for name, becomes in {
            "replicas": "`replicas` of the Deployment",
            "autoscaling": "HorizontalPodAutoscaler",
            "resources": "of the gateway's container",
            "nodeSelector": "of the pods",
            "tolerations": "of the pods",
            "affinity": "of the pods",
            "topologySpreadConstraints": "of the pods",
            "priorityClassName": "of the pods",
            "terminationGracePeriodSeconds": "of the pods, and how long Envoy drains",
            "trafficDistribution": "of the hop's Service",
            "podLabels": "of the pods",
            "podAnnotations": "of the pods",
            "networkPolicy": "NetworkPolicy of the pods",
            "service": "Service of the exposed ports",
        }.items()
    },
    "destinations": _both("below"),
    "destinations.name": _both("part of the names of children"),
    "destinations.hosts": _row(
        "ServiceEntry and VirtualService of the clients, Gateway and VirtualService of the gateway",
        "ServiceEntry and VirtualService of the clients, `http[].match.hosts` of an ApisixRoute",
    ),
    "destinations.aliases": _row(
        "the same as hosts; the gateway's VirtualService rewrites the authority",
        "`http[].match.hosts`; the ApisixUpstream's `upstreamHost` rewrites the authority",
    ),
    "destinations.ports": _both("below"),
    "destinations.ports.port": _row(
        "ports of the ServiceEntry, matches of the VirtualService",
        "the same; each port has an ApisixRoute of its own, told from others by the mark that sidecars set",
    ),
    "destinations.ports.protocol": _row(
        Support(
            "protocol of the ServiceEntry and of the gateway's server",
            also="with `SingleServer` wildcards one "
            "port of the HTTP family; TLS and TCP on shared gateways without mtls, see the class",
        ),
        Support(
            "HTTP: a route of APISIX",
            (
                Refusal(
                    "whether APISIX takes HTTP/2 on its plain port is its installation's, and cannot be seen",
                    f"use HTTP, or {_USE_ISTIO}",
                    "HTTP2, GRPC",
                    lambda value: value in ("HTTP2", "GRPC"),
                ),
                Refusal(
                    "a stream route of APISIX reaches Services of the cluster alone, no external host",
                    f"use HTTP with tls, or {_USE_ISTIO}",
                    "TLS, TCP",
                    lambda value: value in ("TLS", "TCP"),
                ),
            ),
        ),
    ),
    "destinations.ports.targetPort": _row("`targetPort` of the gateway's ServiceEntry", "`externalNodes[].port`"),
    "destinations.ports.tls": _row(
        "DestinationRule of the gateway's way out",
        Support(
            "`scheme: https`",
            (
                Refusal(
                    "APISIX's objects cannot ask for the verification of a certificate",
                    f"set insecureSkipVerify: true if that may be, or {_USE_ISTIO}",
                    "without `insecureSkipVerify: true`",
                    lambda value: not value.insecure_skip_verify,
                ),
            ),
        ),
    ),
    "destinations.ports.tls.mode": _row("`tls.mode`", "Mutual: `tlsSecret`"),
    "destinations.ports.tls.credentialName": _row(
        Support(
            "`tls.credentialName`",
            (
                Refusal(
                    "it cannot read Secrets of this namespace",
                    "use a class with a dedicated gateway",
                    only=Circumstance.SHARED,
                ),
            ),
        ),
        "`tlsSecret`, always of the object's namespace; a CA in it is not used",
    ),
    "destinations.ports.tls.sni": _row(
        "`tls.sni`", Refusal("the server name is always the host that is asked for", _REMOVE_OR_ISTIO)
    ),
    "destinations.ports.tls.subjectAltNames": _row(
        "`tls.subjectAltNames`", "refused by the schema beside `insecureSkipVerify`, which is required"
    ),
    "destinations.ports.tls.insecureSkipVerify": _row(
        "`tls.insecureSkipVerify`; a warning in the status", "required; a warning in the status"
    ),
    "destinations.resolution": _row(
        "`resolution` of the gateway's ServiceEntry",
        Support(
            "DNSRoundRobin: what APISIX does with a name anyway",
            (
                Refusal(
                    "APISIX goes to one address of a name at a time",
                    "set DNSRoundRobin, or remove it",
                    "DNS",
                    lambda value: value == "DNS",
                ),
            ),
        ),
    ),
    "destinations.endpoints": _row("`endpoints` of the gateway's ServiceEntry", "`externalNodes`"),
    "destinations.endpoints.address": _row(
        "`address`",
        Support(
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
    ),
    "destinations.endpoints.weight": _row("`weight`", "`externalNodes[].weight`"),
    "destinations.endpoints.locality": _row(
        "`locality`, with fail-over", Refusal("APISIX does not fail over between localities", _REMOVE_OR_ISTIO)
    ),
    "destinations.wildcard": _row(
        Support("below", also="on a shared gateway only `SingleServer` with protocol TLS"), "below"
    ),
    "destinations.wildcard.strategy": _row(
        Support("DynamicResolution: a dynamic ServiceEntry and an EnvoyFilter", also="DynamicResolution needs mtls"),
        Support(
            "SingleServer: `externalNodes`, `passHost: pass`",
            (
                Refusal(
                    "APISIX looks up no names that a request brings along",
                    f"use SingleServer, or {_USE_ISTIO}",
                    "DynamicResolution",
                    lambda value: value == "DynamicResolution",
                ),
            ),
        ),
    ),
    "destinations.wildcard.server": _row("endpoint of the gateway's ServiceEntry", "`externalNodes[].name`"),
    "destinations.requestHeaders": _both("below"),
    "destinations.requestHeaders.set": _row("the gateway's VirtualService", "plugin `proxy-rewrite`"),
    "destinations.requestHeaders.set.name": _row("`headers.request.set`", "`headers.set`"),
    "destinations.requestHeaders.set.value": _row(
        "`headers.request.set`",
        Support(
            "`headers.set`",
            (
                Refusal(
                    "APISIX reads $ as the begin of a variable of its own",
                    f"choose a value without it, or {_USE_ISTIO}",
                    "with `$`",
                    lambda value: "$" in value,
                ),
            ),
        ),
    ),
    "destinations.requestHeaders.remove": _row("`headers.request.remove`", "plugin `proxy-rewrite`, `headers.remove`"),
    "destinations.traffic": _both("below"),
    "destinations.traffic.timeout": _row(
        Support("`timeout` of the gateway's VirtualService", also="ports of the HTTP family only"),
        "`timeout` of the clients' VirtualService; `timeout.send` and `.read` of the ApisixUpstream, in whole seconds",
    ),
    "destinations.traffic.retries": _row(Support("below", also="ports of the HTTP family only"), "below"),
    "destinations.traffic.retries.attempts": _row("`retries.attempts`", "`retries`"),
    "destinations.traffic.retries.perTryTimeout": _row(
        "`retries.perTryTimeout`",
        Refusal("APISIX limits the silence between two reads, no try as a whole", _REMOVE_OR_ISTIO),
    ),
    "destinations.traffic.retries.retryOn": _row(
        "`retries.retryOn`", Refusal("APISIX tries again after errors of connections alone", _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.connectionPool": _row("DestinationRule of the gateway's way out", "below"),
    "destinations.traffic.connectionPool.maxConnections": _row(
        "`tcp.maxConnections`", Refusal(_NOT_IN_CRD, _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.connectionPool.maxPendingRequests": _row(
        Support("`http.http1MaxPendingRequests`", also="ports of the HTTP family only"),
        Refusal(_NOT_IN_CRD, _REMOVE_OR_ISTIO),
    ),
    "destinations.traffic.connectionPool.maxRequestsPerConnection": _row(
        Support("`http.maxRequestsPerConnection`", also="ports of the HTTP family only"),
        Refusal(_NOT_IN_CRD, _REMOVE_OR_ISTIO),
    ),
    "destinations.traffic.connectionPool.connectTimeout": _row(
        "`tcp.connectTimeout`",
        Support(
            "`timeout.connect`",
            (Refusal("APISIX counts in whole seconds", "set whole seconds", "fractions of a second", _has_fractions),),
        ),
    ),
    "destinations.traffic.connectionPool.idleTimeout": _row(
        Support("`idleTimeout`", also="`0s` with protocol TLS or TCP only"), Refusal(_NOT_IN_CRD, _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.connectionPool.tcpKeepalive": _row(
        "`tcp.tcpKeepalive`", Refusal(_NOT_IN_CRD, _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.outlierDetection": _row(
        Support("DestinationRule of the gateway's way out", also="not with DynamicResolution"),
        "`healthCheck`: passive by responses; an endpoint that was left out is dialled every 30 s until it answers",
    ),
    "destinations.traffic.outlierDetection.consecutive5xxErrors": _row(
        "`consecutive5xxErrors`",
        Support(
            "`passive.unhealthy.httpFailures`",
            (Refusal("APISIX counts to 254", "choose less", "more than 254", lambda value: value > 254),),
        ),
    ),
    "destinations.traffic.outlierDetection.interval": _row(
        "`interval`", Refusal("APISIX leaves an endpoint out with the response that was one too many", _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.outlierDetection.baseEjectionTime": _row(
        "`baseEjectionTime`", Refusal("APISIX takes an endpoint back when it can be dialled again", _REMOVE_OR_ISTIO)
    ),
    "destinations.traffic.outlierDetection.maxEjectionPercent": _row(
        "`maxEjectionPercent`",
        Refusal("APISIX leaves out all, and goes to every one if none is left", _REMOVE_OR_ISTIO),
    ),
    "destinations.traffic.loadBalancing": _row(Support("below", also="not with DynamicResolution"), "below"),
    "destinations.traffic.loadBalancing.algorithm": _row(
        "`loadBalancer.simple`",
        Support(
            "`loadbalancer.type`",
            (Refusal("APISIX has no such algorithm", "use RoundRobin", "Random", lambda value: value == "Random"),),
        ),
    ),
    "destinations.probe": _row(
        Support(
            "health checks of the gateway's Envoys, by an EnvoyFilter",
            (
                Refusal(
                    "its proxies are not the object's to set up",
                    "remove it, or use a class with a dedicated gateway",
                    only=Circumstance.SHARED,
                ),
            ),
            also="not with DynamicResolution",
        ),
        Refusal("the health checks of APISIX's objects tell nobody what they found", _REMOVE_OR_ISTIO),
    ),
    **{
        f"destinations.probe.{name}": Capability(Support(becomes), Support())
        for name, becomes in {
            "path": "`http_health_check.path`; without one a connection is checked",
            "statuses": "`http_health_check.expected_statuses`",
            "periodSeconds": "`interval`",
            "timeoutSeconds": "`timeout`",
            "failureThreshold": "`unhealthy_threshold`",
            "gates": "probes of the gateway's pods",
        }.items()
    },
    "destinations.expiresAt": _both("the destination counts as deleted from then on"),
    "expose": _both("below"),
    "expose.name": _both("part of the names of children"),
    "expose.hosts": _row("Gateway and VirtualService", "`http[].match.hosts` of an ApisixRoute"),
    "expose.gatewayRef": _row(
        Support("`gateways` of the VirtualService", also="required with a shared gateway"),
        Refusal("hosts are exposed on the class's APISIX itself", _REMOVE_OR_ISTIO),
    ),
    "expose.port": _row("a server of the own Gateway", Refusal("where APISIX listens is its installation's")),
    "expose.tls": _row(
        "a server of the own Gateway", Refusal("which certificates APISIX shows is its installation's (ApisixTls)")
    ),
    "expose.paths": _row("matches of the VirtualService", "`http[].match.paths`"),
    "expose.backend": _both("below"),
    "expose.backend.service": _row(
        "destination of the VirtualService",
        "`backends`, with `resolveGranularity: service`, so that the mesh's own routing and mutual TLS apply",
    ),
    "expose.backend.destination": _row(
        "the destination's way through the gateway", "`upstreams`: the destination's ApisixUpstream"
    ),
    "access": _both("below"),
    "access.from": _row(
        Support(
            "AuthorizationPolicy at the gateway, `exportTo` of what clients see",
            also="with a shared gateway one entry with methods or paths for each destination",
        ),
        "`exportTo` of what clients see; APISIX takes requests only with the mark that their sidecars set",
    ),
    "access.from.namespaces": _row("principals, `exportTo`", "`exportTo`"),
    "access.from.namespaceSelector": _row("principals, `exportTo`", "`exportTo`"),
    "access.from.serviceAccounts": _row(
        Support("principals", (_NO_IDENTITY,)),
        Refusal("APISIX does not know who calls", _REMOVE_OR_ISTIO),
    ),
    "access.from.destinations": _row("`connection.sni`", "as said above, for these destinations"),
    "access.from.methods": _row(
        Support("`methods`", (_NO_IDENTITY,)),
        Support("`http[].match.methods`, and a rule that answers 403 to the rest", also=_ALIKE),
    ),
    "access.from.paths": _row(
        Support("`paths`", (_NO_IDENTITY,)),
        Support("`http[].match.paths`, and a rule that answers 403 to the rest", also=_ALIKE),
    ),
    "telemetry": _both("below"),
    "telemetry.accessLog": _row(
        Support("Telemetry", (_SHARED_PODS,)), Refusal("what APISIX logs is its installation's")
    ),
    "telemetry.tracing": _row(
        "headers of the gateway's VirtualService, Telemetry",
        "Strip: plugin `proxy-rewrite` removes what came with the request",
    ),
    "telemetry.meshHeaders": _row(
        "headers of the gateway's VirtualService",
        Support(
            "Keep; without the field `proxy-rewrite` removes what the mesh added, and the status says what stays",
            (
                Refusal(
                    "APISIX itself adds x-real-ip and x-forwarded-*, with the address of the caller's pod",
                    _REMOVE_OR_ISTIO,
                    "Strip",
                    lambda value: value == "Strip",
                ),
            ),
        ),
    ),
}
"""Fields of `EgressGateway.spec`. A field without a row is part of the one above it."""

CLASS_CAPABILITIES: Final[Mapping[str, Capability]] = {
    "provider": _both("this column"),
    "dedicated": _row(
        Support("a Deployment for each object", also="no `serviceAccountName` in `podTemplate`"),
        Refusal("APISIX is installed by its own chart", "use shared"),
    ),
    "shared": _row(
        Support("the gateway that clients are sent to", also="not where the mesh has PILOT_SCOPE_GATEWAY_TO_NAMESPACE"),
        "APISIX: its Service and its pods",
    ),
    "shared.namespace": _both("namespace of both"),
    "shared.service": _both("endpoint of the clients' ServiceEntry, host of the hop's DestinationRule"),
    "shared.selector": _row("`selector` of the Gateway; the pods' readiness and identities", "the pods' readiness"),
    "shared.ports": _both("below"),
    "shared.ports.http": _row("the way of requests without mutual TLS", "the way of all requests"),
    "shared.ports.tls": _row(
        "the way of everything under mutual TLS, and of the clients' own TLS",
        Refusal("requests go to the http port, under mutual TLS too, which a sidecar ends"),
    ),
    "apisix": _row("refused by the schema", "below"),
    "apisix.ingressClassName": _row("refused by the schema", "`ingressClassName` of every object of APISIX"),
    "mtls": _row(
        "Strict: ISTIO_MUTUAL with the gateway's identity pinned",
        Support("Strict: ISTIO_MUTUAL to a sidecar in front of APISIX", also="Strict needs a sidecar in every pod"),
    ),
    "externalAuthorization": _row(
        Support("AuthorizationPolicy with action CUSTOM", also="an HTTP authorizer is for the HTTP family only"),
        Refusal("APISIX asks no authorizer of the mesh", _REMOVE_OR_ISTIO),
    ),
    "allowedNamespaces": _both("checked by the operator"),
    "allowedConsumers": _both("checked by the operator"),
    "allowedHosts": _both("checked by the operator"),
    "deniedHosts": _both("checked by the operator"),
    "allowedCIDRs": _both("checked by the operator"),
    "allowedExposedHosts": _both("checked by the operator"),
    "allowedGateways": _row("checked by the operator", "nothing: `gatewayRef` is refused"),
    "deniedFeatures": _both("checked by the operator"),
}
"""Fields of `EgressGatewayClass.spec`, likewise."""
