"""
Whether the names in an object are external to the cluster, as far as the schema cannot decide it.

`egressgateway.api.reserved` lists names that are never external. This module checks what depends on the cluster (its
domain, its namespaces) or on a list that no rule of a CRD can hold (public suffixes). An admin who lists a doubtful
name itself in the class's `allowedHosts`, and not by a pattern over it, declares it external.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from egressgateway.api.conditions import ConditionType, Reason
from egressgateway.api.destination import Destination
from egressgateway.api.expose import ExposedHost
from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.reserved import parsed_address, reserved_name
from egressgateway.contention.rights import read_claims
from egressgateway.plan.checks.suffixes import is_public_suffix
from egressgateway.plan.context import PlanContext
from egressgateway.plan.findings import Advisory, Finding, Notice, exposed_section

_ACCEPTED: Final = ConditionType.ACCEPTED
# The names that StatefulSets give to their pods, and the names in Kubernetes' DNS of a headless Service's pods without
# a hostname.
_NUMBERED: Final = re.compile(r".+-\d+")


@dataclass(frozen=True, slots=True)
class NamedHost:
    """
    A name in a destination. `field` is its field in the spec.

    `steered`: clients are sent to the gateway by it. The gateway resolves the others, except those that are only
    `shown` in a TLS handshake.
    """

    field: str
    name: str
    steered: bool = False
    shown: bool = False


def named_hosts(destination: Destination, field: str) -> Iterator[NamedHost]:
    """Names by which clients are steered, and the server of a wildcard."""
    for host in destination.hosts:
        yield NamedHost(f"{field}.hosts", host, steered=True)
    for alias in destination.aliases:
        yield NamedHost(f"{field}.aliases", alias, steered=True)
    if destination.wildcard is not None and destination.wildcard.server is not None:
        yield NamedHost(f"{field}.wildcard.server", destination.wildcard.server)


def endpoint_names(destination: Destination, field: str) -> Iterator[NamedHost]:
    """Endpoints that are names."""
    for index, endpoint in enumerate(destination.endpoints):
        if parsed_address(endpoint.address) is None:
            yield NamedHost(f"{field}.endpoints[{index}].address", endpoint.address)


def shown_names(destination: Destination, field: str) -> Iterator[NamedHost]:
    """
    Names in TLS handshakes, in lower case like hosts: those that the gateway sends to a server, and those it accepts
    from it.

    Identities (URIs such as `spiffe://...`) are not names of hosts; they are compared as they are.
    """
    for number, port in enumerate(destination.ports):
        if port.tls is not None:
            where = f"{field}.ports[{number}].tls"
            if port.tls.sni is not None:
                yield NamedHost(f"{where}.sni", port.tls.sni, shown=True)
            for name in port.tls.subject_alt_names:
                if "://" not in name:
                    yield NamedHost(f"{where}.subjectAltNames", name.lower().rstrip("."), shown=True)


def external_findings(context: PlanContext, destination: Destination, field: str) -> Iterator[Finding]:
    """The names in a destination that are not external, or that belong to no single owner."""
    for named in _all_names(destination, field):
        why = _never_external(named.name, context.mesh.cluster_domain)
        if why:
            # The author does not own a name that the gateway steers or asks for; a name that it only accepts takes
            # nothing from others.
            harmful = not named.field.endswith("subjectAltNames")
            message = f"{named.field}: {named.name} {why}; remove it"
            yield Finding(_ACCEPTED, Reason.INVALID, message, destination.name, withdraws=harmful)
        elif not named.shown and named.name not in (context.class_spec.allowed_hosts or ()):
            yield from _doubtful(context, named, destination.name)


def external_exposed(class_spec: EgressGatewayClassSpec, exposed: ExposedHost, field: str) -> Iterator[Finding]:
    """
    Exposed hosts that belong to no single owner: on a gateway that others use, they would take the names under them.
    """
    for host in exposed.hosts:
        if _is_public(host) and host not in (class_spec.allowed_exposed_hosts or ()):
            message = f"{field}.hosts: {_public_message(host, 'allowedExposedHosts')}"
            yield Finding(_ACCEPTED, Reason.INVALID, message, exposed_section(exposed.name))


def external_notices(context: PlanContext) -> Iterator[Advisory]:
    """Hosts whose name a later namespace made a Service name: creating a namespace must not take away what runs."""
    for index, destination in enumerate(context.spec.destinations):
        for named in named_hosts(destination, f"spec.destinations[{index}]"):
            meant = service_meant(named.name, context.namespaces)
            if meant and named.steered and _is_older(context, named.name, meant):
                yield Advisory(
                    f"{named.field}: {named.name} also means {meant} to pods, because that namespace was created "
                    "after this host was claimed; rename one of the two",
                    destination.name,
                    notice=Notice.NAMES_A_SERVICE,
                )


@dataclass(frozen=True, slots=True)
class ServiceMeant:
    """The Service that a short name means inside the cluster."""

    service: str
    namespace: str

    def __str__(self) -> str:
        return f"Service {self.service} of namespace {self.namespace}"


def service_meant(host: str, namespaces: Container[str]) -> ServiceMeant | None:
    """
    The Service that pods would reach by `host`, if it exists; None when no namespace matches.

    A resolver in a pod completes a name with fewer than five dots by `svc.<cluster domain>` before it asks for the name
    itself (Kubernetes, "DNS for Services and Pods"), and istiod gives every Service the domain `service.namespace`,
    a headless one all names under it, too (istio pilot/pkg/networking/core/httproute.go, `GenerateAltVirtualHosts`).
    So that is `service.namespace`, `pod.service.namespace` and `*.service.namespace` of a namespace that exists; longer
    names mean no Service. Under a top-level domain of the Internet (`dev`, `app`), only names of pods count:
    `api.partner.dev` is an external host, although there is a namespace `dev`.
    """
    wildcard, labels = host.startswith("*."), host.removeprefix("*.").split(".")
    namespace = labels[-1]
    if namespace not in namespaces or len(labels) > (2 if wildcard else 3):
        return None
    if len(labels) == 3 and is_public_suffix(namespace) and not _NUMBERED.fullmatch(labels[0]):
        return None
    return ServiceMeant(labels[-2], namespace)


def _all_names(destination: Destination, field: str) -> Iterator[NamedHost]:
    yield from named_hosts(destination, field)
    yield from endpoint_names(destination, field)
    yield from shown_names(destination, field)


def _never_external(name: str, domain: str) -> str:
    if name == domain or name.endswith(f".{domain}"):
        return f"is inside the cluster, whose domain is {domain}"
    return reserved_name(name)


def _doubtful(context: PlanContext, named: NamedHost, section: str) -> Iterator[Finding]:
    meant = service_meant(named.name, context.namespaces)
    if meant and not (named.steered and _is_older(context, named.name, meant)):
        message = (
            f"{named.field}: {named.name} is not an external host: pods and Istio resolve it to {meant}; use another "
            "host, or ask a platform admin to list exactly this name in a class's allowedHosts"
        )
        # A destination that takes a Service's name from its clients is rejected. An endpoint takes no name, and stays
        # as it is: creating a namespace must not cut off a server that was reached before.
        yield Finding(_ACCEPTED, Reason.INVALID, message, section, withdraws=named.steered)
    if _is_public(named.name):
        yield Finding(
            _ACCEPTED, Reason.INVALID, f"{named.field}: {_public_message(named.name, 'allowedHosts')}", section
        )


def _is_older(context: PlanContext, host: str, meant: ServiceMeant) -> bool:
    """
    Whether the object claimed `host` before the namespace existed: then the namespace does not stop the running egress.
    """
    made = context.namespaces_created.get(meant.namespace)
    claimed = _claimed_at(context.status, host)
    return made is not None and claimed is not None and claimed < made


def _claimed_at(status: Mapping[str, Any], host: str) -> datetime | None:
    claims = read_claims(status)
    return min((at for claim, at in claims.items() if claim.host == host and not claim.gateway), default=None)


def _is_public(host: str) -> bool:
    return is_public_suffix(host.removeprefix("*."))


def _public_message(host: str, where: str) -> str:
    suffix = host.removeprefix("*.")
    return (
        f"{host} must not be a public suffix: anyone can register names under {suffix}; name hosts, or wildcards such "
        f"as *.example.{suffix}, or ask a platform admin to list exactly this name in a class's {where}"
    )
