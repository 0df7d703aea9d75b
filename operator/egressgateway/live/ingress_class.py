"""
What connects APISIX's ingress controller to APISIX: an IngressClass, and the GatewayProxy that its parameters name.

Version 2 of the controller takes the address of the Admin API from the GatewayProxy. Without parameters it accepts
objects and pushes none; without the class it removes all that APISIX has of it (both seen with version 2.2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.facts import Facts, References
from egressgateway.refs import GATEWAY_PROXY, INGRESS_CLASS, Manifest, ObjectRef


def ingress_class_ref(class_spec: EgressGatewayClassSpec | None) -> ObjectRef | None:
    """The IngressClass of a class; None with another provider than APISIX."""
    return (
        ObjectRef(INGRESS_CLASS.kind, "", class_spec.ingress_class) if class_spec and class_spec.ingress_class else None
    )


def gateway_proxy_ref(ingress_class: Manifest) -> ObjectRef | None:
    """The GatewayProxy that an IngressClass names; None where it names none, or not in which namespace."""
    parameters = parameters_of(ingress_class)
    name, namespace = parameters.get("name"), parameters.get("namespace")
    if parameters.get("kind") != GATEWAY_PROXY.kind or parameters.get("apiGroup") != GATEWAY_PROXY.group:
        return None
    return ObjectRef(GATEWAY_PROXY.kind, namespace, name) if name and namespace else None


def parameters_of(ingress_class: Manifest) -> Mapping[str, Any]:
    """What an IngressClass gives its controller; empty where it gives nothing."""
    return (ingress_class.get("spec") or {}).get("parameters") or {}


def connecting_refs(class_spec: EgressGatewayClassSpec | None, references: References) -> Iterator[ObjectRef]:
    """IngressClass and GatewayProxy of a class; the latter once the former has been read."""
    ref = ingress_class_ref(class_spec)
    if ref is None:
        return
    yield ref
    found = references.objects.get(ref)
    proxy = gateway_proxy_ref(found) if found else None
    if proxy is not None:
        yield proxy


def connections(facts: Facts) -> Iterator[Manifest]:
    """The objects behind the class's `connecting_refs`, as far as they were read and exist."""
    for ref in connecting_refs(facts.class_.spec, facts.references):
        found = facts.references.objects.get(ref)
        if found is not None:
            yield found
