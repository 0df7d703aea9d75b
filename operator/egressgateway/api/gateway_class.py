"""`EgressGatewayClass.spec`: the data plane, where gateways run, and what tenants may ask for."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from egressgateway.api.gateway import DedicatedGateway
from egressgateway.api.hosts import Cidr, HostPattern
from egressgateway.api.model import ApiModel
from egressgateway.api.rules import SET, Rule, form
from egressgateway.api.scalars import Duration, LabelName, ObjectName, Port, SomeLabels, Text
from egressgateway.api.selector import LabelSelector


class ProviderName(StrEnum):
    """The data plane."""

    ISTIO = "Istio"
    APISIX = "APISIX"


DEFAULT_INGRESS_CLASS: Final = "apisix"
DEFAULT_PUSH_TIMEOUT: Final = timedelta(seconds=35)
"""
The controller gives up on the Admin API after 15 seconds, and a push waits for the one before it; five more seconds are
for its status.
"""

AT_LEAST_A_SECOND: Final[Rule[timedelta]] = Rule(
    cel="duration(self) >= duration('1s')",
    message="must be at least 1s",
    holds=lambda span: span >= timedelta(seconds=1),
)


class SharedPorts(ApiModel):
    """Ports of a shared gateway's Service."""

    http: Port | None = None
    """The port for plain HTTP: default 80. Not used with `mtls: Strict`."""

    tls: Port | None = None
    """The port for TLS and, with `mtls: Strict`, for everything: default 443."""


class SharedGateway(ApiModel):
    """A gateway that exists already and serves all objects of the class."""

    namespace: LabelName
    """Namespace of the gateway. It cannot be changed."""

    service: LabelName
    """The gateway's Service. It cannot be changed."""

    selector: SomeLabels
    """Labels of the gateway's pods: 1 to 32."""

    ports: SharedPorts | None = None
    """Ports of the Service. Default: 80 for `http`, 443 for `tls`."""


class ApisixSettings(ApiModel):
    """What the objects for APISIX need."""

    ingress_class_name: ObjectName | None = None
    """Ingress class of the APISIX installation: default `apisix`."""

    push_timeout: Annotated[Duration, AT_LEAST_A_SECOND] | None = None
    """
    How long a push of APISIX's ingress controller can take, at least `1s`: default `35s`, for a time-out of 15 seconds.
    `Accepted` of a route counts after this time without a change; until then no client is sent there. An APISIX with
    many routes needs more, as the controller pushes all of them together, and so does a controller whose clock is off.
    """


class MtlsMode(StrEnum):
    """Whether the hop from the client's sidecar to the gateway uses the mesh's mutual TLS."""

    STRICT = "Strict"
    DISABLED = "Disabled"


class UpgradeMode(StrEnum):
    """By which means a WebSocket takes the hop, which otherwise carries many requests on one connection."""

    ENVOY_FILTER = "EnvoyFilter"
    SUBSET = "Subset"


class ExternalAuthorization(ApiModel):
    """An external authorizer that is asked about every request."""

    provider: Annotated[
        Text,
        Field(min_length=1, max_length=253),
        form("[A-Za-z0-9._-]+", "must be a provider's name: letters, digits, '.', '_' and '-'"),
    ]
    """Name of one of the mesh's `extensionProviders`."""


class NamespacesFrom(StrEnum):
    """Which namespaces may use a class."""

    ALL = "All"
    SELECTOR = "Selector"


class ConsumersFrom(StrEnum):
    """Which namespaces the objects of a class may serve."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class AllowedNamespaces(ApiModel):
    """Which namespaces may use the class."""

    from_: Annotated[NamespacesFrom, Field(alias="from")]
    """`All`, or those that `selector` selects."""

    selector: LabelSelector | None = None
    """Selects namespaces by labels; required with `from: Selector`, else forbidden."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["AllowedNamespaces"](
            cel="(self.from == 'Selector') == has(self.selector)",
            message="selector is required with from Selector and forbidden otherwise",
            holds=lambda self: (self.from_ is NamespacesFrom.SELECTOR) == (self.selector is not None),
            field=".selector",
        ),
    )


class AllowedConsumers(ApiModel):
    """Which other namespaces the objects of the class may serve."""

    from_: Annotated[ConsumersFrom, Field(alias="from")]
    """`Same` (only the object's own), `All`, or those that `selector` selects."""

    selector: LabelSelector | None = None
    """
    Selects namespaces by labels; required with `from: Selector`, else forbidden. Labels that tenants can set
    are no consent.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["AllowedConsumers"](
            cel="(self.from == 'Selector') == has(self.selector)",
            message="selector is required with from Selector and forbidden otherwise",
            holds=lambda self: (self.from_ is ConsumersFrom.SELECTOR) == (self.selector is not None),
            field=".selector",
        ),
    )


class Feature(StrEnum):
    """What a class can deny."""

    EXPOSE = "Expose"
    GATEWAY_SETTINGS = "GatewaySettings"
    INSECURE_SKIP_VERIFY = "InsecureSkipVerify"
    MESH_HEADERS = "MeshHeaders"
    TCP = "TCP"
    TCP_WITHOUT_ADDRESSES = "TCPWithoutAddresses"
    WILDCARDS = "Wildcards"


HostPatterns = Annotated[tuple[HostPattern, ...], Field(max_length=256), SET]

GatewayPattern = Annotated[
    Text,
    Field(min_length=3, max_length=317),
    form(
        "([*]|[a-z0-9-]{1,63})/([*]|[a-z0-9.-]{1,253})",
        "must be namespace/name of an Istio Gateway, such as istio-system/public; either may be *",
    ),
]


class ClassTrial(ApiModel):
    """
    A policy that is not in force: what it would forbid is said, and nothing is withdrawn or rejected. Each field that
    is set here stands for the one of the class.
    """

    allowed_namespaces: AllowedNamespaces | None = None
    """As in the class."""

    allowed_consumers: AllowedConsumers | None = None
    """As in the class."""

    allowed_hosts: HostPatterns | None = None
    """As in the class."""

    denied_hosts: HostPatterns | None = None
    """As in the class."""

    allowed_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=64), SET] | None = Field(
        default=None, alias="allowedCIDRs"
    )
    """As in the class."""

    allowed_exposed_hosts: HostPatterns | None = None
    """As in the class."""

    allowed_gateways: Annotated[tuple[GatewayPattern, ...], Field(max_length=64), SET] | None = None
    """As in the class."""

    denied_features: Annotated[tuple[Feature, ...], Field(max_length=16), SET] | None = None
    """As in the class."""


class EgressGatewayClassSpec(ApiModel):
    """The data plane of the class's objects, where gateways run, and what tenants may ask for."""

    provider: ProviderName | None = None
    """The data plane: `Istio` (default) or `APISIX`, which needs `shared`. It cannot be changed."""

    dedicated: DedicatedGateway | None = None
    """
    Each object gets a gateway of its own in its namespace, made like this. Default without `shared`: an empty
    one.
    """

    shared: SharedGateway | None = None
    """Objects use a gateway that exists already. Not with `dedicated`; its namespace and Service cannot be changed."""

    apisix: ApisixSettings | None = None
    """Settings for provider `APISIX`."""

    mtls: MtlsMode | None = None
    """
    Between client sidecar and gateway, explicit on both sides: `Strict` (default) or `Disabled`. Disabled means
    no mesh identity at the gateway:
    `access` then only decides which clients are steered, and `serviceAccounts` are rejected.
    """

    upgrades: UpgradeMode | None = None
    """
    How WebSockets of protocol `HTTP` take the hop. `EnvoyFilter` (default): on the connection of the requests.
    `Subset`: on a connection each, without an EnvoyFilter, for one more cluster for each host and port in every
    client's proxy.
    """

    external_authorization: ExternalAuthorization | None = None
    """An authorizer of the mesh that is asked about every request. Default: none."""

    allowed_namespaces: AllowedNamespaces | None = None
    """Which namespaces may use the class. Default: all."""

    allowed_consumers: AllowedConsumers | None = None
    """Which other namespaces the objects may serve. Default: none but their own."""

    allowed_hosts: HostPatterns | None = None
    """
    Patterns for hosts, aliases, endpoints, `wildcard.server`, `tls.sni` and names in `tls.subjectAltNames`, such as
    `*.partner.com` or `*`: at most 256, default `*`. A wildcard host needs a pattern that covers all of it. A name that
    could be a Service's, or is a public suffix, must be listed itself.
    """

    denied_hosts: HostPatterns | None = None
    """
    Patterns of names that are denied even when allowed, in the same fields: at most 256, default none. A wildcard host
    is denied when it covers a denied one.
    """

    allowed_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=64), SET] | None = Field(
        default=None, alias="allowedCIDRs"
    )
    """
    Networks in which `endpoints` may lie by IP address, and private ones to which names of a dynamic wildcard may lead:
    at most 64, default none. Those of pods and Services should not be among them: the operator does not know them.
    """

    allowed_exposed_hosts: HostPatterns | None = None
    """Patterns of hosts for `expose`: at most 256, default `*`."""

    allowed_gateways: Annotated[tuple[GatewayPattern, ...], Field(max_length=64), SET] | None = None
    """Istio Gateways of other namespaces for `gatewayRef`, as `namespace/name` patterns: at most 64, default none."""

    denied_features: Annotated[tuple[Feature, ...], Field(max_length=16), SET] | None = None
    """
    What objects may not use: `Expose`, `GatewaySettings` (all of `gateway` but replicas, autoscaling and
    resources), `InsecureSkipVerify`,
    `MeshHeaders`, `TCP`, `TCPWithoutAddresses` (a TCP port for whatever address clients dial), `Wildcards`. Default:
    none.
    """

    trial: ClassTrial | None = None
    """
    A policy to be tried before it is in force: the statuses of objects, and of the class, say what it would forbid, and
    nothing is withdrawn. To put it in force, move its fields into the class's own.
    """

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["EgressGatewayClassSpec"](
            cel="!(has(self.dedicated) && has(self.shared))",
            message="set only one of dedicated and shared: remove one of the two",
            holds=lambda self: self.dedicated is None or self.shared is None,
            field=".shared",
            reason="FieldValueForbidden",
        ),
        Rule["EgressGatewayClassSpec"](
            cel="!has(self.provider) || self.provider != 'APISIX' || has(self.shared)",
            message="provider APISIX needs shared: APISIX is installed by its own chart",
            holds=lambda self: self.provider is not ProviderName.APISIX or self.shared is not None,
            field=".shared",
            reason="FieldValueRequired",
        ),
        Rule["EgressGatewayClassSpec"](
            cel="!has(self.apisix) || (has(self.provider) && self.provider == 'APISIX')",
            message="apisix is only for provider APISIX",
            holds=lambda self: self.apisix is None or self.provider is ProviderName.APISIX,
            field=".apisix",
            reason="FieldValueForbidden",
        ),
        Rule["EgressGatewayClassSpec"](
            cel="!has(self.upgrades) || !has(self.provider) || self.provider != 'APISIX'",
            message="upgrades is not for provider APISIX, whose hop carries WebSockets as it is",
            holds=lambda self: self.upgrades is None or self.provider is not ProviderName.APISIX,
            field=".upgrades",
            reason="FieldValueForbidden",
        ),
        Rule["EgressGatewayClassSpec"](
            cel=(
                "(has(self.provider) ? self.provider : 'Istio') == (has(oldSelf.provider) ? oldSelf.provider : 'Istio')"
            ),
            message="provider cannot be changed: make a new class",
            field=".provider",
            reason="FieldValueForbidden",
        ),
        Rule["EgressGatewayClassSpec"](
            cel=(
                "has(self.shared) == has(oldSelf.shared) && (!has(self.shared) || "
                "(self.shared.__namespace__ == oldSelf.shared.__namespace__ && "
                "self.shared.service == oldSelf.shared.service))"
            ),
            message="the gateway of a class cannot be changed: make a new class",
            field=".shared",
            reason="FieldValueForbidden",
        ),
    )

    @property
    def data_plane(self) -> ProviderName:
        """The provider, be it named or not."""
        return self.provider or ProviderName.ISTIO

    @property
    def tried(self) -> EgressGatewayClassSpec | None:
        """The class as it would be with its trial in force; None without one."""
        if self.trial is None:
            return None
        fields = {name: getattr(self.trial, name) for name in self.trial.model_fields_set}
        changed = {name: each for name, each in fields.items() if each is not None}
        return self.model_copy(update={**changed, "trial": None})

    @property
    def ingress_class(self) -> str:
        """Ingress class of the class's APISIX; empty with another provider."""
        if self.provider is not ProviderName.APISIX:
            return ""
        return (self.apisix and self.apisix.ingress_class_name) or DEFAULT_INGRESS_CLASS

    @property
    def push_timeout(self) -> timedelta:
        """How long the controller of the class's data plane can take to push what it has accepted."""
        return (self.apisix and self.apisix.push_timeout) or DEFAULT_PUSH_TIMEOUT
