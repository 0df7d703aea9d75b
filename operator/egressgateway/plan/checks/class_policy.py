"""What the class allows (api.md `EgressGatewayClass.spec`): which namespaces, hosts and features."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec, Feature
from egressgateway.api.reserved import forbidden_address, parsed_address
from egressgateway.api.spec import MeshHeadersMode
from egressgateway.contention.consumers import Consumers
from egressgateway.contention.hostnames import is_allowed, overlaps
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.checks.external import external_exposed, external_findings, named_hosts, shown_names
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Finding, exposed_section

_ACCEPTED: Final = ConditionType.ACCEPTED
_FREE_SETTINGS: Final = frozenset({"replicas", "autoscaling", "resources"})
_SHOWN: Final = 5


def guard_object(context: PlanContext) -> Iterator[Finding]:
    """Whether the namespace may use the class, and whether the class allows the object's own settings."""
    spec, class_spec = context.spec, context.class_spec
    yield from guard_namespace(class_spec, context.class_name, context.key.namespace, context.namespace_labels)
    yield from _gateway_settings(context)
    keeps = spec.telemetry is not None and spec.telemetry.mesh_headers is MeshHeadersMode.KEEP
    if keeps and _denies(class_spec, Feature.MESH_HEADERS):
        yield _denied(context.class_name, "spec.telemetry.meshHeaders", Feature.MESH_HEADERS, "remove it")
    if _denies(class_spec, Feature.EXPOSE):
        for index, exposed in enumerate(spec.expose):
            section = exposed_section(exposed.name)
            yield _denied(context.class_name, f"spec.expose[{index}]", Feature.EXPOSE, "remove it", section)


def guard_destination(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    """
    Whether a destination's hosts are external, and whether the class allows them, their addresses, and its features.
    """
    yield from external_findings(context, destination, field)
    yield from _hosts(context, destination, field)
    yield from _endpoints(context, destination, field)
    yield from _addresses(context, destination, field)
    for feature, used_by in _features_of(destination):
        if _denies(context.class_spec, feature):
            yield _denied(context.class_name, f"{field}.{used_by}", feature, "remove it", destination.name)


def guard_consumers(class_name: str, consumers: Consumers, destination: Destination) -> Iterator[Finding]:
    """Namespaces that the spec asks to serve and the class does not allow."""
    denied = consumers.denied.get(destination.name, frozenset())
    if not denied:
        return
    yield Finding(
        _ACCEPTED,
        Reason.CONSUMER_NOT_ALLOWED,
        f"spec.access.from: {class_name} does not allow {_named(denied)} as a consumer; ask a platform admin to add "
        "it to allowedConsumers, or remove it",
        destination.name,
        partial=bool(consumers.served.get(destination.name)),
    )


def guard_exposed(context: PlanContext, exposed: ExposedHost, field: str) -> Iterator[Finding]:
    """Whether the class allows the exposed hosts, and the gateway on which they are exposed."""
    section = exposed_section(exposed.name)
    yield from external_exposed(context.class_spec, exposed, field)
    for host in exposed.hosts:
        if not is_allowed(host, _patterns(context.class_spec.allowed_exposed_hosts), ()):
            yield Finding(
                _ACCEPTED,
                Reason.HOST_NOT_ALLOWED,
                f"{field}.hosts: {context.class_name} does not allow {host} in allowedExposedHosts; ask a platform "
                "admin to allow it, or remove it",
                section,
            )
    reference = exposed.gateway_ref
    namespace = reference.namespace if reference else None
    if reference is None or namespace in (None, context.key.namespace):
        return
    if not any(
        _matches(pattern, f"{namespace}/{reference.name}") for pattern in context.class_spec.allowed_gateways or ()
    ):
        yield Finding(
            _ACCEPTED,
            Reason.GATEWAY_NOT_ALLOWED,
            f"{field}.gatewayRef: {context.class_name} does not allow {namespace}/{reference.name} in "
            "allowedGateways; ask a platform admin to allow it, or use the object's own gateway",
            section,
        )


def _gateway_settings(context: PlanContext) -> Iterator[Finding]:
    gateway = context.spec.gateway
    if gateway is None or not _denies(context.class_spec, Feature.GATEWAY_SETTINGS):
        return
    for name in sorted(gateway.model_fields_set - _FREE_SETTINGS):
        field = type(gateway).model_fields[name].alias or name
        yield _denied(context.class_name, f"spec.gateway.{field}", Feature.GATEWAY_SETTINGS, "remove the field")


def _hosts(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    """
    Whether the class allows each name, including those in TLS handshakes: many servers often share one address (a CDN),
    and the server name selects one.
    """
    asked = list(named_hosts(destination, field))
    own = frozenset(named.name for named in asked)
    asked += [named for named in shown_names(destination, field) if named.name not in own]
    for named in asked:
        if is_allowed(named.name, _patterns(context.class_spec.allowed_hosts), context.class_spec.denied_hosts or ()):
            continue
        denied = next((found for found in context.class_spec.denied_hosts or () if overlaps(found, named.name)), "")
        why = f", because it denies {denied}" if denied else ""
        yield Finding(
            _ACCEPTED,
            Reason.HOST_NOT_ALLOWED,
            f"{named.field}: {context.class_name} does not allow {named.name}{why}; ask a platform admin to allow it, "
            "or remove it",
            destination.name,
        )


def _endpoints(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    for index, endpoint in enumerate(destination.endpoints):
        where, address = f"{field}.endpoints[{index}].address", endpoint.address
        forbidden = forbidden_address(address)
        if forbidden:
            message = (
                f"{where}: {address} is {forbidden}, and no gateway may connect to it; use the destination's own "
                "address"
            )
        elif parsed_address(address) is None:
            if is_allowed(address, _patterns(context.class_spec.allowed_hosts), context.class_spec.denied_hosts or ()):
                continue
            message = (
                f"{where}: {context.class_name} does not allow {address} in allowedHosts; ask a platform admin to "
                "allow it, or use another address"
            )
        elif _within(address, context.class_spec.allowed_cidrs or ()):
            continue
        else:
            message = (
                f"{where}: {context.class_name} does not allow {address} in allowedCIDRs; ask a platform admin to "
                "allow it, or name the host instead"
            )
        yield Finding(_ACCEPTED, Reason.ENDPOINT_NOT_ALLOWED, message, destination.name)


def _addresses(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    """Clients' connections to them are taken: they could be anybody's."""
    for index, address in enumerate(destination.addresses):
        forbidden = forbidden_address(address)
        if forbidden:
            why = f"{address} is {forbidden}, and no host is there; remove it"
        elif _within(address, context.class_spec.allowed_cidrs or ()):
            continue
        else:
            why = (
                f"{context.class_name} does not allow {address} in allowedCIDRs; ask a platform admin to allow it, or "
                "remove it"
            )
        message = f"{field}.addresses[{index}]: {why}"
        yield Finding(_ACCEPTED, Reason.ENDPOINT_NOT_ALLOWED, message, destination.name)


def _features_of(destination: Destination) -> Iterator[tuple[Feature, str]]:
    if destination.has_tcp:
        yield Feature.TCP, "ports"
        if not destination.addresses:
            yield Feature.TCP_WITHOUT_ADDRESSES, "ports"
    if destination.wildcard is not None:
        yield Feature.WILDCARDS, "wildcard"
    if any(port.tls is not None and port.tls.insecure_skip_verify for port in destination.ports):
        yield Feature.INSECURE_SKIP_VERIFY, "ports"


def _denies(class_spec: EgressGatewayClassSpec, feature: Feature) -> bool:
    return feature in (class_spec.denied_features or ())


def _denied(class_name: str, field: str, feature: Feature, remedy: str, section: str = "") -> Finding:
    message = f"{field}: {class_name} denies {feature}; {remedy}"
    return Finding(_ACCEPTED, Reason.FEATURE_NOT_ALLOWED, message, section)


def _patterns(patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    """An absent list allows every host; an explicit empty list allows none."""
    return ("*",) if patterns is None else patterns


def _matches(pattern: str, gateway: str) -> bool:
    """Whether `namespace/name` matches a pattern, of which either half may be `*`."""
    return all(wanted in ("*", found) for wanted, found in zip(pattern.split("/"), gateway.split("/"), strict=True))


def _named(namespaces: frozenset[str]) -> str:
    if EVERY_NAMESPACE in namespaces:
        return "every namespace"
    names = sorted(namespaces)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"namespace {', '.join(names[:_SHOWN])}{more}"


def _within(address: str, networks: Iterable[str]) -> bool:
    parsed = parsed_address(address)
    return parsed is not None and any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)


def guard_namespace(
    class_spec: EgressGatewayClassSpec, class_name: str, namespace: str, labels: Mapping[str, str] | None
) -> Iterator[Finding]:
    """Whether the namespace may use the class: the only check that an object with an unreadable spec gets."""
    allowed = class_spec.allowed_namespaces
    if allowed is None or allowed.selector is None:
        return
    if labels is None:
        yield Finding(
            _ACCEPTED,
            Reason.PENDING,
            f"the operator has not seen namespace {namespace} yet; no further action is needed",
        )
    elif not allowed.selector.matches(labels):
        yield Finding(
            _ACCEPTED,
            Reason.NAMESPACE_NOT_ALLOWED,
            f"spec.className: {class_name} does not serve namespace {namespace}: its allowedNamespaces selects other "
            "namespaces; ask a platform admin to allow it, or name another class",
        )


def allows_host(class_spec: EgressGatewayClassSpec, host: str) -> bool:
    return is_allowed(host, _patterns(class_spec.allowed_hosts), class_spec.denied_hosts or ())


def allows_exposed_host(class_spec: EgressGatewayClassSpec, host: str) -> bool:
    return is_allowed(host, _patterns(class_spec.allowed_exposed_hosts), ())


def allows_address(class_spec: EgressGatewayClassSpec, address: str) -> bool:
    """Whether a gateway may connect to an IP address or a name."""
    if parsed_address(address) is None:
        return allows_host(class_spec, address)
    return not forbidden_address(address) and _within(address, class_spec.allowed_cidrs or ())


def allows_gateway(class_spec: EgressGatewayClassSpec, gateway: str) -> bool:
    """Whether hosts may be exposed on the Gateway `namespace/name` of another namespace."""
    return any(_matches(pattern, gateway) for pattern in class_spec.allowed_gateways or ())


def allows_feature(class_spec: EgressGatewayClassSpec, feature: Feature) -> bool:
    return not _denies(class_spec, feature)
