"""What the class lets objects do (api.md `EgressGatewayClass.spec`): who, where to, with what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec, Feature
from egressgateway.api.reserved import forbidden_address, parsed_address
from egressgateway.api.spec import EgressGatewaySpec, MeshHeadersMode
from egressgateway.contention.consumers import Consumers
from egressgateway.contention.hostnames import is_allowed, overlaps
from egressgateway.facts import Facts
from egressgateway.namespaces import EVERY_NAMESPACE
from egressgateway.plan.checks.external import external_exposed, external_findings, named_hosts, shown_names
from egressgateway.plan.findings import Finding, exposed_part

_ACCEPTED: Final = ConditionType.ACCEPTED
_FREE_SETTINGS: Final = frozenset({"replicas", "autoscaling", "resources"})
_SHOWN: Final = 5


def guard_object(facts: Facts, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    """Whether the namespace may use the class, and the object's own settings."""
    yield from _namespace(facts, class_spec)
    yield from _gateway_settings(facts, spec, class_spec)
    keeps = spec.telemetry is not None and spec.telemetry.mesh_headers is MeshHeadersMode.KEEP
    if keeps and _denies(class_spec, Feature.MESH_HEADERS):
        yield _denied(facts, "spec.telemetry.meshHeaders", Feature.MESH_HEADERS, "remove it")
    if _denies(class_spec, Feature.EXPOSE):
        for index, exposed in enumerate(spec.expose):
            part = exposed_part(exposed.name)
            yield _denied(facts, f"spec.expose[{index}]", Feature.EXPOSE, "remove it", part)


def guard_destination(
    facts: Facts, class_spec: EgressGatewayClassSpec, destination: Destination, field: str
) -> Iterator[Finding]:
    """Whether a destination's hosts are external, whether the class allows them, where they lie, and what it uses."""
    yield from external_findings(facts, class_spec, destination, field)
    yield from _hosts(facts, class_spec, destination, field)
    yield from _endpoints(facts, class_spec, destination, field)
    for feature, used_by in _features_of(destination):
        if _denies(class_spec, feature):
            yield _denied(facts, f"{field}.{used_by}", feature, "remove it", destination.name)


def guard_consumers(facts: Facts, consumers: Consumers, destination: Destination) -> Iterator[Finding]:
    """Namespaces that the destination is meant to serve and the class does not allow."""
    denied = consumers.denied.get(destination.name, frozenset())
    if not denied:
        return
    yield Finding(
        _ACCEPTED,
        Reason.CONSUMER_NOT_ALLOWED,
        f"spec.access.from: {facts.class_} does not allow {_named(denied)} as a consumer; "
        "ask the platform's admin for it in allowedConsumers, or remove it",
        destination.name,
        partial=bool(consumers.served.get(destination.name)),
    )


def guard_exposed(
    facts: Facts, class_spec: EgressGatewayClassSpec, exposed: ExposedHost, field: str
) -> Iterator[Finding]:
    """Whether the class allows the hosts that are exposed, and the gateway that they are exposed on."""
    part = exposed_part(exposed.name)
    yield from external_exposed(class_spec, exposed, field)
    for host in exposed.hosts:
        if not is_allowed(host, _patterns(class_spec.allowed_exposed_hosts), ()):
            yield Finding(
                _ACCEPTED,
                Reason.HOST_NOT_ALLOWED,
                f"{field}.hosts: {facts.class_} does not allow {host} in allowedExposedHosts; "
                "ask the platform's admin, or remove it",
                part,
            )
    reference = exposed.gateway_ref
    namespace = reference.namespace if reference else None
    if reference is None or namespace in (None, facts.key.namespace):
        return
    if not any(_matches(pattern, f"{namespace}/{reference.name}") for pattern in class_spec.allowed_gateways or ()):
        yield Finding(
            _ACCEPTED,
            Reason.GATEWAY_NOT_ALLOWED,
            f"{field}.gatewayRef: {facts.class_} does not allow {namespace}/{reference.name} "
            "in allowedGateways; ask the platform's admin, or use the own gateway",
            part,
        )


def _namespace(facts: Facts, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    allowed = class_spec.allowed_namespaces
    if allowed is None or allowed.selector is None:
        return
    if facts.namespace_labels is None:
        yield Finding(
            _ACCEPTED, Reason.PENDING, f"namespace {facts.key.namespace} has not been seen yet; this heals by itself"
        )
    elif not allowed.selector.matches(facts.namespace_labels):
        yield Finding(
            _ACCEPTED,
            Reason.NAMESPACE_NOT_ALLOWED,
            f"spec.className: {facts.class_} does not serve namespace {facts.key.namespace}: "
            "its allowedNamespaces selects others; ask the platform's admin, or name another class",
        )


def _gateway_settings(facts: Facts, spec: EgressGatewaySpec, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    if spec.gateway is None or not _denies(class_spec, Feature.GATEWAY_SETTINGS):
        return
    for name in sorted(spec.gateway.model_fields_set - _FREE_SETTINGS):
        field = type(spec.gateway).model_fields[name].alias or name
        yield _denied(facts, f"spec.gateway.{field}", Feature.GATEWAY_SETTINGS, "remove the field")


def _hosts(facts: Facts, class_spec: EgressGatewayClassSpec, destination: Destination, field: str) -> Iterator[Finding]:
    """
    Whether the class allows each name, those of TLS handshakes among them: behind one address there are often many
    servers (a CDN), and the server name chooses.
    """
    asked = list(named_hosts(destination, field))
    own = frozenset(named.name for named in asked)
    asked += [named for named in shown_names(destination, field) if named.name not in own]
    for named in asked:
        if is_allowed(named.name, _patterns(class_spec.allowed_hosts), class_spec.denied_hosts or ()):
            continue
        denied = next((found for found in class_spec.denied_hosts or () if overlaps(found, named.name)), "")
        why = f", for it denies {denied}" if denied else ""
        yield Finding(
            _ACCEPTED,
            Reason.HOST_NOT_ALLOWED,
            f"{named.field}: {facts.class_} does not allow {named.name}{why}; ask the platform's admin, or remove it",
            destination.name,
        )


def _endpoints(
    facts: Facts, class_spec: EgressGatewayClassSpec, destination: Destination, field: str
) -> Iterator[Finding]:
    for index, endpoint in enumerate(destination.endpoints):
        where, address = f"{field}.endpoints[{index}].address", endpoint.address
        forbidden = forbidden_address(address)
        if forbidden:
            message = f"{where}: {address} is {forbidden}, where no gateway may connect to; use the destination's own"
        elif parsed_address(address) is None:
            if is_allowed(address, _patterns(class_spec.allowed_hosts), class_spec.denied_hosts or ()):
                continue
            message = (
                f"{where}: {facts.class_} does not allow {address} in "
                "allowedHosts; ask the platform's admin, or use another address"
            )
        elif _within(address, class_spec.allowed_cidrs or ()):
            continue
        else:
            message = (
                f"{where}: {facts.class_} does not allow {address} in "
                "allowedCIDRs; ask the platform's admin, or name the host instead"
            )
        yield Finding(_ACCEPTED, Reason.ENDPOINT_NOT_ALLOWED, message, destination.name)


def _features_of(destination: Destination) -> Iterator[tuple[Feature, str]]:
    if destination.has_tcp:
        yield Feature.TCP, "ports"
    if destination.wildcard is not None:
        yield Feature.WILDCARDS, "wildcard"
    if any(port.tls is not None and port.tls.insecure_skip_verify for port in destination.ports):
        yield Feature.INSECURE_SKIP_VERIFY, "ports"


def _denies(class_spec: EgressGatewayClassSpec, feature: Feature) -> bool:
    return feature in (class_spec.denied_features or ())


def _denied(facts: Facts, field: str, feature: Feature, remedy: str, part: str = "") -> Finding:
    message = f"{field}: {facts.class_} denies {feature}; {remedy}"
    return Finding(_ACCEPTED, Reason.FEATURE_NOT_ALLOWED, message, part)


def _patterns(patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    """Absent allows every host; an empty list, written down, allows none."""
    return ("*",) if patterns is None else patterns


def _matches(pattern: str, gateway: str) -> bool:
    """Whether `namespace/name` falls under a pattern, of which either half may be `*`."""
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


def guard_namespace(facts: Facts, class_spec: EgressGatewayClassSpec) -> Iterator[Finding]:
    """Whether the namespace may use the class: all that can be asked of an object whose spec cannot be read."""
    yield from _namespace(facts, class_spec)


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
